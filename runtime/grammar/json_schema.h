// JSON schemas as grammars.
//
// Every text of the grammar is JSON that is valid against the schema; not every valid JSON is a
// text of the grammar: properties come in the schema's order, those it does not name only where
// additionalProperties says so, array elements past prefixItems only where items says so, white
// space is that of usual printers, and numbers have at most 16 digits.
//
// Supported (draft 2020-12 and what earlier drafts call the same): true, type, enum, const;
// properties, required, additionalProperties; items, prefixItems, minItems, maxItems; minLength,
// maxLength, pattern, format (date, time, date-time, uuid); minimum, maximum, exclusiveMinimum,
// exclusiveMaximum; anyOf, allOf, oneOf where no value can match two of it; $ref within the schema,
// $defs. Keywords that only describe (title, default, ...) mean nothing here.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bantam::grammar {

// The grammar as GBNF. kInvalidArgument for text that is no JSON schema or that nothing satisfies,
// kUnimplemented for a keyword, or a use of one, that is not supported; both name where in the
// schema.
absl::StatusOr<std::string> JsonSchemaToGbnf(absl::string_view schema);

}  // namespace bantam::grammar
