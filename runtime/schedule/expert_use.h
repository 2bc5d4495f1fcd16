// How often each expert of a mixture was chosen: counted while a model runs, and kept.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/gguf/file.h"

namespace bantam::schedule {

struct ExpertUse {
  // By layer and expert, how many tokens chose it. A layer that is not counted has none.
  std::vector<std::vector<double>> counts;

  bool empty() const;
  // Tokens counted, where each chooses so many experts: of the layer that saw most.
  double Choices() const;
  // Of `experts` among all choices in `layer`; 0 where none was counted.
  double Share(int layer, std::span<const int32_t> experts) const;
  // The experts of a layer, the most used first; of equals the lower one. Empty: not counted.
  std::vector<int32_t> Ranked(int layer) const;
  void Add(const ExpertUse& other);
};

// A name for the routers of a model, the same for its quantizations as long as they keep the
// router as it is; "" for a model without experts.
std::string ExpertUseKey(const gguf::File& file);

// `folder`/experts/KEY.json, a cache as devices.json is (cache.h). Nothing is kept without a folder
// or a key. Adding makes what was there before count less once it is a lot, so that use follows
// what a model is used for.
ExpertUse ReadExpertUse(const std::string& folder, const std::string& key);
void AddExpertUse(const std::string& folder, const std::string& key, const ExpertUse& use);

}  // namespace bantam::schedule
