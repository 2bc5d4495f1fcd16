// What a frontend calls: load a model, open a session, feed tokens, read logits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/chat/template.h"
#include "runtime/device/device.h"
#include "runtime/engine/made_weights.h"
#include "runtime/engine/trace.h"
#include "runtime/engine/weights.h"
#include "runtime/gguf/file.h"
#include "runtime/model/architecture.h"
#include "runtime/schedule/control.h"
#include "runtime/schedule/placement.h"
#include "runtime/tokenizer/tokenizer.h"

namespace bantam::engine {

using tokenizer::TokenId;

class Placing;

struct SessionOptions {
  int64_t context = 0;   // tokens the KV cache holds; 0: what the model was trained for
  int64_t ubatch = 512;  // most tokens in one step of prompt processing
  quant::Type kv_type = quant::Type::kF16;  // or kF32, kQ8_0, kQ4_0
  bool optimize_graph = true;               // run the graph passes
  bool embeddings = false;  // Logits() gives last hidden states [embedding_length] in their place
  // For greedy decoding: a step also finds the likeliest token, on its device, and Decode reads
  // that one number (and its logit) in place of the logits: Likeliest(), not Logits().
  bool likeliest = false;
  // Decode with kAll of 2 to this many tokens gets steps of exactly its size, compiled by Create:
  // for checking drafts (generator.h). 0: none.
  int64_t verify_rows = 0;
  bool keep_matmul_inputs = false;  // for ObserveMatMuls; takes much more memory
  // On several devices: a prompt's steps run two at a time, one on each, which takes a second set
  // of inputs and intermediate values.
  bool pipeline = true;
  // Weights in system memory may be copied to a card for each large step of a prompt, where that is
  // said to be faster.
  bool stream_weights = true;
  // Counts which experts a mixture's tokens choose, for hot experts, and adds that to what is in
  // this folder when the session ends (schedule/expert_use.h). "": counts nothing. Where the ids of
  // the chosen are not in the host's memory, prompts and one of 16 other steps are counted.
  std::string expert_use_folder;
  // When a device is lost while others are left: loads the model on those, computes the text again
  // and goes on; while a model is loaded too. Otherwise that returns kUnavailable.
  bool recover = true;
  Trace* trace = nullptr;  // where not null, is told what runs, and must outlive the session
  // Called by Create with a line that the user should read.
  std::function<void(absl::string_view)> notice;
};

struct LoadOptions {
  // As --device takes it: a name; several, joined by commas, of which the last is the host, which
  // takes what the others have no room for; or "auto": every GPU there is, and the CPU.
  std::string device = "auto";
  int threads = 0;                // 0: one for each core the process may use
  std::string cpu_isa;            // instruction set of the device cpu; "": the fastest there is
  bool writable_weights = false;  // for Model::Overwrite; they are copied into memory
  // Weights that a device uses where they lie in the file are copied into memory after all where
  // another arrangement makes it faster, and that much memory is free.
  bool repack = true;
  // For several devices: what is to go where, and the sessions to keep room for.
  schedule::Control control;
  schedule::Prefer prefer = schedule::Prefer::kGenerate;
  SessionOptions expected;
  // How often each expert is used: those used most may be on a card without the others. Null: as
  // sessions counted it into this folder. Where that is not known, and where weights are writable,
  // a layer's experts stay together.
  std::shared_ptr<const schedule::ExpertUse> expert_use;
  std::string expert_use_folder;
  // By device, speeds to reckon with; empty: measured, once on a machine.
  std::vector<schedule::DeviceProfile> profiles;
  // Called from the loading thread with a line that the user should read.
  std::function<void(absl::string_view)> notice;
  // Called from the loading thread with the share done, 0 to 1.
  std::function<void(double)> progress;
};

// Weights, vocabulary and hyper-parameters of one model file on its devices. Immutable once loaded;
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
  device::Device& device() const { return *devices_[0]; }  // the first
  const std::vector<std::unique_ptr<device::Device>>& devices() const { return devices_; }
  // What is on which of devices(). Memory and times are predicted only where there are several.
  const schedule::Placement& placement() const { return placement_; }
  // What placement() knew of how often experts are used.
  const schedule::ExpertUse& expert_use() const { return *expert_use_; }
  const MadeWeights& made_weights() const { return made_weights_; }

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

  // Puts other data of the same type in the place of a weight, to measure what that changes. Needs
  // writable_weights; no session of the model may be decoding. kNotFound for a weight not used.
  absl::Status Overwrite(absl::string_view name, std::span<const std::byte> data);

  // Bytes of tensor data used, and how many of them stay in the mapped file.
  uint64_t weight_bytes() const;
  uint64_t mapped_bytes() const;
  // By device.
  const std::vector<DeviceWeights>& weights() const { return weights_; }
  const LoadOptions& load_options() const { return load_options_; }  // without its callbacks

 private:
  friend class Session;
  Model() = default;
  // `failing` is set to a device that made it fail.
  absl::Status LoadWeights(const LoadOptions& options, int& failing);
  absl::Status LoadAsPlaced(const Placing& placing, const LoadOptions& options, int& failing);

  std::unique_ptr<gguf::File> file_;
  std::vector<std::unique_ptr<device::Device>> devices_;
  schedule::Placement placement_;
  std::shared_ptr<const schedule::ExpertUse> expert_use_;
  MadeWeights made_weights_;
  LoadOptions load_options_;
  std::unique_ptr<model::Architecture> architecture_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
  std::unique_ptr<chat::Template> chat_template_;
  absl::Status chat_template_error_;
  std::vector<DeviceWeights> weights_;  // by device
};

struct MemoryUse {  // bytes
  uint64_t weights = 0;
  uint64_t kv_cache = 0;
  uint64_t compute = 0;  // intermediate values and inputs
};

// What Session::memory() will say on a device with these limits, without allocating anything: the
// same planner on the same graphs. Not counted are weights and what the device's compiled steps
// hold of their own. Errors as Session::Create.
absl::StatusOr<MemoryUse> PredictMemory(const model::Architecture& architecture,
                                        const device::Limits& limits,
                                        const SessionOptions& options);

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
  // then. A model that is not causal takes a text at a time: kFailedPrecondition unless the session
  // is empty, kInvalidArgument for more than ubatch() tokens. With kAll, tokens.size() must be at
  // most ubatch(); the first use with more than verify_rows tokens compiles its graphs.
  absl::Status Decode(std::span<const TokenId> tokens, LogitsMode logits = LogitsMode::kLast);

  // Row i of the last Decode's logits, [vocab] f32, or of its embeddings; with kLast the only row
  // is 0. Valid until the next Decode.
  std::span<const float> Logits(int64_t row = 0) const;

  // With SessionOptions::likeliest: the token with the largest logit of row i, the lowest of equal
  // ones. kNoToken where a logit of that Decode is the largest and not finite: Logits() are there
  // then. NaN beside a finite largest logit goes unseen.
  TokenId Likeliest(int64_t row = 0) const;

  // Calls `row` with each row of activations that a matrix multiplication of the last Decode, with
  // kAll, took for one of its tokens, and the names of the weights that multiplied it; `expert` is
  // the slice of them, or 0. kFailedPrecondition without keep_matmul_inputs, or before such a
  // Decode.
  using ObserveFn = absl::FunctionRef<void(std::span<const std::string> weights, int64_t expert,
                                           std::span<const float> row)>;
  absl::Status ObserveMatMuls(ObserveFn row) const;

  // Tokens in the text, which is the position of the next one.
  int64_t position() const;
  // How many of them are in the KV cache: all, or after Truncate none (see there).
  int64_t computed() const;
  int64_t context() const;
  int64_t ubatch() const;
  // Tokens of a prompt that Decode takes at once as fast as more: a step, or where two are under
  // way at once, several. Who wants to be asked in between gives it no more.
  int64_t prompt_batch() const;
  // Token counts of the steps that were compiled, increasing: the shape classes.
  std::vector<int64_t> shape_classes() const;
  // The text: position() tokens. Valid until it changes.
  std::span<const TokenId> tokens() const;
  // Forgets everything from `position` on. kOutOfRange past the current one. The KV cache of layers
  // with a sliding window goes back about ubatch() tokens; further back is exact too, but the next
  // Decode first computes again what is left of the text.
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
  // What was allocated on each of the model's devices, its weights included (but not those that
  // stay in the mapped file).
  std::vector<schedule::DeviceMemory> device_memory() const;
  // One line per group of nodes of the decode graph with device and kernel, for --verbose.
  std::string Describe() const;
  // The same of the largest step, which prompts are computed in.
  std::string DescribePrompt() const;
  // From now on measures what each kernel takes, beginning at 0; kUnimplemented where the device
  // cannot tell.
  absl::Status StartProfile();
  // The longest first.
  std::vector<device::KernelTime> Profile() const;

  // Another one after a device was lost; the one before stays alive as long as this session.
  const Model& model() const;

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bantam::engine
