// Models: loading, facts, text and tokens.

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/capi/handles.h"
#include "runtime/capi/metadata.h"

namespace bantam::capi {

absl::StatusOr<absl::string_view> Text(const char* text, size_t length) {
  if (length == 0) return absl::string_view();
  BANTAM_RETURN_IF_ERROR(NotNull(text, "text"));
  return length == BANTAM_NUL_TERMINATED ? absl::string_view(text)
                                         : absl::string_view(text, length);
}

namespace {

uint64_t CountParameters(const gguf::File& file) {
  uint64_t count = 0;
  for (const gguf::TensorInfo& tensor : file.tensors()) count += tensor.elements();
  return count;
}

absl::Status CheckToken(const engine::Model& model, int32_t token) {
  if (token >= 0 && token < model.config().vocab_size) return absl::OkStatus();
  return absl::OutOfRangeError(
      absl::StrCat("token ", token, " is not in the vocabulary of ", model.config().vocab_size));
}

}  // namespace
}  // namespace bantam::capi

using bantam::capi::CheckToken;
using bantam::capi::CopyText;
using bantam::capi::Guard;
using bantam::capi::NotNull;

extern "C" {

bantam_code bantam_model_load(const char* path, const bantam_model_options* options,
                              bantam_model** model, bantam_error** error) {
  if (model != nullptr) *model = nullptr;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(path, "path"));
    BANTAM_RETURN_IF_ERROR(NotNull(model, "model"));
    bantam_model_options given = BANTAM_MODEL_OPTIONS_INIT;
    BANTAM_RETURN_IF_ERROR(bantam::capi::ReadSized(options, "options", given));
    if (given.threads < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("options->threads is ", given.threads, "; expected 0 or more"));
    }
    bantam::engine::LoadOptions load;
    if (given.device != nullptr) load.device = given.device;
    load.threads = given.threads;
    load.repack = given.no_repack == 0;
    if (given.progress != nullptr) {
      load.progress = [&given](double share) { given.progress(share, given.user_data); };
    }
    BANTAM_ASSIGN_OR_RETURN(auto loaded, bantam::engine::Model::Load(path, load));
    auto handle = std::make_unique<bantam_model>();
    handle->device = loaded->device().name();
    handle->parameter_count = bantam::capi::CountParameters(loaded->file());
    handle->model = std::move(loaded);
    *model = handle.release();
    return absl::OkStatus();
  });
}

void bantam_model_free(bantam_model* model) { delete model; }

bantam_code bantam_model_get_info(const bantam_model* model, bantam_model_info* info,
                                  bantam_error** error) {
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(model, "model"));
    const bantam::engine::Model& m = *model->model;
    const bantam::model::Config& config = m.config();
    const bantam::tokenizer::SpecialTokens& special = m.tokenizer().special();
    bantam_model_info facts = BANTAM_MODEL_INFO_INIT;
    facts.architecture = config.architecture.c_str();
    facts.name = config.name.c_str();
    facts.device = model->device.c_str();
    facts.vocab_size = config.vocab_size;
    facts.context_length = config.context_length;
    facts.embedding_length = config.embedding_length;
    facts.block_count = config.block_count;
    facts.head_count = config.head_count;
    facts.head_count_kv = config.head_count_kv;
    facts.parameter_count = model->parameter_count;
    facts.file_bytes = m.file().file_bytes();
    facts.weight_bytes = m.weight_bytes();
    facts.mapped_bytes = m.mapped_bytes();
    facts.bos_token = special.bos;
    facts.eos_token = special.eos;
    facts.eot_token = special.eot;
    facts.has_chat_template = m.has_chat_template() ? 1 : 0;
    return bantam::capi::WriteSized(facts, "info", info);
  });
}

size_t bantam_model_metadata_count(const bantam_model* model) {
  return model == nullptr ? 0 : model->model->file().metadata().size();
}

bantam_code bantam_model_metadata_key(const bantam_model* model, size_t index, char** key,
                                      size_t* length, bantam_error** error) {
  if (key != nullptr) *key = nullptr;
  if (length != nullptr) *length = 0;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(model, "model"));
    BANTAM_RETURN_IF_ERROR(NotNull(key, "key"));
    const auto& metadata = model->model->file().metadata();
    if (index >= metadata.size()) {
      return absl::OutOfRangeError(
          absl::StrCat("there is no metadata key ", index, ": the file has ", metadata.size()));
    }
    return CopyText(metadata[index].key, key, length);
  });
}

bantam_code bantam_model_metadata_value(const bantam_model* model, const char* key, char** text,
                                        size_t* length, bantam_error** error) {
  if (text != nullptr) *text = nullptr;
  if (length != nullptr) *length = 0;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(model, "model"));
    BANTAM_RETURN_IF_ERROR(NotNull(key, "key"));
    BANTAM_RETURN_IF_ERROR(NotNull(text, "text"));
    const bantam::gguf::File& file = model->model->file();
    const bantam::gguf::MetaValue* value = file.Find(key);
    if (value == nullptr) {
      return absl::NotFoundError(absl::StrCat(file.path(), ": no metadata key ", key));
    }
    return CopyText(bantam::capi::MetadataText(*value), text, length);
  });
}

bantam_code bantam_tokenize(const bantam_model* model, const char* text, size_t length,
                            uint32_t flags, int32_t** tokens, size_t* count, bantam_error** error) {
  if (tokens != nullptr) *tokens = nullptr;
  if (count != nullptr) *count = 0;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(model, "model"));
    BANTAM_RETURN_IF_ERROR(NotNull(tokens, "tokens"));
    BANTAM_RETURN_IF_ERROR(NotNull(count, "count"));
    BANTAM_ASSIGN_OR_RETURN(const absl::string_view input, bantam::capi::Text(text, length));
    constexpr uint32_t kKnown = BANTAM_ADD_SPECIAL | BANTAM_PARSE_SPECIAL;
    if ((flags & ~kKnown) != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("flags are ", flags, "; only ", kKnown, " and its parts have a meaning"));
    }
    const std::vector<int32_t> ids = model->model->tokenizer().Encode(
        input, {.add_special = (flags & BANTAM_ADD_SPECIAL) != 0,
                .parse_special = (flags & BANTAM_PARSE_SPECIAL) != 0});
    const size_t bytes = ids.size() * sizeof(int32_t);
    *tokens = static_cast<int32_t*>(std::malloc(bytes + sizeof(int32_t)));
    if (*tokens == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes"));
    }
    if (bytes > 0) std::memcpy(*tokens, ids.data(), bytes);
    *count = ids.size();
    return absl::OkStatus();
  });
}

bantam_code bantam_detokenize(const bantam_model* model, const int32_t* tokens, size_t count,
                              int render_special, char** text, size_t* length,
                              bantam_error** error) {
  if (text != nullptr) *text = nullptr;
  if (length != nullptr) *length = 0;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(model, "model"));
    BANTAM_RETURN_IF_ERROR(NotNull(text, "text"));
    if (count > 0) BANTAM_RETURN_IF_ERROR(NotNull(tokens, "tokens"));
    return CopyText(model->model->tokenizer().Decode({tokens, count}, render_special != 0), text,
                    length);
  });
}

bantam_code bantam_token_bytes(const bantam_model* model, int32_t token, int render_special,
                               char** bytes, size_t* length, bantam_error** error) {
  if (bytes != nullptr) *bytes = nullptr;
  if (length != nullptr) *length = 0;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(model, "model"));
    BANTAM_RETURN_IF_ERROR(NotNull(bytes, "bytes"));
    BANTAM_RETURN_IF_ERROR(CheckToken(*model->model, token));
    return CopyText(model->model->tokenizer().TokenBytes(token, render_special != 0), bytes,
                    length);
  });
}

int bantam_token_is_end(const bantam_model* model, int32_t token) {
  return model != nullptr && model->model->tokenizer().IsEndOfGeneration(token) ? 1 : 0;
}

bantam_code bantam_decoder_create(const bantam_model* model, int render_special,
                                  bantam_decoder** decoder, bantam_error** error) {
  if (decoder != nullptr) *decoder = nullptr;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(model, "model"));
    BANTAM_RETURN_IF_ERROR(NotNull(decoder, "decoder"));
    *decoder = new bantam_decoder{
        model->model,
        bantam::tokenizer::StreamDecoder(model->model->tokenizer(), render_special != 0),
        {}};
    return absl::OkStatus();
  });
}

void bantam_decoder_free(bantam_decoder* decoder) { delete decoder; }

bantam_code bantam_decoder_push(bantam_decoder* decoder, int32_t token, const char** text,
                                size_t* length, bantam_error** error) {
  if (text != nullptr) *text = nullptr;
  if (length != nullptr) *length = 0;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(decoder, "decoder"));
    BANTAM_RETURN_IF_ERROR(NotNull(text, "text"));
    BANTAM_RETURN_IF_ERROR(CheckToken(*decoder->model, token));
    decoder->text = decoder->decoder.Push(token);
    *text = decoder->text.c_str();
    if (length != nullptr) *length = decoder->text.size();
    return absl::OkStatus();
  });
}

bantam_code bantam_decoder_finish(bantam_decoder* decoder, const char** text, size_t* length,
                                  bantam_error** error) {
  if (text != nullptr) *text = nullptr;
  if (length != nullptr) *length = 0;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(decoder, "decoder"));
    BANTAM_RETURN_IF_ERROR(NotNull(text, "text"));
    decoder->text = decoder->decoder.Finish();
    *text = decoder->text.c_str();
    if (length != nullptr) *length = decoder->text.size();
    return absl::OkStatus();
  });
}

bantam_code bantam_format_chat(const bantam_model* model, const bantam_chat_message* messages,
                               size_t count, int add_generation_prompt, char** text, size_t* length,
                               bantam_error** error) {
  if (text != nullptr) *text = nullptr;
  if (length != nullptr) *length = 0;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(model, "model"));
    BANTAM_RETURN_IF_ERROR(NotNull(text, "text"));
    if (count > 0) BANTAM_RETURN_IF_ERROR(NotNull(messages, "messages"));
    std::vector<bantam::chat::Message> conversation;
    for (size_t i = 0; i < count; ++i) {
      BANTAM_RETURN_IF_ERROR(NotNull(messages[i].role, absl::StrCat("messages[", i, "].role")));
      BANTAM_RETURN_IF_ERROR(
          NotNull(messages[i].content, absl::StrCat("messages[", i, "].content")));
      conversation.push_back({messages[i].role, messages[i].content});
    }
    BANTAM_ASSIGN_OR_RETURN(const std::string formatted,
                            model->model->FormatChat(conversation, add_generation_prompt != 0));
    return CopyText(formatted, text, length);
  });
}

}  // extern "C"
