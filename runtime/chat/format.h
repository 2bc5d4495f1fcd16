// Python's two ways to format text: "%s" % values and "{}".format(values).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "runtime/chat/functions.h"
#include "runtime/chat/value.h"

namespace bantam::chat {

// Values put into a format marked safe are escaped, as MarkupSafe does.
absl::StatusOr<std::string> FormatPercent(Heap& heap, const Value& format, const Value& values);
absl::StatusOr<std::string> FormatBraces(Interpreter& interpreter, const Value& format,
                                         const Arguments& arguments);

}  // namespace bantam::chat
