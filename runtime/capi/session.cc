// Sessions and samplers.

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
  return absl::InvalidArgumentError(absl::StrCat(
      "options->kv_type is ", type, "; expected BANTAM_KV_F16 (0) or BANTAM_KV_F32 (1)"));
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
    BANTAM_ASSIGN_OR_RETURN(auto created, bantam::engine::Session::Create(model->model, create));
    *session = new bantam_session{std::move(created)};
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
    const bantam::sample::Params params = {
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
    };
    const int64_t vocab_size = model->model->config().vocab_size;
    BANTAM_ASSIGN_OR_RETURN(auto created, bantam::sample::Sampler::Create(params, vocab_size));
    *sampler = new bantam_sampler{std::move(created), vocab_size};
    return absl::OkStatus();
  });
}

void bantam_sampler_free(bantam_sampler* sampler) { delete sampler; }

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
    BANTAM_ASSIGN_OR_RETURN(*token, sampler->sampler->Sample({logits, count}));
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
    sampler->sampler->Accept(token);
    return absl::OkStatus();
  });
}

void bantam_sampler_reset(bantam_sampler* sampler) {
  if (sampler != nullptr) sampler->sampler->Reset();
}

}  // extern "C"
