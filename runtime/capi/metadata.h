// Metadata values as text.
#pragma once

#include <string>

#include "runtime/gguf/file.h"

namespace bantam::capi {

// A string as it is, a number in the fewest digits that mean it, a bool as true or false, an array
// as JSON (where bytes that are not UTF-8 become U+FFFD and what is not a finite number null).
std::string MetadataText(const gguf::MetaValue& value);

}  // namespace bantam::capi
