#include "runtime/grammar/json_flatten.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"

namespace bantam::grammar {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxAlternatives = 512;

enum class Kind : uint8_t {
  kAnnotation,  // says nothing about what is valid
  kStructure,   // resolved by Flatten
  kType,
  kArray,
  kObject,
  kSchema,
  kCount,
  kNumber,
  kText,
  kNames,
  kSchemas,
};

const absl::flat_hash_map<std::string, Kind>& Keywords() {
  static const auto* const keywords = new absl::flat_hash_map<std::string, Kind>{
      {"$schema", Kind::kAnnotation},
      {"$id", Kind::kAnnotation},
      {"id", Kind::kAnnotation},
      {"$comment", Kind::kAnnotation},
      {"title", Kind::kAnnotation},
      {"description", Kind::kAnnotation},
      {"default", Kind::kAnnotation},
      {"examples", Kind::kAnnotation},
      {"example", Kind::kAnnotation},
      {"deprecated", Kind::kAnnotation},
      {"readOnly", Kind::kAnnotation},
      {"writeOnly", Kind::kAnnotation},
      {"$defs", Kind::kAnnotation},
      {"definitions", Kind::kAnnotation},
      {"discriminator", Kind::kAnnotation},
      {"contentEncoding", Kind::kAnnotation},
      {"contentMediaType", Kind::kAnnotation},
      {"$anchor", Kind::kAnnotation},
      {"$ref", Kind::kStructure},
      {"allOf", Kind::kStructure},
      {"anyOf", Kind::kStructure},
      {"oneOf", Kind::kStructure},
      {"type", Kind::kType},
      {"enum", Kind::kArray},
      {"const", Kind::kStructure},
      {"properties", Kind::kObject},
      {"required", Kind::kNames},
      {"additionalProperties", Kind::kSchema},
      {"items", Kind::kSchema},
      {"prefixItems", Kind::kSchemas},
      {"minItems", Kind::kCount},
      {"maxItems", Kind::kCount},
      {"minLength", Kind::kCount},
      {"maxLength", Kind::kCount},
      {"pattern", Kind::kText},
      {"format", Kind::kText},
      {"minimum", Kind::kNumber},
      {"maximum", Kind::kNumber},
      {"exclusiveMinimum", Kind::kNumber},
      {"exclusiveMaximum", Kind::kNumber},
  };
  return *keywords;
}

const char* const kTypes[] = {"null", "boolean", "integer", "number", "string", "array", "object"};

bool IsSchema(const Json& value) { return value.is_object() || value.is_boolean(); }

bool IsCount(const Json& value) {
  return value.is_number_unsigned() || (value.is_number_integer() && value.get<int64_t>() >= 0);
}

bool Fits(Kind kind, const Json& value) {
  auto all = [&value](auto is) { return std::all_of(value.begin(), value.end(), is); };
  switch (kind) {
    case Kind::kAnnotation:
    case Kind::kStructure:
      return true;
    case Kind::kType: {
      auto known = [](const Json& v) {
        return v.is_string() && std::find(std::begin(kTypes), std::end(kTypes),
                                          v.get_ref<const std::string&>()) != std::end(kTypes);
      };
      return known(value) || (value.is_array() && !value.empty() && all(known));
    }
    case Kind::kArray:
      return value.is_array();
    case Kind::kObject:
      return value.is_object() && all(IsSchema);
    case Kind::kSchema:
      return IsSchema(value);
    case Kind::kSchemas:
      return value.is_array() && all(IsSchema);
    case Kind::kNames:
      return value.is_array() && all([](const Json& v) { return v.is_string(); });
    case Kind::kCount:
      return IsCount(value);
    case Kind::kNumber:
      return value.is_number();
    case Kind::kText:
      return value.is_string();
  }
  return false;
}

Json AllOf(const Json& a, const Json& b) {
  if (a == b) return a;
  return Json{{"allOf", Json::array({a, b})}};
}

// Of two bounds the one that allows less.
const Json& Tighter(const std::string& keyword, const Json& a, const Json& b) {
  const bool is_least = keyword.find("in") == 1 || keyword == "exclusiveMinimum";
  return (a < b) == is_least ? b : a;
}

// `from`'s additionalProperties apply to the properties that only `into` has.
void ConstrainProperties(const FlatSchema& from, FlatSchema& into) {
  if (!from.contains("additionalProperties") || !into.contains("properties")) return;
  for (auto& [name, schema] : into["properties"].items()) {
    if (from.contains("properties") && from["properties"].contains(name)) continue;
    schema = AllOf(schema, from["additionalProperties"]);
  }
}

// {lowest, highest}, for telling ranges apart.
std::pair<double, double> Range(const FlatSchema& s) {
  double low = -INFINITY, high = INFINITY;
  for (const char* k : {"minimum", "exclusiveMinimum"}) {
    if (s.contains(k)) low = std::max(low, s[k].get<double>());
  }
  for (const char* k : {"maximum", "exclusiveMaximum"}) {
    if (s.contains(k)) high = std::min(high, s[k].get<double>());
  }
  return {low, high};
}

bool Requires(const FlatSchema& s, const std::string& name) {
  if (!s.contains("required")) return false;
  const Json& names = s["required"];
  return std::find(names.begin(), names.end(), name) != names.end();
}
bool Names(const FlatSchema& s, const std::string& name) {
  return s.contains("properties") && s["properties"].contains(name);
}
bool AdmitsOthers(const FlatSchema& s) {
  if (s.contains("additionalProperties")) return s["additionalProperties"] != Json(false);
  return !s.contains("properties");  // then any object is meant
}

// Whether objects made for `made` are invalid against `other` by the names of their properties.
bool FailsByNames(const FlatSchema& made, const FlatSchema& other) {
  if (other.contains("required") && !AdmitsOthers(made)) {
    for (const Json& name : other["required"]) {
      if (!Names(made, name) && !Requires(made, name)) return true;
    }
  }
  if (made.contains("required") && other.contains("additionalProperties") &&
      other["additionalProperties"] == Json(false)) {
    for (const Json& name : made["required"]) {
      if (!Names(other, name)) return true;
    }
  }
  return false;
}

}  // namespace

std::string TypeOf(const Json& value) {
  if (value.is_number_float()) {
    const auto number = value.get<double>();
    return number == std::floor(number) ? "integer" : "number";
  }
  if (value.is_number()) return "integer";
  if (value.is_boolean()) return "boolean";
  return value.type_name();
}

bool TypeAllowed(const FlatSchema& schema, const std::string& type) {
  if (!schema.contains("type")) return true;
  for (const Json& allowed : schema["type"]) {
    if (allowed == type || (allowed == "number" && type == "integer")) return true;
  }
  return false;
}

std::vector<std::string> MadeTypes(const FlatSchema& schema) {
  std::vector<std::string> types;
  if (schema.contains("type")) {
    for (const Json& type : schema["type"]) types.push_back(type);
    return types;
  }
  auto imply = [&](const char* type, std::initializer_list<const char*> keywords) {
    for (const char* k : keywords) {
      if (!schema.contains(k)) continue;
      types.emplace_back(type);
      return;
    }
  };
  imply("object", {"properties", "required", "additionalProperties"});
  imply("array", {"items", "prefixItems", "minItems", "maxItems"});
  imply("string", {"minLength", "maxLength", "pattern", "format"});
  imply("number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"});
  if (types.empty()) types.assign(std::begin(kTypes), std::end(kTypes));
  return types;
}

absl::StatusOr<FlatSchema> Flattener::TakeKeywords(const Json& schema,
                                                   const std::string& where) const {
  FlatSchema flat = Json::object();
  for (const auto& [key, value] : schema.items()) {
    const auto known = Keywords().find(key);
    if (known == Keywords().end()) {
      if (absl::StartsWith(key, "x-")) continue;
      if (key == "additionalItems") continue;  // read with items below
      if (key == "uniqueItems" && value == Json(false)) continue;
      if (key == "unevaluatedProperties" && value == Json(false)) continue;  // none are made
      return absl::UnimplementedError(absl::StrCat("JSON schema ", where, ": the keyword '",
                                                   Printable(key), "' is not supported"));
    }
    if (known->second == Kind::kAnnotation || known->second == Kind::kStructure) continue;
    if (key == "items" && value.is_array()) {  // what prefixItems was called before 2020-12
      if (!Fits(Kind::kSchemas, value)) {
        return absl::InvalidArgumentError(
            absl::StrCat("JSON schema ", where, ": 'items' holds something that is no schema"));
      }
      flat["prefixItems"] = value;
      if (schema.contains("additionalItems")) flat["items"] = schema["additionalItems"];
      continue;
    }
    if (!Fits(known->second, value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("JSON schema ", where, ": '", key, "' cannot be ",
                       Printable(value.dump(-1, ' ', false, Json::error_handler_t::replace))));
    }
    flat[key] = value;
    if (key == "type" && value.is_string()) flat[key] = Json::array({value});
  }
  if (schema.contains("const")) {
    Json only = Json::array({schema["const"]});
    if (flat.contains("enum")) {
      const Json& listed = flat["enum"];
      if (std::find(listed.begin(), listed.end(), schema["const"]) == listed.end()) {
        only = Json::array();
      }
    }
    flat["enum"] = std::move(only);
  }
  return flat;
}

absl::StatusOr<const Json*> Flattener::Resolve(const std::string& reference,
                                               const std::string& where) const {
  const auto error = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("JSON schema ", where, ": $ref '", Printable(reference), "' ", why));
  };
  if (!absl::StartsWith(reference, "#")) {
    return absl::UnimplementedError(
        error("is outside the schema; only '#...' is supported").message());
  }
  const Json* at = &root_;
  if (reference == "#") return at;
  if (reference[1] != '/') return error("is not a path like '#/$defs/name'");
  for (absl::string_view part : absl::StrSplit(absl::string_view(reference).substr(2), '/')) {
    const std::string key =
        absl::StrReplaceAll(part, {{"~1", "/"}, {"~0", "~"}, {"%25", "%"}, {"%20", " "}});
    size_t index = 0;
    if (at->is_object() && at->contains(key)) {
      at = &(*at)[key];
    } else if (at->is_array() && absl::SimpleAtoi(key, &index) && index < at->size()) {
      at = &(*at)[index];
    } else {
      return error("leads nowhere");
    }
  }
  return at;
}

absl::StatusOr<std::vector<FlatSchema>> Flattener::Both(const std::vector<FlatSchema>& a,
                                                        const std::vector<FlatSchema>& b,
                                                        const std::string& where) const {
  std::vector<FlatSchema> both;
  if (a.size() * b.size() > kMaxAlternatives) {
    return absl::UnimplementedError(
        absl::StrCat("JSON schema ", where, ": more than ", kMaxAlternatives, " alternatives"));
  }
  for (const FlatSchema& x : a) {
    for (const FlatSchema& y : b) {
      FlatSchema merged = x, other = y;
      ConstrainProperties(y, merged);
      ConstrainProperties(x, other);
      bool possible = true;
      for (const auto& [key, value] : other.items()) {
        if (!merged.contains(key)) {
          merged[key] = value;
          continue;
        }
        Json& mine = merged[key];
        if (mine == value) continue;
        if (key == "type") {
          Json types = Json::array();
          for (const Json& type : value) {
            if (TypeAllowed(x, type)) types.push_back(type);
          }
          for (const Json& type : mine) {
            if (TypeAllowed(y, type) &&
                std::find(types.begin(), types.end(), type) == types.end()) {
              types.push_back(type);
            }
          }
          possible = !types.empty();
          mine = std::move(types);
        } else if (key == "enum") {
          Json common = Json::array();
          for (const Json& v : mine) {
            if (std::find(value.begin(), value.end(), v) != value.end()) common.push_back(v);
          }
          possible = !common.empty();
          mine = std::move(common);
        } else if (key == "properties") {
          for (const auto& [name, schema] : value.items()) {
            mine[name] = mine.contains(name) ? AllOf(mine[name], schema) : schema;
          }
        } else if (key == "required") {
          for (const Json& name : value) {
            if (!Requires(merged, name)) mine.push_back(name);
          }
        } else if (key == "additionalProperties" ||
                   (key == "items" && !x.contains("prefixItems") && !y.contains("prefixItems"))) {
          mine = AllOf(mine, value);
        } else if (value.is_number()) {
          mine = Json(Tighter(key, mine, value));
        } else {
          return absl::UnimplementedError(absl::StrCat("JSON schema ", where, ": two different '",
                                                       key, "' for one value are not supported"));
        }
        if (!possible) break;
      }
      if (possible) both.push_back(std::move(merged));
    }
  }
  return both;
}

bool Flattener::Apart(const FlatSchema& a, const FlatSchema& b, int depth) {
  if (a.contains("enum") || b.contains("enum")) {
    const FlatSchema& listed = a.contains("enum") ? a : b;
    const FlatSchema& other = a.contains("enum") ? b : a;
    for (const Json& value : listed["enum"]) {
      if (!TypeAllowed(other, TypeOf(value))) continue;
      if (!other.contains("enum")) return false;
      const Json& values = other["enum"];
      if (std::find(values.begin(), values.end(), value) != values.end()) return false;
    }
    return true;
  }
  // Types that one is made of and the other admits.
  const FlatSchema made_a = {{"type", MadeTypes(a)}}, made_b = {{"type", MadeTypes(b)}};
  std::vector<std::string> common;
  for (const char* type : kTypes) {
    if ((TypeAllowed(made_a, type) && TypeAllowed(b, type)) ||
        (TypeAllowed(made_b, type) && TypeAllowed(a, type))) {
      common.emplace_back(type);
    }
  }
  for (const std::string& type : common) {
    if (type == "integer" || type == "number") {
      const auto [low_a, high_a] = Range(a);
      const auto [low_b, high_b] = Range(b);
      if (high_a < low_b || high_b < low_a) continue;
      return false;
    }
    if (type != "object") return false;
    bool apart = FailsByNames(a, b) && FailsByNames(b, a);
    if (!apart && a.contains("required") && a.contains("properties") && b.contains("properties")) {
      for (const Json& name : a["required"]) {
        if (!Requires(b, name) || !Names(a, name) || !Names(b, name) || depth > 4) continue;
        const auto of_a = Flatten(a["properties"][std::string(name)], "", depth + 1);
        const auto of_b = Flatten(b["properties"][std::string(name)], "", depth + 1);
        if (!of_a.ok() || !of_b.ok()) continue;
        apart = std::all_of(of_a->begin(), of_a->end(), [&](const FlatSchema& x) {
          return std::all_of(of_b->begin(), of_b->end(),
                             [&](const FlatSchema& y) { return Apart(x, y, depth + 1); });
        });
        if (apart) break;
      }
    }
    if (!apart) return false;
  }
  return true;
}

absl::StatusOr<std::vector<FlatSchema>> Flattener::Flatten(const Json& schema,
                                                           const std::string& where, int depth) {
  if (depth > kMaxDepth) {
    return absl::InvalidArgumentError(absl::StrCat(
        "JSON schema ", where, ": $ref or allOf leads to itself, or is nested more than ",
        kMaxDepth, " deep"));
  }
  if (schema == Json(true)) return std::vector<FlatSchema>{Json::object()};
  if (schema == Json(false)) return std::vector<FlatSchema>{};
  if (!schema.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "JSON schema ", where, ": a schema is an object, true or false, not ", schema.type_name()));
  }
  BANTAM_ASSIGN_OR_RETURN(FlatSchema own, TakeKeywords(schema, where));
  std::vector<FlatSchema> flat = {std::move(own)};
  auto restrict_to = [&](const std::vector<FlatSchema>& other, const std::string& place) {
    auto both = Both(flat, other, place);
    if (both.ok()) flat = *std::move(both);
    return both.status();
  };
  if (schema.contains("$ref")) {
    if (!schema["$ref"].is_string()) {
      return absl::InvalidArgumentError(absl::StrCat("JSON schema ", where, ": $ref is no text"));
    }
    const auto& reference = schema["$ref"].get_ref<const std::string&>();
    BANTAM_ASSIGN_OR_RETURN(const Json* target, Resolve(reference, where));
    BANTAM_ASSIGN_OR_RETURN(const auto other, Flatten(*target, Printable(reference), depth + 1));
    BANTAM_RETURN_IF_ERROR(restrict_to(other, where));
  }
  for (const char* key : {"allOf", "anyOf", "oneOf"}) {
    if (!schema.contains(key)) continue;
    const std::string place = absl::StrCat(where, "/", key);
    const Json& list = schema[key];
    if (!list.is_array() || list.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("JSON schema ", place, ": expected a list of schemas"));
    }
    std::vector<std::vector<FlatSchema>> branches;
    for (size_t i = 0; i < list.size(); ++i) {
      BANTAM_ASSIGN_OR_RETURN(auto branch,
                              Flatten(list[i], absl::StrCat(place, "/", i), depth + 1));
      branches.push_back(std::move(branch));
    }
    if (absl::string_view(key) == "allOf") {
      for (const auto& branch : branches) BANTAM_RETURN_IF_ERROR(restrict_to(branch, place));
      continue;
    }
    std::vector<FlatSchema> any;
    for (auto& branch : branches) {
      BANTAM_ASSIGN_OR_RETURN(branch, Both(flat, branch, place));
      any.insert(any.end(), branch.begin(), branch.end());
    }
    if (any.size() > kMaxAlternatives) {
      return absl::UnimplementedError(
          absl::StrCat("JSON schema ", place, ": more than ", kMaxAlternatives, " alternatives"));
    }
    for (size_t i = 0; absl::string_view(key) == "oneOf" && i < branches.size(); ++i) {
      for (size_t j = i + 1; j < branches.size(); ++j) {
        for (const FlatSchema& a : branches[i]) {
          for (const FlatSchema& b : branches[j]) {
            if (Apart(a, b, depth)) continue;
            return absl::UnimplementedError(absl::StrCat(
                "JSON schema ", place, ": a value may match both ", i, " and ", j,
                ", which oneOf forbids; use anyOf, or make them differ by type or by a required "
                "property"));
          }
        }
      }
    }
    flat = std::move(any);
  }
  return flat;
}

}  // namespace bantam::grammar
