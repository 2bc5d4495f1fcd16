// Bantam for C++: handles that free themselves and results that carry their error, over bantam.h,
// where errors, ownership and threads are described. Header only; needs C++17 and throws nothing of
// its own.
//
//   auto model = bantam::Model::Load("model.gguf");
//   if (!model) return Fail(model.error().message);
//   auto session = bantam::Session::Create(*model);
//   auto sampler = bantam::Sampler::Create(*model);
//   auto prompt = model->Tokenize("Once upon a time");
//   session->Generate(*prompt, *sampler, {}, [](std::string_view text, int32_t) {
//     std::cout << text << std::flush;
//     return true;
//   });
#ifndef BANTAM_BANTAM_HPP_
#define BANTAM_BANTAM_HPP_

#if __cplusplus < 201703L
#error "bantam.hpp needs C++17"
#endif

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bantam/bantam.h"

namespace bantam {

// ---- Results ----

struct Error {
  bantam_code code = BANTAM_OK;
  std::string message;
};

// A value or the error that kept it from being made. value(), * and -> need ok(), error() the
// opposite; debug builds check. As a condition it is ok().
template <typename T>
class [[nodiscard]] Expected {
 public:
  Expected(T value) : result_(std::in_place_index<0>, std::move(value)) {}
  Expected(Error error) : result_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return result_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return *Checked(std::get_if<0>(&result_)); }
  const T& value() const& { return *Checked(std::get_if<0>(&result_)); }
  T&& value() && { return std::move(*Checked(std::get_if<0>(&result_))); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const { return *Checked(std::get_if<1>(&result_)); }

 private:
  template <typename P>
  static P* Checked(P* pointer) {
    assert(pointer != nullptr && "ask a bantam::Expected for ok() first");
    return pointer;
  }
  std::variant<T, Error> result_;
};

// Success, or an error.
template <>
class [[nodiscard]] Expected<void> {
 public:
  Expected() = default;
  Expected(Error error) : error_(std::move(error)) {}
  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    assert(error_.has_value() && "ask a bantam::Expected for ok() first");
    return *error_;
  }

 private:
  std::optional<Error> error_;
};
using Status = Expected<void>;

// ---- How the calls below turn what C hands out into C++ ----

namespace internal {

struct Deleter {
  void operator()(bantam_model* p) const { bantam_model_free(p); }
  void operator()(bantam_session* p) const { bantam_session_free(p); }
  void operator()(bantam_sampler* p) const { bantam_sampler_free(p); }
  void operator()(bantam_decoder* p) const { bantam_decoder_free(p); }
  void operator()(bantam_error* p) const { bantam_error_free(p); }
  void operator()(char* p) const { bantam_free(p); }
  void operator()(int32_t* p) const { bantam_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, Deleter>;

inline Error TakeError(bantam_code code, bantam_error* error) {
  const Owned<bantam_error> owner(error);
  return Error{code, bantam_error_message(error)};
}

// Calls call(&error).
template <typename Call>
Status Run(Call call) {
  bantam_error* error = nullptr;
  const bantam_code code = call(&error);
  if (code != BANTAM_OK) return TakeError(code, error);
  return {};
}

// Calls call(&text, &length, &error).
template <typename Call>
Expected<std::string> RunText(Call call) {
  char* text = nullptr;
  size_t length = 0;
  bantam_error* error = nullptr;
  const bantam_code code = call(&text, &length, &error);
  if (code != BANTAM_OK) return TakeError(code, error);
  const Owned<char> owner(text);
  return std::string(text, length);
}

// Runs the caller's function. What it throws waits in `thrown` until the C code has returned.
template <typename Function>
void Shield(std::exception_ptr& thrown, Function function) {
#if defined(__cpp_exceptions)
  try {
    function();
  } catch (...) {
    thrown = std::current_exception();
  }
#else
  (void)thrown;
  function();
#endif
}

}  // namespace internal

// ---- Models ----

struct LoadOptions {
  std::string device = "auto";           // "cpu", "vulkan:0", ...
  int32_t threads = 0;                   // 0: one for each core the process may use
  std::function<void(double)> progress;  // the share done, 0 to 1
  bool no_repack = false;                // the CPU leaves weights in the mapped file
};

struct TokenizeOptions {
  bool add_special = true;     // BOS and EOS where the model wants them
  bool parse_special = false;  // <|im_start|> in the text is that token
};

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// Any threads may use a model at the same time. A moved-from handle may only be assigned to or
// destroyed; that holds for every class here.
class Model {
 public:
  static Expected<Model> Load(const std::string& path, const LoadOptions& options = {}) {
    bantam_model_options c = BANTAM_MODEL_OPTIONS_INIT;
    c.device = options.device.c_str();
    c.threads = options.threads;
    c.no_repack = options.no_repack ? 1 : 0;
    Progress progress{options.progress, nullptr};
    if (options.progress) {
      c.progress = &Progress::Call;
      c.user_data = &progress;
    }
    bantam_model* model = nullptr;
    const Status status = internal::Run(
        [&](bantam_error** error) { return bantam_model_load(path.c_str(), &c, &model, error); });
    Model loaded(model);
    if (progress.thrown) std::rethrow_exception(progress.thrown);
    if (!status) return status.error();
    return loaded;
  }

  // Its strings live as long as the model.
  bantam_model_info Info() const {
    bantam_model_info info = BANTAM_MODEL_INFO_INIT;
    bantam_model_get_info(get(), &info, nullptr);
    return info;
  }

  Expected<std::vector<std::string>> MetadataKeys() const {
    std::vector<std::string> keys(bantam_model_metadata_count(get()));
    for (size_t i = 0; i < keys.size(); ++i) {
      auto key = internal::RunText([&](char** text, size_t* length, bantam_error** error) {
        return bantam_model_metadata_key(get(), i, text, length, error);
      });
      if (!key) return key.error();
      keys[i] = *std::move(key);
    }
    return keys;
  }
  Expected<std::string> Metadata(const std::string& key) const {
    return internal::RunText([&](char** text, size_t* length, bantam_error** error) {
      return bantam_model_metadata_value(get(), key.c_str(), text, length, error);
    });
  }

  Expected<std::vector<int32_t>> Tokenize(std::string_view text,
                                          const TokenizeOptions& options = {}) const {
    uint32_t flags = 0;
    if (options.add_special) flags |= BANTAM_ADD_SPECIAL;
    if (options.parse_special) flags |= BANTAM_PARSE_SPECIAL;
    int32_t* tokens = nullptr;
    size_t count = 0;
    const Status status = internal::Run([&](bantam_error** error) {
      return bantam_tokenize(get(), text.data(), text.size(), flags, &tokens, &count, error);
    });
    const internal::Owned<int32_t> owner(tokens);
    if (!status) return status.error();
    return std::vector<int32_t>(tokens, tokens + count);
  }
  Expected<std::string> Detokenize(const std::vector<int32_t>& tokens,
                                   bool render_special = false) const {
    return internal::RunText([&](char** text, size_t* length, bantam_error** error) {
      return bantam_detokenize(get(), tokens.data(), tokens.size(), render_special, text, length,
                               error);
    });
  }
  // Possibly a part of a character; see TextDecoder.
  Expected<std::string> TokenBytes(int32_t token, bool render_special = false) const {
    return internal::RunText([&](char** text, size_t* length, bantam_error** error) {
      return bantam_token_bytes(get(), token, render_special, text, length, error);
    });
  }
  bool IsEnd(int32_t token) const { return bantam_token_is_end(get(), token) != 0; }

  // To be tokenized with {.add_special = false, .parse_special = true}.
  Expected<std::string> FormatChat(const std::vector<ChatMessage>& messages,
                                   bool add_generation_prompt = true) const {
    std::vector<bantam_chat_message> c;
    c.reserve(messages.size());
    for (const ChatMessage& m : messages) c.push_back({m.role.c_str(), m.content.c_str()});
    return internal::RunText([&](char** text, size_t* length, bantam_error** error) {
      return bantam_format_chat(get(), c.data(), c.size(), add_generation_prompt, text, length,
                                error);
    });
  }

  bantam_model* get() const { return handle_.get(); }

 private:
  explicit Model(bantam_model* model) : handle_(model) {}

  struct Progress {
    const std::function<void(double)>& function;
    std::exception_ptr thrown;
    static void Call(double share, void* self) {
      auto& progress = *static_cast<Progress*>(self);
      if (progress.thrown) return;
      internal::Shield(progress.thrown, [&] { progress.function(share); });
    }
  };

  internal::Owned<bantam_model> handle_;
};

// Turns a stream of tokens into a stream of whole UTF-8 characters.
class TextDecoder {
 public:
  static Expected<TextDecoder> Create(const Model& model, bool render_special = false) {
    bantam_decoder* decoder = nullptr;
    const Status status = internal::Run([&](bantam_error** error) {
      return bantam_decoder_create(model.get(), render_special, &decoder, error);
    });
    if (!status) return status.error();
    return TextDecoder(decoder);
  }
  // The characters that became complete. Valid until the next call.
  Expected<std::string_view> Push(int32_t token) {
    const char* text = nullptr;
    size_t length = 0;
    const Status status = internal::Run([&](bantam_error** error) {
      return bantam_decoder_push(get(), token, &text, &length, error);
    });
    if (!status) return status.error();
    return std::string_view(text, length);
  }
  // What is left at the end. Valid until the next call.
  Expected<std::string_view> Finish() {
    const char* text = nullptr;
    size_t length = 0;
    const Status status = internal::Run(
        [&](bantam_error** error) { return bantam_decoder_finish(get(), &text, &length, error); });
    if (!status) return status.error();
    return std::string_view(text, length);
  }

  bantam_decoder* get() const { return handle_.get(); }

 private:
  explicit TextDecoder(bantam_decoder* decoder) : handle_(decoder) {}
  internal::Owned<bantam_decoder> handle_;
};

// ---- Sampling ----

class Sampler {
 public:
  // Greedy: set temperature to 0.
  static bantam_sampler_options DefaultOptions() { return BANTAM_SAMPLER_OPTIONS_INIT; }

  static Expected<Sampler> Create(const Model& model,
                                  const bantam_sampler_options& options = DefaultOptions()) {
    bantam_sampler* sampler = nullptr;
    const Status status = internal::Run([&](bantam_error** error) {
      return bantam_sampler_create(model.get(), &options, &sampler, error);
    });
    if (!status) return status.error();
    return Sampler(sampler);
  }
  Expected<int32_t> Sample(const float* logits, size_t count) {
    int32_t token = BANTAM_NO_TOKEN;
    const Status status = internal::Run([&](bantam_error** error) {
      return bantam_sampler_sample(get(), logits, count, &token, error);
    });
    if (!status) return status.error();
    return token;
  }
  Status Accept(int32_t token) {
    return internal::Run(
        [&](bantam_error** error) { return bantam_sampler_accept(get(), token, error); });
  }
  void Reset() { bantam_sampler_reset(get()); }
  // Only text of a grammar from now on; "" for any again.
  Status SetGrammar(const Model& model, std::string_view gbnf) {
    return internal::Run([&](bantam_error** error) {
      return bantam_sampler_set_grammar(get(), model.get(), gbnf.data(), gbnf.size(), error);
    });
  }
  Status SetJsonSchema(const Model& model, std::string_view schema) {
    return internal::Run([&](bantam_error** error) {
      return bantam_sampler_set_json_schema(get(), model.get(), schema.data(), schema.size(),
                                            error);
    });
  }

  bantam_sampler* get() const { return handle_.get(); }

 private:
  explicit Sampler(bantam_sampler* sampler) : handle_(sampler) {}
  internal::Owned<bantam_sampler> handle_;
};

// ---- Sessions ----

// One row of logits: vocab_size numbers that stay the session's.
struct LogitsRow {
  const float* data = nullptr;
  size_t size = 0;
  const float* begin() const { return data; }
  const float* end() const { return data + size; }
  float operator[](size_t i) const { return data[i]; }
};

struct GenerateOptions {
  int64_t max_tokens = 0;  // 0: until the answer or the context ends
  bool render_special = false;
  bool context_shift = false;  // when the context is full, forget the older half of the text
  int64_t keep = 0;            // but not its first tokens
};

class Session {
 public:
  static bantam_session_options DefaultOptions() { return BANTAM_SESSION_OPTIONS_INIT; }

  static Expected<Session> Create(const Model& model,
                                  const bantam_session_options& options = DefaultOptions()) {
    bantam_session* session = nullptr;
    const Status status = internal::Run([&](bantam_error** error) {
      return bantam_session_create(model.get(), &options, &session, error);
    });
    if (!status) return status.error();
    return Session(session);
  }

  Status Decode(const std::vector<int32_t>& tokens, bantam_logits logits = BANTAM_LOGITS_LAST) {
    return internal::Run([&](bantam_error** error) {
      return bantam_session_decode(get(), tokens.data(), tokens.size(), logits, error);
    });
  }
  // Valid until the next Decode or Truncate.
  Expected<LogitsRow> Logits(size_t row = 0) const {
    LogitsRow logits;
    const Status status = internal::Run([&](bantam_error** error) {
      return bantam_session_logits(get(), row, &logits.data, &logits.size, error);
    });
    if (!status) return status.error();
    return logits;
  }

  int64_t Position() const { return bantam_session_position(get()); }
  int64_t Context() const { return bantam_session_context(get()); }
  int64_t Ubatch() const { return bantam_session_ubatch(get()); }
  Status Truncate(int64_t position) {
    return internal::Run(
        [&](bantam_error** error) { return bantam_session_truncate(get(), position, error); });
  }
  Status Drop(int64_t begin, int64_t count) {
    return internal::Run(
        [&](bantam_error** error) { return bantam_session_drop(get(), begin, count, error); });
  }
  Status Save(const std::string& path, std::string_view note = {}) const {
    return internal::Run([&](bantam_error** error) {
      return bantam_session_save(get(), path.c_str(), note.data(), note.size(), error);
    });
  }
  // The note that was saved.
  Expected<std::string> Restore(const std::string& path) {
    return internal::RunText([&](char** note, size_t* length, bantam_error** error) {
      return bantam_session_restore(get(), path.c_str(), note, length, error);
    });
  }
  bantam_memory_use Memory() const {
    bantam_memory_use memory = BANTAM_MEMORY_USE_INIT;
    bantam_session_get_memory(get(), &memory, nullptr);
    return memory;
  }

  // Appends the prompt, then generates. on_text is called for every token with the whole characters
  // it completed and returns whether to go on; what it throws comes out of Generate.
  using OnText = std::function<bool(std::string_view text, int32_t token)>;
  Expected<bantam_generate_result> Generate(const std::vector<int32_t>& prompt, Sampler& sampler,
                                            const GenerateOptions& options = {},
                                            const OnText& on_text = nullptr) {
    bantam_generate_options c = BANTAM_GENERATE_OPTIONS_INIT;
    c.max_tokens = options.max_tokens;
    c.render_special = options.render_special;
    c.context_shift = options.context_shift;
    c.keep = options.keep;
    Callback callback{on_text, nullptr};
    if (on_text) {
      c.callback = &Callback::Call;
      c.user_data = &callback;
    }
    bantam_generate_result result = BANTAM_GENERATE_RESULT_INIT;
    const Status status = internal::Run([&](bantam_error** error) {
      return bantam_generate(get(), sampler.get(), prompt.data(), prompt.size(), &c, &result,
                             error);
    });
    if (callback.thrown) std::rethrow_exception(callback.thrown);
    if (!status) return status.error();
    return result;
  }

  bantam_session* get() const { return handle_.get(); }

 private:
  explicit Session(bantam_session* session) : handle_(session) {}

  struct Callback {
    const OnText& function;
    std::exception_ptr thrown;
    static int Call(const char* text, size_t length, int32_t token, void* self) {
      auto& callback = *static_cast<Callback*>(self);
      bool go_on = false;
      if (callback.thrown) return 1;
      internal::Shield(callback.thrown,
                       [&] { go_on = callback.function(std::string_view(text, length), token); });
      return go_on ? 0 : 1;
    }
  };

  internal::Owned<bantam_session> handle_;
};

}  // namespace bantam

#endif  // BANTAM_BANTAM_HPP_
