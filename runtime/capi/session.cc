// Sessions and samplers.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/capi/handles.h"

using bantam::capi::Guard;
using bantam::capi::NotNull;

namespace bantam::capi {
namespace {

absl::StatusOr<engine::LogitsMode> Mode(bantam_logits logits) {
  switch (logits) {
    case BANTAM_LOGITS_NONE:
      return engine::LogitsMode::kNone;
    case BANTAM_LOGITS_LAST:
      return engine::LogitsMode::kLast;
    case BANTAM_LOGITS_ALL:
      return engine::LogitsMode::kAll;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("logits is ", static_cast<int>(logits), "; expected 0, 1 or 2"));
}

absl::StatusOr<quant::Type> KvType(int32_t type) {
  if (type == BANTAM_KV_F16) return quant::Type::kF16;
  if (type == BANTAM_KV_F32) return quant::Type::kF32;
  if (type == BANTAM_KV_Q8_0) return quant::Type::kQ8_0;
  if (type == BANTAM_KV_Q4_0) return quant::Type::kQ4_0;
  return absl::InvalidArgumentError(
      absl::StrCat("options->kv_type is ", type,
                   "; expected BANTAM_KV_F16 (0), BANTAM_KV_F32 (1), BANTAM_KV_Q8_0 (2) or "
                   "BANTAM_KV_Q4_0 (3)"));
}

constexpr int32_t kMaxDraft = 64;

absl::StatusOr<sample::Params> SamplerParams(const bantam_sampler_options& given) {
  sample::Params params = {
      .temperature = given.temperature,
      .top_k = given.top_k,
      .top_p = given.top_p,
      .min_p = given.min_p,
      .typical_p = given.typical_p,
      .repeat_penalty = given.repeat_penalty,
      .frequency_penalty = given.frequency_penalty,
      .presence_penalty = given.presence_penalty,
      .penalty_last_n = given.penalty_last_n,
      .seed = given.seed,
      .xtc_probability = given.xtc_probability,
      .xtc_threshold = given.xtc_threshold,
      .mirostat = given.mirostat == 2,
      .mirostat_tau = given.mirostat_tau,
      .mirostat_eta = given.mirostat_eta,
  };
  if (given.mirostat != 0 && given.mirostat != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("options->mirostat is ", given.mirostat, "; expected 0 or 2"));
  }
  if (given.logit_bias_count > 0) {
    BANTAM_RETURN_IF_ERROR(NotNull(given.logit_bias, "options->logit_bias"));
  }
  for (size_t i = 0; i < given.logit_bias_count; ++i) {
    params.logit_bias.push_back({given.logit_bias[i].token, given.logit_bias[i].bias});
  }
  params.dry.multiplier = given.dry_multiplier;
  params.dry.base = given.dry_base;
  params.dry.allowed_length = given.dry_allowed_length;
  params.dry.last_n = given.dry_last_n;
  if (given.dry_breaker_count > 0) {
    BANTAM_RETURN_IF_ERROR(NotNull(given.dry_breakers, "options->dry_breakers"));
    params.dry.breakers.assign(given.dry_breakers, given.dry_breakers + given.dry_breaker_count);
  }
  return params;
}

template <typename Compile>
absl::Status SetGrammar(bantam_sampler* sampler, const bantam_model* model, const char* text,
                        size_t length, absl::string_view name, Compile compile) {
  BANTAM_RETURN_IF_ERROR(NotNull(sampler, "sampler"));
  BANTAM_RETURN_IF_ERROR(NotNull(model, "model"));
  if (length > 0) BANTAM_RETURN_IF_ERROR(NotNull(text, name));
  BANTAM_ASSIGN_OR_RETURN(const absl::string_view given, Text(text, length));
  sampler->picked = BANTAM_NO_TOKEN;
  if (given.empty()) {
    sampler->grammar = nullptr;
    return absl::OkStatus();
  }
  if (model->model->config().vocab_size != sampler->vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat("the sampler was made for a vocabulary of ",
                                                   sampler->vocab_size, ", the model has ",
                                                   model->model->config().vocab_size));
  }
  BANTAM_ASSIGN_OR_RETURN(auto compiled, compile(given));
  sampler->grammar = std::make_unique<grammar::Matcher>(
      std::move(compiled),
      std::make_shared<grammar::TokenTrie>(model->model->tokenizer(), sampler->vocab_size));
  return absl::OkStatus();
}

}  // namespace
}  // namespace bantam::capi

extern "C" {

bantam_code bantam_session_create(const bantam_model* model, const bantam_session_options* options,
                                  bantam_session** session, bantam_error** error) {
  if (session != nullptr) *session = nullptr;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(model, "model"));
    BANTAM_RETURN_IF_ERROR(NotNull(session, "session"));
    bantam_session_options given = BANTAM_SESSION_OPTIONS_INIT;
    BANTAM_RETURN_IF_ERROR(bantam::capi::ReadSized(options, "options", given));
    bantam::engine::SessionOptions create;
    create.context = given.context;
    if (given.ubatch != 0) create.ubatch = given.ubatch;
    BANTAM_ASSIGN_OR_RETURN(create.kv_type, bantam::capi::KvType(given.kv_type));
    if (given.draft_tokens < 0 || given.draft_tokens > bantam::capi::kMaxDraft) {
      return absl::InvalidArgumentError(absl::StrCat("options->draft_tokens is ",
                                                     given.draft_tokens, "; expected 0 to ",
                                                     bantam::capi::kMaxDraft));
    }
    auto handle = std::make_unique<bantam_session>();
    handle->draft_tokens = given.draft_tokens;
    if (given.draft_tokens > 0) {
      create.verify_rows = given.draft_tokens + 1;
      create.ubatch = std::max(create.ubatch, create.verify_rows);
    }
    BANTAM_ASSIGN_OR_RETURN(handle->session, bantam::engine::Session::Create(model->model, create));
    if (given.draft_tokens > 0 && given.draft_model != nullptr) {
      bantam::engine::SessionOptions draft = create;
      draft.context = draft.verify_rows = 0;
      BANTAM_ASSIGN_OR_RETURN(
          handle->drafter,
          bantam::engine::Drafter::FromModel(given.draft_model->model, *handle->session, draft));
    } else if (given.draft_tokens > 0) {
      handle->drafter = bantam::engine::Drafter::LookUp();
    }
    *session = handle.release();
    return absl::OkStatus();
  });
}

void bantam_session_free(bantam_session* session) { delete session; }

bantam_code bantam_session_decode(bantam_session* session, const int32_t* tokens, size_t count,
                                  bantam_logits logits, bantam_error** error) {
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(session, "session"));
    if (count > 0) BANTAM_RETURN_IF_ERROR(NotNull(tokens, "tokens"));
    BANTAM_ASSIGN_OR_RETURN(const bantam::engine::LogitsMode mode, bantam::capi::Mode(logits));
    return session->session->Decode({tokens, count}, mode);
  });
}

bantam_code bantam_session_logits(const bantam_session* session, size_t row, const float** logits,
                                  size_t* count, bantam_error** error) {
  if (logits != nullptr) *logits = nullptr;
  if (count != nullptr) *count = 0;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(session, "session"));
    BANTAM_RETURN_IF_ERROR(NotNull(logits, "logits"));
    // No decode has more rows than the context has tokens.
    const auto rows = static_cast<size_t>(session->session->context());
    const std::span<const float> values =
        row < rows ? session->session->Logits(static_cast<int64_t>(row)) : std::span<const float>();
    if (values.empty()) {
      return absl::OutOfRangeError(
          absl::StrCat("row ", row, " of the logits was not computed by the last decode"));
    }
    *logits = values.data();
    if (count != nullptr) *count = values.size();
    return absl::OkStatus();
  });
}

int64_t bantam_session_position(const bantam_session* session) {
  return session == nullptr ? 0 : session->session->position();
}

int64_t bantam_session_context(const bantam_session* session) {
  return session == nullptr ? 0 : session->session->context();
}

int64_t bantam_session_ubatch(const bantam_session* session) {
  return session == nullptr ? 0 : session->session->ubatch();
}

bantam_code bantam_session_truncate(bantam_session* session, int64_t position,
                                    bantam_error** error) {
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(session, "session"));
    return session->session->Truncate(position);
  });
}

bantam_code bantam_session_drop(bantam_session* session, int64_t begin, int64_t count,
                                bantam_error** error) {
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(session, "session"));
    return session->session->Drop(begin, count);
  });
}

bantam_code bantam_session_save(const bantam_session* session, const char* path, const char* note,
                                size_t length, bantam_error** error) {
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(session, "session"));
    BANTAM_RETURN_IF_ERROR(NotNull(path, "path"));
    BANTAM_ASSIGN_OR_RETURN(const absl::string_view text, bantam::capi::Text(note, length));
    return session->session->Save(path, text);
  });
}

bantam_code bantam_session_restore(bantam_session* session, const char* path, char** note,
                                   size_t* length, bantam_error** error) {
  if (note != nullptr) *note = nullptr;
  if (length != nullptr) *length = 0;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(session, "session"));
    BANTAM_RETURN_IF_ERROR(NotNull(path, "path"));
    BANTAM_ASSIGN_OR_RETURN(const std::string text, session->session->Restore(path));
    return note == nullptr ? absl::OkStatus() : bantam::capi::CopyText(text, note, length);
  });
}

bantam_code bantam_session_get_memory(const bantam_session* session, bantam_memory_use* memory,
                                      bantam_error** error) {
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(session, "session"));
    const bantam::engine::MemoryUse use = session->session->memory();
    bantam_memory_use facts = BANTAM_MEMORY_USE_INIT;
    facts.weights = use.weights;
    facts.kv_cache = use.kv_cache;
    facts.compute = use.compute;
    return bantam::capi::WriteSized(facts, "memory", memory);
  });
}

bantam_code bantam_sampler_create(const bantam_model* model, const bantam_sampler_options* options,
                                  bantam_sampler** sampler, bantam_error** error) {
  if (sampler != nullptr) *sampler = nullptr;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(model, "model"));
    BANTAM_RETURN_IF_ERROR(NotNull(sampler, "sampler"));
    bantam_sampler_options given = BANTAM_SAMPLER_OPTIONS_INIT;
    BANTAM_RETURN_IF_ERROR(bantam::capi::ReadSized(options, "options", given));
    BANTAM_ASSIGN_OR_RETURN(const bantam::sample::Params params,
                            bantam::capi::SamplerParams(given));
    const int64_t vocab_size = model->model->config().vocab_size;
    BANTAM_ASSIGN_OR_RETURN(auto created, bantam::sample::Sampler::Create(params, vocab_size));
    *sampler = new bantam_sampler{std::move(created), vocab_size, nullptr};
    return absl::OkStatus();
  });
}

void bantam_sampler_free(bantam_sampler* sampler) { delete sampler; }

bantam_code bantam_sampler_set_grammar(bantam_sampler* sampler, const bantam_model* model,
                                       const char* gbnf, size_t length, bantam_error** error) {
  return Guard(error, [&]() -> absl::Status {
    return bantam::capi::SetGrammar(sampler, model, gbnf, length, "gbnf", [&](auto text) {
      return bantam::grammar::Grammar::FromGbnf(text, &model->model->tokenizer());
    });
  });
}

bantam_code bantam_sampler_set_json_schema(bantam_sampler* sampler, const bantam_model* model,
                                           const char* schema, size_t length,
                                           bantam_error** error) {
  return Guard(error, [&]() -> absl::Status {
    return bantam::capi::SetGrammar(sampler, model, schema, length, "schema", [](auto text) {
      return bantam::grammar::Grammar::FromJsonSchema(text);
    });
  });
}

bantam_code bantam_sampler_sample(bantam_sampler* sampler, const float* logits, size_t count,
                                  int32_t* token, bantam_error** error) {
  if (token != nullptr) *token = BANTAM_NO_TOKEN;
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(sampler, "sampler"));
    BANTAM_RETURN_IF_ERROR(NotNull(logits, "logits"));
    BANTAM_RETURN_IF_ERROR(NotNull(token, "token"));
    if (count != static_cast<size_t>(sampler->vocab_size)) {
      return absl::InvalidArgumentError(absl::StrCat(
          count, " logits were given; the model's vocabulary has ", sampler->vocab_size));
    }
    std::span<const uint64_t> allowed;
    if (sampler->grammar != nullptr) allowed = sampler->grammar->Mask();
    BANTAM_ASSIGN_OR_RETURN(*token, sampler->sampler->Sample({logits, count}, allowed));
    sampler->picked = *token;
    return absl::OkStatus();
  });
}

bantam_code bantam_sampler_accept(bantam_sampler* sampler, int32_t token, bantam_error** error) {
  return Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(sampler, "sampler"));
    if (token < 0 || token >= sampler->vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("token is ", token, "; the vocabulary has ", sampler->vocab_size));
    }
    if (std::exchange(sampler->picked, BANTAM_NO_TOKEN) == token && sampler->grammar != nullptr) {
      BANTAM_RETURN_IF_ERROR(sampler->grammar->Accept(token));
    }
    sampler->sampler->Accept(token);
    return absl::OkStatus();
  });
}

void bantam_sampler_reset(bantam_sampler* sampler) {
  if (sampler == nullptr) return;
  sampler->sampler->Reset();
  if (sampler->grammar != nullptr) sampler->grammar->Reset();
}

}  // extern "C"
