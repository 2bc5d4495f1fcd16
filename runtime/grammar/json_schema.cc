#include "runtime/grammar/json_schema.h"

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/grammar/json_flatten.h"
#include "runtime/grammar/json_numbers.h"
#include "runtime/grammar/json_strings.h"

namespace bantam::grammar {
namespace {

constexpr size_t kMaxRules = 20000;
constexpr int kMaxDepth = 200;

struct NamedRule {
  const char* name;
  const char* body;
};
// What the rules of a schema are written with. "any-..." is any JSON.
constexpr NamedRule kCommonRules[] = {
    {"ws", R"(" "? | "\n" [ \t]{0,20})"},
    {"char", R"([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" hex4))"},
    // An escaped character above U+FFFF is a pair of surrogates; half of one is no character.
    {"hex4", R"([0-9A-CE-Fa-ce-f] [0-9A-Fa-f]{3} | [Dd] [0-7] [0-9A-Fa-f]{2} | )"
             R"([Dd] [89ABab] [0-9A-Fa-f]{2} "\\u" [Dd] [C-Fc-f] [0-9A-Fa-f]{2})"},
    {"any-string", R"("\"" char* "\"")"},
    {"any-integer", R"("-"? ("0" | [1-9] [0-9]{0,15}))"},
    {"any-number", R"(any-integer ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?)"},
    {"any-boolean", R"("true" | "false")"},
    {"any-null", R"("null")"},
    {"any-pair", R"(any-string ":" " "? any-value)"},
    {"any-object", R"("{" ws (any-pair ("," ws any-pair)* ws)? "}")"},
    {"any-array", R"("[" ws (any-value ("," ws any-value)* ws)? "]")"},
    {"any-value", "any-object | any-array | any-string | any-number | any-boolean | any-null"},
    // A character of a property's name that needs no escape.
    {"key-char", R"([^"\\\x00-\x1f])"},
};

class Converter {
 public:
  explicit Converter(const Json& schema) : schema_(schema), flattener_(schema) {}

  absl::StatusOr<std::string> Convert() {
    BANTAM_ASSIGN_OR_RETURN(const std::string root, Value(schema_, "#"));
    if (root.empty()) return absl::InvalidArgumentError("JSON schema #: nothing satisfies it");
    std::string text = absl::StrCat("root ::= ", root, "\n");
    for (const auto& [name, body] : rules_) absl::StrAppend(&text, name, " ::= ", body, "\n");
    for (const NamedRule& rule : kCommonRules) {
      absl::StrAppend(&text, rule.name, " ::= ", rule.body, "\n");
    }
    return text;
  }

 private:
  // An expression for the values valid against a schema; "" when there are none.
  absl::StatusOr<std::string> Value(const Json& schema, const std::string& where) {
    BANTAM_ASSIGN_OR_RETURN(const std::vector<FlatSchema> alternatives,
                            flattener_.Flatten(schema, where));
    std::vector<std::string> options;
    std::set<std::string> seen;
    for (const FlatSchema& alternative : alternatives) {
      BANTAM_ASSIGN_OR_RETURN(std::string option, Flat(alternative, where));
      if (!option.empty() && seen.insert(option).second) options.push_back(std::move(option));
    }
    if (options.size() < 2) return options.empty() ? "" : options[0];
    return absl::StrCat("(", absl::StrJoin(options, " | "), ")");
  }

  absl::StatusOr<std::string> Flat(const FlatSchema& schema, const std::string& where) {
    if (schema.empty()) return "any-value";
    if (schema.contains("enum")) return Enum(schema, where);
    std::vector<std::string> options;
    for (const std::string& type : MadeTypes(schema)) {
      BANTAM_ASSIGN_OR_RETURN(std::string option, OfType(type, schema, where));
      if (!option.empty()) options.push_back(std::move(option));
    }
    if (options.size() < 2) return options.empty() ? "" : options[0];
    return absl::StrCat("(", absl::StrJoin(options, " | "), ")");
  }

  static absl::StatusOr<std::string> Enum(const FlatSchema& schema, const std::string& where) {
    for (const auto& [key, value] : schema.items()) {
      if (key == "enum" || key == "type") continue;
      return absl::UnimplementedError(absl::StrCat(
          "JSON schema ", where, ": enum or const together with '", key, "' is not supported"));
    }
    std::vector<std::string> options;
    for (const Json& value : schema["enum"]) {
      if (!TypeAllowed(schema, TypeOf(value))) continue;
      options.push_back(GbnfLiteral(value.dump(-1, ' ', false, Json::error_handler_t::replace)));
    }
    return options.empty() ? "" : absl::StrCat("(", absl::StrJoin(options, " | "), ")");
  }

  absl::StatusOr<std::string> OfType(const std::string& type, const FlatSchema& schema,
                                     const std::string& where) {
    if (type == "null" || type == "boolean") return absl::StrCat("any-", type);
    if (type == "integer" || type == "number") {
      if (!HasBounds(schema)) return absl::StrCat("any-", type);
      auto range = NumberRange(schema, type == "integer");
      if (!range.ok()) return Annotate(range.status(), absl::StrCat("JSON schema ", where));
      return range;
    }
    if (type == "string") return String(schema, where);
    // Objects and arrays may hold themselves: a rule of their own, found again by what they are.
    std::string key = absl::StrCat(type, Relevant(schema, type).dump());
    auto [entry, added] = made_.try_emplace(std::move(key));
    Made& made = entry->second;  // std::map: stays where it is
    if (!added) {
      made.used_early |= made.in_progress;
      return made.name;
    }
    if (rules_.size() > kMaxRules || depth_ > kMaxDepth) {
      return absl::InvalidArgumentError(
          absl::StrCat("JSON schema ", where, ": the schema is too large or nested too deeply"));
    }
    made = {.name = NewRule(where), .in_progress = true};
    const size_t index = rules_.size() - 1;
    ++depth_;
    auto body = type == "object" ? Object(schema, where, made.name) : Array(schema, where);
    --depth_;
    BANTAM_RETURN_IF_ERROR(body.status());
    made.in_progress = false;
    if (body->empty()) {
      if (made.used_early) {
        return absl::InvalidArgumentError(
            absl::StrCat("JSON schema ", where, ": nothing satisfies it"));
      }
      made.name.clear();
      rules_[index].second = "\"\"";  // which nothing uses
    } else {
      rules_[index].second = *std::move(body);
    }
    return made.name;
  }

  static Json Relevant(const FlatSchema& schema, const std::string& type) {
    Json relevant = Json::object();
    for (const char* k : {"properties", "required", "additionalProperties"}) {
      if (type == "object" && schema.contains(k)) relevant[k] = schema[k];
    }
    for (const char* k : {"items", "prefixItems", "minItems", "maxItems"}) {
      if (type == "array" && schema.contains(k)) relevant[k] = schema[k];
    }
    return relevant;
  }

  // "r7-address" for "#/properties/address".
  std::string NewRule(const std::string& where) {
    std::string name = absl::StrCat("r", rules_.size());
    const size_t slash = where.rfind('/');
    if (slash != std::string::npos) {
      name += '-';
      for (char c : where.substr(slash + 1, 24)) name += absl::ascii_isalnum(c) ? c : '-';
    }
    rules_.emplace_back(name, "");
    return name;
  }

  absl::StatusOr<std::string> String(const FlatSchema& schema, const std::string& where) {
    const bool has_length = schema.contains("minLength") || schema.contains("maxLength");
    const int kinds = has_length + schema.contains("pattern") + schema.contains("format");
    if (kinds > 1) {
      return absl::UnimplementedError(absl::StrCat(
          "JSON schema ", where, ": lengths, pattern and format together are not supported"));
    }
    auto quoted = [](absl::string_view inside) {
      return absl::StrCat("\"\\\"\" ", inside, " \"\\\"\"");
    };
    if (schema.contains("pattern")) {
      auto inside = PatternToGbnf(schema["pattern"].get_ref<const std::string&>());
      if (!inside.ok()) return Annotate(inside.status(), absl::StrCat("JSON schema ", where));
      return quoted(*inside);
    }
    if (schema.contains("format")) {
      const std::string format = schema["format"];
      const std::string inside = FormatToGbnf(format);
      if (!inside.empty()) return quoted(inside);
      return absl::UnimplementedError(
          absl::StrCat("JSON schema ", where, ": format '", Printable(format),
                       "' is not supported; date, time, date-time and uuid are"));
    }
    if (!has_length) return "any-string";
    BANTAM_ASSIGN_OR_RETURN(const std::string count,
                            Counts(schema, "minLength", "maxLength", 0, where));
    return count.empty() ? "" : quoted(absl::StrCat("char", count));
  }

  // "{m,n}" for counts of a schema, each lower by `less`; "" when there is none.
  static absl::StatusOr<std::string> Counts(const FlatSchema& schema, const char* least,
                                            const char* most, uint64_t less,
                                            const std::string& where) {
    constexpr uint64_t kMost = 100000;
    const uint64_t m = schema.contains(least) ? schema[least].get<uint64_t>() : 0;
    const bool bounded = schema.contains(most);
    const uint64_t n = bounded ? schema[most].get<uint64_t>() : 0;
    if (m > kMost || n > kMost) {
      return absl::UnimplementedError(absl::StrCat("JSON schema ", where, ": '",
                                                   m > kMost ? least : most, "' above ", kMost,
                                                   " is not supported"));
    }
    if (bounded && (n < m || n < less)) return "";
    const uint64_t low = m > less ? m - less : 0;
    return bounded ? absl::StrCat("{", low, ",", n - less, "}") : absl::StrCat("{", low, ",}");
  }

  absl::StatusOr<std::string> Array(const FlatSchema& schema, const std::string& where) {
    BANTAM_ASSIGN_OR_RETURN(const std::string counts,
                            Counts(schema, "minItems", "maxItems", 0, where));
    if (counts.empty()) return "";
    std::vector<std::string> prefix;
    if (schema.contains("prefixItems")) {
      for (const Json& item : schema["prefixItems"]) {
        if (schema.contains("maxItems") && prefix.size() >= schema["maxItems"].get<uint64_t>()) {
          break;
        }
        BANTAM_ASSIGN_OR_RETURN(std::string value,
                                Value(item, absl::StrCat(where, "/prefixItems/", prefix.size())));
        if (value.empty()) break;
        prefix.push_back(std::move(value));
      }
    }
    const uint64_t least = schema.contains("minItems") ? schema["minItems"].get<uint64_t>() : 0;
    const bool whole_prefix =
        !schema.contains("prefixItems") || prefix.size() == schema["prefixItems"].size();
    std::string item;
    if (whole_prefix && schema.contains("items")) {
      BANTAM_ASSIGN_OR_RETURN(item, Value(schema["items"], absl::StrCat(where, "/items")));
    } else if (whole_prefix && (prefix.empty() || least > prefix.size())) {
      item = "any-value";
    }
    std::string inside;
    if (!prefix.empty()) {
      inside = absl::StrJoin(prefix, " \",\" ws ");
      if (item.empty()) {
        if (least > prefix.size()) return "";
      } else {
        BANTAM_ASSIGN_OR_RETURN(const std::string more,
                                Counts(schema, "minItems", "maxItems", prefix.size(), where));
        absl::StrAppend(&inside, " (\",\" ws ", item, ")", more);
      }
      return absl::StrCat("\"[\" ws ", inside, " ws \"]\"");
    }
    const bool may_be_empty = least == 0;
    const bool only_empty =
        item.empty() || (schema.contains("maxItems") && schema["maxItems"].get<uint64_t>() == 0);
    if (only_empty) return may_be_empty ? "\"[]\"" : "";
    BANTAM_ASSIGN_OR_RETURN(const std::string more,
                            Counts(schema, "minItems", "maxItems", 1, where));
    inside = absl::StrCat(item, " (\",\" ws ", item, ")", more, " ws");
    return absl::StrCat("\"[\" ws ", may_be_empty ? absl::StrCat("(", inside, ")?") : inside,
                        " \"]\"");
  }

  struct Property {
    std::string pair;  // expression
    bool required;
  };

  absl::StatusOr<std::string> Object(const FlatSchema& schema, const std::string& where,
                                     const std::string& name) {
    const Json none = Json::object();
    const Json& named = schema.contains("properties") ? schema["properties"] : none;
    std::set<std::string> required;
    if (schema.contains("required")) {
      for (const Json& n : schema["required"]) required.insert(n.get<std::string>());
    }
    Json others = named.empty() && required.empty() && !schema.contains("properties") ? Json(true)
                                                                                      : Json(false);
    if (schema.contains("additionalProperties")) others = schema["additionalProperties"];
    // In the schema's order; then what it requires without naming.
    std::vector<std::pair<std::string, const Json*>> list;
    for (const auto& [key, value] : named.items()) list.emplace_back(key, &value);
    const Json anything = true;
    if (schema.contains("required")) {
      for (const Json& n : schema["required"]) {
        const std::string key = n;
        if (named.contains(key) || !required.contains(key)) continue;
        if (std::any_of(list.begin(), list.end(), [&](auto& p) { return p.first == key; }))
          continue;
        list.emplace_back(key, schema.contains("additionalProperties") ? &others : &anything);
      }
    }
    std::vector<Property> properties;
    for (const auto& [key, value] : list) {
      BANTAM_ASSIGN_OR_RETURN(const std::string expression,
                              Value(*value, absl::StrCat(where, "/properties/", Printable(key))));
      const bool is_required = required.contains(key);
      if (expression.empty()) {
        if (is_required) return "";
        continue;
      }
      const std::string quoted =
          Json(key).dump(-1, ' ', false, Json::error_handler_t::replace) + ":";
      properties.push_back(
          {absl::StrCat(GbnfLiteral(quoted), " \" \"? ", expression), is_required});
    }
    std::string other_pair;
    if (others != Json(false)) {
      BANTAM_ASSIGN_OR_RETURN(const std::string expression,
                              Value(others, absl::StrCat(where, "/additionalProperties")));
      std::set<std::string> taken;
      for (const auto& [key, value] : list) taken.insert(key);
      if (!expression.empty()) {
        other_pair =
            absl::StrCat("\"\\\"\" ", OtherKey(taken, name), " \"\\\":\" \" \"? ", expression);
      }
    }
    return Members(properties, other_pair, name);
  }

  // Properties in order, then any number of others. Commas stand between: what follows a first
  // property is in a rule of its own for each that may be the first.
  std::string Members(const std::vector<Property>& properties, const std::string& other,
                      const std::string& name) {
    std::string tail = other.empty() ? "" : absl::StrCat(" (\",\" ws ", other, ")*");
    std::vector<std::string> firsts;  // backwards
    if (!other.empty()) firsts.push_back(absl::StrCat(other, tail));
    bool may_be_empty = true;
    for (size_t i = properties.size(); i-- > 0;) {
      const Property& p = properties[i];
      if (p.required) {
        firsts.clear();
        may_be_empty = false;
      }
      // Where many may be first, what follows would be written out for each: named instead.
      if (tail.size() > 80) {
        const std::string rule = absl::StrCat(name, "-after-", i);
        rules_.emplace_back(rule, tail);
        tail = absl::StrCat(" ", rule);
      }
      firsts.push_back(absl::StrCat(p.pair, tail));
      tail = p.required ? absl::StrCat(" \",\" ws ", p.pair, tail)
                        : absl::StrCat(" (\",\" ws ", p.pair, ")?", tail);
    }
    if (firsts.empty()) return "\"{}\"";
    const std::string inside =
        absl::StrCat("(", absl::StrJoin(firsts.rbegin(), firsts.rend(), " | "), ") ws");
    return absl::StrCat("\"{\" ws ", may_be_empty ? absl::StrCat("(", inside, ")?") : inside,
                        " \"}\"");
  }

  // The inside of a property's name that is none of `taken`.
  std::string OtherKey(const std::set<std::string>& taken, const std::string& name) {
    if (taken.empty()) return "key-char*";
    return NotAnyOf(taken, absl::StrCat(name, "-key"));
  }
  std::string NotAnyOf(const std::set<std::string>& taken, const std::string& name) {
    std::map<char32_t, std::set<std::string>> by_first;
    for (const std::string& text : taken) {
      absl::string_view rest = text;
      if (rest.empty()) continue;
      const auto c = TakeCharacter(rest);
      // Escaped characters cannot be written here, so such a name cannot either.
      if (!c.ok() || *c < 0x20 || *c == '"' || *c == '\\') continue;
      by_first[*c].insert(std::string(rest));
    }
    std::vector<std::string> options;
    std::vector<CharRange> firsts = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    for (const auto& [c, rests] : by_first) {
      std::string literal;
      AppendUtf8(c, literal);
      const std::string rule = absl::StrCat(name, "-", rules_.size());
      rules_.emplace_back(rule, "");
      const size_t index = rules_.size() - 1;
      std::string body = NotAnyOf(rests, name);
      rules_[index].second = std::move(body);
      options.push_back(absl::StrCat(GbnfLiteral(literal), " ", rule));
      firsts.push_back({c, c});
    }
    options.push_back(
        absl::StrCat(JsonCharacter(Complement(NormalizeRanges(firsts))), " key-char*"));
    if (!taken.contains("")) options.push_back("\"\"");
    return absl::StrCat("(", absl::StrJoin(options, " | "), ")");
  }

  const Json& schema_;
  Flattener flattener_;
  std::vector<std::pair<std::string, std::string>> rules_;
  // A rule for an object or array; no name when nothing satisfies it.
  struct Made {
    std::string name;
    bool in_progress = false;
    bool used_early = false;  // while in progress: by what it is made of
  };
  std::map<std::string, Made> made_;  // by type and what is asked of it
  int depth_ = 0;
};

}  // namespace

absl::StatusOr<std::string> JsonSchemaToGbnf(absl::string_view schema) {
  const Json parsed = Json::parse(schema, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) return absl::InvalidArgumentError("the JSON schema is not JSON");
  return Converter(parsed).Convert();
}

}  // namespace bantam::grammar
