// Weights that a step reads and the file has not as they are: of layers whose experts are on two
// devices (schedule/hot_experts.h).
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"
#include "runtime/graph/graph.h"
#include "runtime/schedule/hot_experts.h"

namespace bantam::engine {

class MadeWeights {
 public:
  struct Entry {
    quant::Type type = quant::Type::kF32;
    graph::Shape shape = {};
    // What it is made of, in order: of a tensor of the file, or of `own`. Experts that are
    // neighbours are one piece.
    const gguf::TensorInfo* tensor = nullptr;
    std::vector<std::span<const std::byte>> pieces;
    std::vector<std::byte> own;

    std::vector<std::byte> Joined() const;
  };

  MadeWeights() = default;
  // The file must outlive this.
  MadeWeights(const gguf::File& file, std::span<const schedule::HotExperts> hot);
  MadeWeights(MadeWeights&&) = default;
  MadeWeights& operator=(MadeWeights&&) = default;

  const Entry* Find(absl::string_view name) const;

 private:
  void AddSide(const gguf::TensorInfo& tensor, const schedule::HotExperts& layer, bool is_hot);

  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace bantam::engine
