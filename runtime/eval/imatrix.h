// Importance matrices: for each weight the squares of the activations that its columns are
// multiplied by, summed over a text. A quantizer spends its bits where these are large.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "runtime/engine/engine.h"
#include "runtime/eval/windows.h"
#include "runtime/quant/importance.h"
#include "runtime/schedule/expert_use.h"

namespace bantam::eval {

struct ImatrixEntry {
  // [counts.size(), columns]: sums of squares, those of the first expert first.
  std::vector<double> sums;
  std::vector<int64_t> counts;  // rows of activations summed; one number, or one for each expert

  int64_t columns() const { return static_cast<int64_t>(sums.size() / counts.size()); }
};

struct Imatrix {
  std::map<std::string, ImatrixEntry> entries;  // by tensor name
  std::vector<std::string> datasets;            // names of the texts
  int64_t chunks = 0;                           // windows of text read
  int64_t chunk_size = 0;                       // tokens in each; 0: not known
};

// The mean squares. An expert that the text never reached gets ones.
quant::Importance ImportanceOf(const Imatrix& imatrix);

// How often each expert was reached. kInvalidArgument where it does not say: it is of a model
// without experts, or of the binary form, which lost that.
absl::StatusOr<schedule::ExpertUse> ExpertUseOf(const Imatrix& imatrix);

struct ImatrixOptions {
  bool output = false;  // the output head too, not only the layers
};

// Reads the windows, each from an empty context, with a session made with keep_matmul_inputs.
// `progress` is called after each with the number read and ends it early by returning false.
// kDataLoss, naming the tensor, when a sum is not finite.
absl::StatusOr<Imatrix> CollectImatrix(engine::Session& session, const Windows& windows,
                                       const ImatrixOptions& options,
                                       absl::FunctionRef<bool(int64_t windows)> progress);

}  // namespace bantam::eval
