// A schema as alternatives without $ref, allOf, anyOf and oneOf.
#pragma once

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace bantam::grammar {

using Json = nlohmann::ordered_json;

// A schema of only these keywords: "type" (array of names), "enum", "properties", "required",
// "additionalProperties", "items", "prefixItems", and the bounds of lengths, counts and numbers,
// "pattern", "format". Each has been checked to be of the right JSON type.
using FlatSchema = Json;

class Flattener {
 public:
  explicit Flattener(const Json& root) : root_(root) {}

  // A value is valid against `schema` when it is against one of the alternatives. None: nothing
  // is. `where` is the schema's place, for messages.
  absl::StatusOr<std::vector<FlatSchema>> Flatten(const Json& schema, const std::string& where,
                                                  int depth = 0);

 private:
  absl::StatusOr<FlatSchema> TakeKeywords(const Json& schema, const std::string& where) const;
  absl::StatusOr<const Json*> Resolve(const std::string& reference, const std::string& where) const;
  // What is valid against one of `a` and one of `b`.
  absl::StatusOr<std::vector<FlatSchema>> Both(const std::vector<FlatSchema>& a,
                                               const std::vector<FlatSchema>& b,
                                               const std::string& where) const;
  // Whether no value that the grammar of one lets through is valid against the other.
  bool Apart(const FlatSchema& a, const FlatSchema& b, int depth);

  const Json& root_;
};

// The JSON type a value has: "integer" for whole numbers.
std::string TypeOf(const Json& value);
// The types of the values that the grammar of a schema without enum makes. Keywords speak of one
// type each: where no type is given, those spoken of are meant, and where none is, all.
std::vector<std::string> MadeTypes(const FlatSchema& schema);
// "integer" is a "number" too.
bool TypeAllowed(const FlatSchema& schema, const std::string& type);

}  // namespace bantam::grammar
