// A session on disk: its tokens and their KV cache.
//
//   offset  bytes  little-endian
//        0      8  "BNTMSESS"
//        8      4  version, 1
//       12      4  element type of the KV cache (quant::Type)
//       16      8  fingerprint of the model
//       24      8  bytes of KV cache for each token, all layers together
//       32      8  n, the number of tokens
//       40      8  m, the bytes of the note
//       48    4 n  tokens, i32
//                m  the note, anything
//                   the first n cells of each state of the graph, in the order of the graph
//      end      8  checksum of all before it
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/mapped_file.h"
#include "runtime/gguf/file.h"
#include "runtime/quant/type.h"

namespace bantam::engine {

// What must agree for a KV cache to be of use.
struct SessionFileKind {
  uint64_t model = 0;
  quant::Type kv_type = quant::Type::kF16;
  uint64_t state_bytes_per_token = 0;
};

// Of what a model computes with: hyper-parameters, vocabulary, the kinds of its tensors and some
// bytes of each. Not of its name, description or chat template.
uint64_t FingerprintOf(const gguf::File& file);

// 64 bits of a text, however it is cut into calls of Add; different for any two texts of equal
// length that differ in one place.
class Checksum {
 public:
  void Add(std::span<const std::byte> bytes);
  void Add(absl::string_view text) { Add(std::as_bytes(std::span(text.data(), text.size()))); }
  void Add(uint64_t number) { Add(std::as_bytes(std::span(&number, 1))); }
  uint64_t value() const;

 private:
  uint64_t state_ = 0x243F6A8885A308D3;  // digits of pi
  uint64_t pending_ = 0;                 // the size_ % 8 bytes that make no word yet
  uint64_t size_ = 0;
};

class SessionFileWriter {
 public:
  static absl::StatusOr<std::unique_ptr<SessionFileWriter>> Create(const std::string& path,
                                                                   const SessionFileKind& kind,
                                                                   std::span<const int32_t> tokens,
                                                                   absl::string_view note);
  absl::Status Append(std::span<const std::byte> state);
  absl::Status Commit();

 private:
  std::unique_ptr<AtomicFile> file_;
  Checksum checksum_;
};

// A file that has been checked from end to end.
class SessionFile {
 public:
  // kDataLoss when damaged, kFailedPrecondition when of another kind or version.
  static absl::StatusOr<SessionFile> Open(const std::string& path, const SessionFileKind& kind);

  std::span<const int32_t> tokens() const { return tokens_; }
  absl::string_view note() const { return note_; }
  std::span<const std::byte> state() const { return state_; }

 private:
  std::unique_ptr<MappedFile> file_;
  std::vector<int32_t> tokens_;
  absl::string_view note_;
  std::span<const std::byte> state_;
};

}  // namespace bantam::engine
