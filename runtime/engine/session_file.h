// A session on disk: its tokens and their KV cache.
//
//   offset  bytes  little-endian
//        0      8  "BNTMSESS"
//        8      4  version, 2
//       12      4  element type of the KV cache (quant::Type)
//       16      8  fingerprint of the model
//       24      8  bytes of KV cache for each token, all layers without a window together
//       32      8  the same of all layers with one
//       40      8  n, the number of tokens
//       48      8  w, the tokens at the text's end that the layers with a window still hold
//       56      8  m, the bytes of the note
//       64    4 n  tokens, i32
//                m  the note, anything
//                   for each state of the graph, in the order of the graph, the cells of all n or
//                   the last w tokens, in the order of the text
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
  uint64_t state_bytes_per_token = 0;   // of layers that see everything
  uint64_t window_bytes_per_token = 0;  // of layers with a window
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
  // `in_windows`: w above.
  static absl::StatusOr<std::unique_ptr<SessionFileWriter>> Create(const std::string& path,
                                                                   const SessionFileKind& kind,
                                                                   std::span<const int32_t> tokens,
                                                                   uint64_t in_windows,
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
  uint64_t in_windows() const { return in_windows_; }
  absl::string_view note() const { return note_; }
  std::span<const std::byte> state() const { return state_; }

 private:
  std::unique_ptr<MappedFile> file_;
  std::vector<int32_t> tokens_;
  uint64_t in_windows_ = 0;
  absl::string_view note_;
  std::span<const std::byte> state_;
};

}  // namespace bantam::engine
