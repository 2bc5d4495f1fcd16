// Macros and helpers over absl::Status, the way every fallible call in Bantam reports failure.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

// Returns from the enclosing function when `expr` is not OK.
#define BANTAM_RETURN_IF_ERROR(expr)                                                       \
  do {                                                                                     \
    if (absl::Status bantam_status_ = (expr); !bantam_status_.ok()) return bantam_status_; \
  } while (0)

// Evaluates `expr` (a StatusOr); returns its status on failure, else assigns the value to `lhs`.
#define BANTAM_ASSIGN_OR_RETURN(lhs, expr) \
  BANTAM_ASSIGN_OR_RETURN_IMPL_(BANTAM_CONCAT_(bantam_statusor_, __LINE__), lhs, expr)
#define BANTAM_ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                                  \
  if (!tmp.ok()) return std::move(tmp).status();      \
  lhs = std::move(tmp).value()
#define BANTAM_CONCAT_(a, b) BANTAM_CONCAT_IMPL_(a, b)
#define BANTAM_CONCAT_IMPL_(a, b) a##b

namespace bantam {

// The same status with "<context>: " put before its message.
inline absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

}  // namespace bantam
