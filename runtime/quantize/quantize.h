// A model file from another one, with its tensors in other types.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/gguf/file.h"
#include "runtime/quant/importance.h"
#include "runtime/quant/type.h"

namespace bantam::quantize {

struct Options {
  int threads = 0;                                // 0: as many as the process may use
  const quant::Importance* importance = nullptr;  // by tensor name; tensors may be missing
  bool keep_split = false;        // as many files as the source has, named like its parts
  bool allow_requantize = false;  // take quantized source tensors as if they were exact
  bool dry_run = false;           // report sizes, write and encode nothing
  bool overwrite = false;         // replace what stands at the output's name
  // general.file_type of the output; absent: the source's is kept.
  std::optional<uint32_t> file_type;
};

struct Progress {
  int64_t tensors = 0, of_tensors = 0;  // complete
  uint64_t bytes = 0, of_bytes = 0;     // of the source's tensors
  absl::string_view tensor;             // the one in hand
};
// Returns false to stop: QuantizeFile then removes what it wrote and returns kCancelled.
using ProgressFn = absl::FunctionRef<bool(const Progress&)>;

struct TensorReport {
  std::string name;
  quant::Type from = quant::Type::kF32, to = quant::Type::kF32;
  int64_t elements = 0;
  uint64_t bytes_before = 0, bytes_after = 0;
  double square_error = 0;  // sum over the elements; 0 for a copied tensor and in a dry run
  double square_sum = 0;    // of the source's elements; 0 where they were not looked at

  double Rmse() const;           // root of the mean square error
  double RelativeError() const;  // root of square_error / square_sum
};

struct Report {
  std::vector<TensorReport> tensors;  // in the order of the source
  std::vector<std::string> outputs;   // paths written
  uint64_t bytes_before = 0;          // whole files, headers and all
  uint64_t bytes_after = 0;
  int64_t elements = 0;

  // Of the tensors' data.
  double BitsPerWeight() const;
};

// Writes `source` to `output` with tensor i in types[i] (as many as source.tensors()). A tensor
// that has its type already is copied as it is. Everything else is encoded by quant::QuantizeRow in
// chunks of rows: memory stays within some 100 MiB whatever the size of the model or of a tensor.
// The files appear under their names when all are complete, and not at all after an error.
//
// Errors name the file and the tensor:
//   kInvalidArgument     a type that does not fit a row; a value that is NaN or infinite, with its
//                        index; importance of the wrong length; the output is the source
//   kAlreadyExists       the output, unless `overwrite`
//   kFailedPrecondition  a quantized source tensor, unless `allow_requantize` or its new type is
//                        F32, F16 or BF16
//   kCancelled           `progress` said so
absl::StatusOr<Report> QuantizeFile(const gguf::File& source, const std::string& output,
                                    std::span<const quant::Type> types, const Options& options,
                                    ProgressFn progress);

}  // namespace bantam::quantize
