// What a frontend calls: load a model, open a session, feed tokens, read logits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/chat/template.h"
#include "runtime/device/device.h"
#include "runtime/gguf/file.h"
#include "runtime/model/architecture.h"
#include "runtime/tokenizer/tokenizer.h"

namespace bantam::engine {

using tokenizer::TokenId;

struct LoadOptions {
  std::string device = "auto";  // as --device takes it
  int threads = 0;              // 0: as many as the process may use
  std::string cpu_isa;          // instruction set of the device cpu; "": the fastest there is
  // Called from the loading thread with the share done, 0 to 1.
  std::function<void(double)> progress;
};

// Weights, vocabulary and hyper-parameters of one model file on one device. Immutable once loaded;
// any number of sessions may share it, each on its own thread.
class Model {
 public:
  static absl::StatusOr<std::shared_ptr<Model>> Load(const std::string& path,
                                                     const LoadOptions& options);
  ~Model();

  const gguf::File& file() const { return *file_; }
  const model::Architecture& architecture() const { return *architecture_; }
  const model::Config& config() const { return architecture_->config(); }
  const tokenizer::Tokenizer& tokenizer() const { return *tokenizer_; }
  device::Device& device() const { return *device_; }

  // The model's own template applied; kFailedPrecondition when the file carries none, and the
  // error of parsing it when it uses something unsupported.
  // `thinking`: the template's variable enable_thinking; left to the template when not given.
  absl::StatusOr<std::string> FormatChat(const std::vector<chat::Message>& messages,
                                         bool add_generation_prompt,
                                         std::optional<bool> thinking = std::nullopt) const;
  bool has_chat_template() const { return chat_template_ != nullptr || !chat_template_error_.ok(); }
  // Whether the template reads enable_thinking.
  bool has_thinking_switch() const;

  // Called when logits were not finite: kDataLoss naming the first weight that is not a number.
  // Reads every weight, so it is slow.
  absl::Status ExplainNonFinite() const;

  // Bytes of tensor data used, and how many of them stay in the mapped file.
  uint64_t weight_bytes() const { return weight_bytes_; }
  uint64_t mapped_bytes() const { return mapped_bytes_; }

 private:
  friend class Session;
  Model() = default;
  absl::Status LoadWeights(const LoadOptions& options);

  std::unique_ptr<gguf::File> file_;
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<model::Architecture> architecture_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
  std::unique_ptr<chat::Template> chat_template_;
  absl::Status chat_template_error_;
  std::vector<std::unique_ptr<device::Buffer>> buffers_;
  absl::flat_hash_map<absl::string_view, device::Binding> weights_;  // by tensor name
  uint64_t weight_bytes_ = 0;
  uint64_t mapped_bytes_ = 0;
};

struct SessionOptions {
  int64_t context = 0;   // tokens the KV cache holds; 0: what the model was trained for
  int64_t ubatch = 512;  // most tokens in one step of prompt processing
  quant::Type kv_type = quant::Type::kF16;  // or kF32, kQ8_0, kQ4_0
  bool optimize_graph = true;               // run the graph passes
  // Decode with kAll of 2 to this many tokens gets steps of exactly its size, compiled by Create:
  // for checking drafts (generator.h). 0: none.
  int64_t verify_rows = 0;
};

struct MemoryUse {  // bytes
  uint64_t weights = 0;
  uint64_t kv_cache = 0;
  uint64_t compute = 0;  // intermediate values and inputs
};

enum class LogitsMode : uint8_t { kNone, kLast, kAll };

// One text being generated. Not thread-safe. After Create, Decode allocates no heap memory (but see
// kAll below), nor do Truncate and Drop.
class Session {
 public:
  // Compiles the graphs of every shape class and allocates everything. kInvalidArgument for a
  // context the model cannot have, kResourceExhausted when memory does not suffice.
  static absl::StatusOr<std::unique_ptr<Session>> Create(std::shared_ptr<const Model> model,
                                                         const SessionOptions& options);
  ~Session();

  // Appends tokens to the text and computes their logits. kInvalidArgument for an id outside the
  // vocabulary, kResourceExhausted when they do not fit in the context; the session is unchanged
  // then. With kAll, tokens.size() must be at most ubatch(); the first use with more than
  // verify_rows tokens compiles its graphs.
  absl::Status Decode(std::span<const TokenId> tokens, LogitsMode logits = LogitsMode::kLast);

  // Row i of the last Decode's logits, [vocab] f32; with kLast the only row is 0. Valid until the
  // next Decode.
  std::span<const float> Logits(int64_t row = 0) const;

  // Tokens in the KV cache, which is the position of the next one.
  int64_t position() const;
  int64_t context() const;
  int64_t ubatch() const;
  // Token counts of the steps that were compiled, increasing: the shape classes.
  std::vector<int64_t> shape_classes() const;
  // The text: position() tokens. Valid until it changes.
  std::span<const TokenId> tokens() const;
  // Forgets everything from `position` on. kOutOfRange past the current one.
  absl::Status Truncate(int64_t position);
  // Takes `count` tokens out of the text, from `begin` on. What follows them is computed again, as
  // if they had never been there: exact, at the cost of a prompt as long. kOutOfRange past the end.
  absl::Status Drop(int64_t begin, int64_t count);

  // Writes the text and its KV cache to a file, with a note that Restore gives back. Atomic: a
  // failure leaves what was there. kUnavailable and the like name the file.
  absl::Status Save(const std::string& path, absl::string_view note = "") const;
  // Replaces the text by a saved one. The session is unchanged when that fails: kNotFound,
  // kDataLoss for a damaged file, kFailedPrecondition for one of another model, version or KV
  // type, kResourceExhausted when the context is too small. There are no logits until the next
  // Decode.
  absl::StatusOr<std::string> Restore(const std::string& path);

  MemoryUse memory() const;
  // One line per group of nodes of the decode graph with device and kernel, for --verbose.
  std::string Describe() const;

  const Model& model() const;

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bantam::engine
