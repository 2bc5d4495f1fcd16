// Writing GGUF version 3.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "runtime/base/atomic_file.h"
#include "runtime/gguf/file.h"

namespace bantam::gguf {

// Collects metadata and tensor descriptions, then writes everything in one pass, in the order it
// was given. Strings, arrays and data passed in must stay valid until Write returns; keys and names
// are copied. Whatever gguf::File would refuse is refused here: bad values by Write, bad tensors by
// AddTensor. general.alignment, when set, is obeyed. Not thread-safe.
class Writer {
 public:
  // Replaces an earlier value of the same key, in its place.
  void Set(absl::string_view key, MetaValue value);
  void SetStrings(absl::string_view key, std::vector<absl::string_view> strings);
  void SetInts(absl::string_view key, std::span<const int32_t> values);
  void SetFloats(absl::string_view key, std::span<const float> values);

  // `shape` innermost first, 0 to 4 dimensions. The data is asked for when its turn comes, so that
  // a model larger than memory can be written; the span must stay valid until the next is asked
  // for or Write returns.
  using DataFn = std::function<absl::StatusOr<std::span<const std::byte>>()>;
  absl::Status AddTensor(absl::string_view name, quant::Type type, std::span<const int64_t> shape,
                         DataFn data);
  absl::Status AddTensor(absl::string_view name, quant::Type type, std::span<const int64_t> shape,
                         std::span<const std::byte> data);

  // The same for data that is made piece by piece: `write` hands the pieces to its argument in
  // order.
  using Sink = absl::FunctionRef<absl::Status(std::span<const std::byte>)>;
  using PiecesFn = std::function<absl::Status(Sink)>;
  absl::Status AddTensorInPieces(absl::string_view name, quant::Type type,
                                 std::span<const int64_t> shape, PiecesFn write);

  // What Write will write.
  absl::StatusOr<uint64_t> FileBytes() const;
  // Appends everything to `file`, which the caller commits. Errors do not name the file.
  absl::Status WriteTo(AtomicFile& file) const;
  // Writes to a temporary name and renames when complete; on failure nothing is left behind.
  absl::Status Write(const std::string& path) const;
  // The whole file in memory, for tests.
  absl::StatusOr<std::string> Serialize() const;

 private:
  struct Tensor {
    std::string name;
    quant::Type type;
    int n_dims;
    std::array<int64_t, 4> shape;
    uint64_t bytes;
    PiecesFn write;
  };
  absl::StatusOr<uint64_t> Alignment() const;
  absl::StatusOr<std::string> Header(uint64_t alignment) const;
  absl::Status Emit(Sink sink) const;

  std::vector<std::pair<std::string, MetaValue>> metadata_;
  absl::flat_hash_map<std::string, size_t> key_index_;
  std::vector<Tensor> tensors_;
  absl::flat_hash_set<std::string> names_;
};

}  // namespace bantam::gguf
