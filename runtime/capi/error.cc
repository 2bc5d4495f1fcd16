#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "runtime/capi/handles.h"

struct bantam_error {
  bantam_code code;
  std::string message;
};

namespace bantam::capi {
namespace {

static_assert(BANTAM_INVALID_ARGUMENT == static_cast<int>(absl::StatusCode::kInvalidArgument));
static_assert(BANTAM_DATA_LOSS == static_cast<int>(absl::StatusCode::kDataLoss));

// Lives forever, so that it is there when nothing else can be allocated.
bantam_error& OutOfMemory() {
  static bantam_error& error = *new bantam_error{BANTAM_RESOURCE_EXHAUSTED, "out of memory"};
  return error;
}
[[maybe_unused]] const bantam_error& allocated_early = OutOfMemory();

}  // namespace

bantam_code Report(const absl::Status& status, bantam_error** error) noexcept {
  bantam_code code = static_cast<bantam_code>(status.code());
  if (*bantam_code_name(code) == '\0') code = BANTAM_UNKNOWN;
  if (error == nullptr) return code;
  try {
    *error = new bantam_error{code, std::string(status.message())};
    return code;
  } catch (...) {
    return ReportOutOfMemory(error);
  }
}

bantam_code ReportOutOfMemory(bantam_error** error) noexcept {
  if (error != nullptr) *error = &OutOfMemory();
  return BANTAM_RESOURCE_EXHAUSTED;
}

absl::Status NotNull(const void* pointer, absl::string_view name) {
  if (pointer != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is NULL"));
}

absl::Status CopyText(absl::string_view text, char** copy, size_t* length) {
  *copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (*copy == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", text.size(), " bytes"));
  }
  if (!text.empty()) std::memcpy(*copy, text.data(), text.size());
  (*copy)[text.size()] = '\0';
  if (length != nullptr) *length = text.size();
  return absl::OkStatus();
}

absl::Status CheckSize(size_t size, absl::string_view name) {
  constexpr size_t kLargest = 4096;  // no structure will come near it: a size nobody set might
  if (size >= sizeof(size_t) && size <= kLargest) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, "->size is ", size, "; start from the _INIT macro of the structure"));
}

absl::Status CheckTail(const void* structure, size_t known, size_t size, absl::string_view name) {
  const auto* bytes = static_cast<const unsigned char*>(structure);
  for (size_t i = known; i < size; ++i) {
    if (bytes[i] == 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(name, " sets a field that version ", bantam_version(),
                     " of the library does not know; the program needs a newer one"));
  }
  return absl::OkStatus();
}

}  // namespace bantam::capi

extern "C" {

const char* bantam_version(void) { return BANTAM_VERSION; }

bantam_code bantam_error_code(const bantam_error* error) {
  return error == nullptr ? BANTAM_OK : error->code;
}

const char* bantam_error_message(const bantam_error* error) {
  return error == nullptr ? "" : error->message.c_str();
}

void bantam_error_free(bantam_error* error) {
  if (error != &bantam::capi::OutOfMemory()) delete error;
}

const char* bantam_code_name(bantam_code code) {
  switch (code) {
    case BANTAM_OK:
      return "OK";
    case BANTAM_CANCELLED:
      return "CANCELLED";
    case BANTAM_UNKNOWN:
      return "UNKNOWN";
    case BANTAM_INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case BANTAM_NOT_FOUND:
      return "NOT_FOUND";
    case BANTAM_PERMISSION_DENIED:
      return "PERMISSION_DENIED";
    case BANTAM_RESOURCE_EXHAUSTED:
      return "RESOURCE_EXHAUSTED";
    case BANTAM_FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case BANTAM_OUT_OF_RANGE:
      return "OUT_OF_RANGE";
    case BANTAM_UNIMPLEMENTED:
      return "UNIMPLEMENTED";
    case BANTAM_INTERNAL:
      return "INTERNAL";
    case BANTAM_UNAVAILABLE:
      return "UNAVAILABLE";
    case BANTAM_DATA_LOSS:
      return "DATA_LOSS";
  }
  return "";
}

void bantam_free(void* memory) { std::free(memory); }

}  // extern "C"
