// What the C interface's handles are, and how failures cross it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "bantam/bantam.h"
#include "runtime/base/status.h"
#include "runtime/engine/drafter.h"
#include "runtime/engine/engine.h"
#include "runtime/grammar/matcher.h"
#include "runtime/sample/sampler.h"
#include "runtime/tokenizer/tokenizer.h"

struct bantam_model {
  std::shared_ptr<const bantam::engine::Model> model;
  std::string device;            // for bantam_model_info
  uint64_t parameter_count = 0;  // for bantam_model_info
};

struct bantam_session {
  std::unique_ptr<bantam::engine::Session> session;
  std::unique_ptr<bantam::engine::Drafter> drafter;  // may be null
  int64_t draft_tokens = 0;
};

struct bantam_sampler {
  std::unique_ptr<bantam::sample::Sampler> sampler;
  int64_t vocab_size;
  std::unique_ptr<bantam::grammar::Matcher> grammar;  // may be null
  int32_t picked = BANTAM_NO_TOKEN;                   // last, and not yet accepted
};

struct bantam_decoder {
  std::shared_ptr<const bantam::engine::Model> model;  // which the decoder points into
  bantam::tokenizer::StreamDecoder decoder;
  std::string text;  // handed out last
};

namespace bantam::capi {

// Stores `status` (not OK) in *error, where `error` may be NULL, and returns its code.
bantam_code Report(const absl::Status& status, bantam_error** error) noexcept;
// The same for memory running out; allocates nothing.
bantam_code ReportOutOfMemory(bantam_error** error) noexcept;

// Runs `body`, a function returning absl::Status, so that nothing but a code leaves it.
template <typename Body>
bantam_code Guard(bantam_error** error, Body&& body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    const absl::Status status = body();
    return status.ok() ? BANTAM_OK : Report(status, error);
  } catch (const std::bad_alloc&) {
    return ReportOutOfMemory(error);
  } catch (const std::length_error&) {
    return ReportOutOfMemory(error);
  } catch (const std::exception& e) {
    return Report(absl::InternalError(e.what()), error);
  } catch (...) {
    return Report(absl::InternalError("an exception of unknown type"), error);
  }
}

// kInvalidArgument "<name> is NULL".
absl::Status NotNull(const void* pointer, absl::string_view name);

// `length` may be BANTAM_NUL_TERMINATED.
absl::StatusOr<absl::string_view> Text(const char* text, size_t length);

// A copy on the heap for bantam_free, with a NUL after its end.
absl::Status CopyText(absl::string_view text, char** copy, size_t* length);

// kInvalidArgument unless `size`, the first field of a caller's structure, is one.
absl::Status CheckSize(size_t size, absl::string_view name);
// kInvalidArgument unless the bytes from `known` to `size` are zero.
absl::Status CheckTail(const void* structure, size_t known, size_t size, absl::string_view name);

// Reads a structure that the caller may have compiled against another bantam.h: fields the caller
// does not know keep the defaults in `options`; fields this library does not know must be zero.
// `from` may be NULL.
template <typename Options>
absl::Status ReadSized(const Options* from, absl::string_view name, Options& options) {
  if (from == nullptr) return absl::OkStatus();
  BANTAM_RETURN_IF_ERROR(CheckSize(from->size, name));
  BANTAM_RETURN_IF_ERROR(CheckTail(from, sizeof(Options), from->size, name));
  std::memcpy(&options, from, std::min(from->size, sizeof(Options)));
  options.size = sizeof(Options);
  return absl::OkStatus();
}

// Writes as much of `from` as the caller's structure has room for, and zero past it.
template <typename Result>
absl::Status WriteSized(Result from, absl::string_view name, Result* to) {
  BANTAM_RETURN_IF_ERROR(NotNull(to, name));
  const size_t size = to->size;
  BANTAM_RETURN_IF_ERROR(CheckSize(size, name));
  from.size = size;
  std::memset(static_cast<void*>(to), 0, size);
  std::memcpy(static_cast<void*>(to), &from, std::min(size, sizeof(Result)));
  return absl::OkStatus();
}

}  // namespace bantam::capi
