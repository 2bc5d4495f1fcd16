// Whatever a model makes under a JSON schema is JSON that is valid against it.

#include "runtime/grammar/json_schema.h"

#include <gmock/gmock.h>

#include <cmath>
#include <random>
#include <regex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/engine/engine.h"
#include "runtime/sample/sampler.h"
#include "tests/grammar/support.h"
#include "tests/grammar/validate.h"

namespace bantam::grammar {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

std::shared_ptr<const Grammar> Schema(absl::string_view schema) {
  auto grammar = Grammar::FromJsonSchema(schema);
  EXPECT_TRUE(grammar.ok()) << grammar.status() << "\n" << schema;
  return grammar.ok() ? *std::move(grammar) : nullptr;
}

TEST(JsonSchema, AcceptsAndRefuses) {
  struct Case {
    const char* schema;
    std::vector<std::string> in, out;
  };
  const Case cases[] = {
      {"{}", {"1", "[]", "{\"a\":[1,\"b\"]}", "null", "-1.5e3"}, {"", "01", "[1,]", "{a:1}", "1."}},
      {R"({"type":"boolean"})", {"true", "false"}, {"null", "1"}},
      {R"({"type":["null","integer"]})", {"null", "-7", "0"}, {"1.5", "\"\"", "00"}},
      {R"({"type":"string"})",
       {R"("")", R"("aé😀")", R"("\"\\\n\u0041\ud83d\ude00")"},
       {R"("\x")", "\"\n\"", R"("\ud83d")", R"("\ude00")", "\"\xff\"", "'a'"}},
      {R"({"type":"string","minLength":2,"maxLength":3})",
       {R"("ab")", R"("é😀日")", R"("\u00e9b")"},
       {R"("a")", R"("abcd")"}},
      {R"({"enum":["a",1,null,{"x":[1]}]})",
       {R"("a")", "1", "null", R"({"x":[1]})"},
       {"2", "\"b\""}},
      {R"({"const":"say \"hi\"\n"})", {R"("say \"hi\"\n")"}, {R"("say")"}},
      {R"({"type":"integer","minimum":-5,"maximum":120})",
       {"-5", "-1", "0", "9", "99", "100", "120"},
       {"-6", "121", "999", "1.5", "05", "-0"}},
      {R"({"type":"integer","exclusiveMinimum":0})", {"1", "10", "12345"}, {"0", "-1", "01"}},
      {R"({"type":"integer","exclusiveMaximum":-10})", {"-11", "-100"}, {"-10", "-9", "0", "1"}},
      {R"({"type":"integer","minimum":199,"maximum":2001})",
       {"199", "200", "999", "1000", "2000", "2001"},
       {"198", "2002", "99"}},
      {R"({"type":"integer","minimum":1.5,"maximum":3.5})", {"2", "3"}, {"1", "4"}},
      {R"({"type":"number","minimum":0,"maximum":1})",
       {"0", "0.5", "1", "1.0", "0.000001"},
       {"1.01", "-0.1", "2", "1.000001"}},
      {R"({"type":"number","exclusiveMinimum":0.25,"exclusiveMaximum":12.5})",
       {"0.26", "0.250001", "1", "12.49", "12"},
       {"0.25", "0.2", "12.5", "12.50", "13", "0"}},
      {R"({"type":"number","minimum":-1.5,"exclusiveMaximum":-0.5})",
       {"-1.5", "-1", "-0.51"},
       {"-0.5", "-1.51", "0", "0.7"}},
      {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":2})",
       {"[1]", "[1,2]", "[1, 2]"},
       {"[]", "[1,2,3]", "[\"a\"]"}},
      {R"({"prefixItems":[{"type":"integer"},{"const":"x"}]})",
       {"[1,\"x\"]"},
       {"[1]", "[1,\"x\",2]"}},
      {R"({"prefixItems":[{"type":"integer"}],"items":{"type":"null"},"maxItems":3})",
       {"[1]", "[1,null,null]"},
       {"[1,null,null,null]", "[]"}},
      {R"({"type":"array","items":false})", {"[]"}, {"[1]"}},
      {R"({"properties":{"a":{"type":"integer"},"b":{"type":"null"},"c":true},"required":["b"]})",
       {R"({"b":null})", R"({"a":1,"b":null})", R"({"b":null,"c":[]})",
        "{\n  \"a\": 1,\n  \"b\": null\n}"},
       {"{}", R"({"a":1})", R"({"b":null,"a":1})", R"({"b":null,"d":1})", R"({"b":null,})"}},
      {R"({"properties":{"ab":{"type":"integer"}},"additionalProperties":{"type":"null"}})",
       {"{}", R"({"ab":1})", R"({"a":null,"abc":null})", R"({"ab":1,"":null})"},
       {R"({"ab":null})", R"({"a":1})", R"({"x":null,"ab":null})"}},
      {R"({"type":"object","additionalProperties":false})", {"{}"}, {R"({"a":1})"}},
      {R"({"type":"object"})", {"{}", R"({"a":{"b":[]}})"}, {"[]"}},
      {R"({"required":["x"]})", {R"({"x":1})"}, {"{}"}},
      {R"({"anyOf":[{"type":"null"},{"type":"string","maxLength":1}]})",
       {"null", "\"a\""},
       {"\"ab\""}},
      {R"({"oneOf":[{"properties":{"t":{"const":"a"},"v":{"type":"null"}},"required":["t","v"]},
                    {"properties":{"t":{"const":"b"}},"required":["t"]}]})",
       {R"({"t":"a","v":null})", R"({"t":"b"})"},
       {R"({"t":"a"})", R"({"t":"c"})"}},
      {R"({"allOf":[{"type":"object","properties":{"a":{"type":"number"}},"required":["a"]},
                    {"properties":{"a":{"minimum":3,"type":"integer"},"b":{"type":"null"}}}]})",
       {R"({"a":3})", R"({"a":4,"b":null})"},
       {R"({"a":2})", "{}", R"({"a":3.5})"}},
      {R"({"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":
          {"v":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#/$defs/tree"}}},"required":["v"]}}})",
       {R"({"v":1})", R"({"v":1,"kids":[{"v":2,"kids":[]},{"v":3}]})"},
       {R"({"kids":[]})"}},
      {R"({"type":"string","format":"date"})",
       {R"("2024-02-29")", R"("2000-02-29")", R"("1999-12-31")", R"("2023-04-30")"},
       {R"("2023-02-29")", R"("1900-02-29")", R"("2023-04-31")", R"("2023-13-01")",
        R"("2023-00-10")"}},
      {R"({"type":"string","format":"date-time"})",
       {R"("2024-01-02T03:04:05Z")", R"("2024-01-02T23:59:59.123+05:30")"},
       {R"("2024-01-02 03:04:05Z")", R"("2024-01-02T24:00:00Z")", R"("2024-01-02T03:04:05")"}},
      {R"({"type":"string","format":"uuid"})",
       {R"("123e4567-e89b-12d3-a456-426614174000")"},
       {R"("123e4567")"}},
      {R"({"type":"string","pattern":"^[a-c]{2}(x|\\d+)?$"})",
       {R"("ab")", R"("abx")", R"("cc12")"},
       {R"("a")", R"("abxx")"}},
      {R"({"type":"string","pattern":"b+"})", {R"("b")", R"("aébba")"}, {R"("")", R"("ac")"}},
      {R"({"type":"string","pattern":"^[^a]\"\\\\$"})",
       {R"("b\"\\")", R"("\n\"\\")"},
       {R"("b""\")", R"("a\"\\")"}},
  };
  for (const Case& c : cases) {
    const auto grammar = Schema(c.schema);
    if (grammar == nullptr) continue;
    for (const std::string& text : c.in)
      EXPECT_TRUE(Accepts(grammar, text)) << c.schema << "\n" << text;
    for (const std::string& text : c.out)
      EXPECT_FALSE(Accepts(grammar, text)) << c.schema << "\n" << text;
  }
}

TEST(JsonSchema, RefusesByNameWhatItCannotKeep) {
  const std::pair<const char*, const char*> cases[] = {
      {"{", "not JSON"},
      {"3", "a schema is an object"},
      {"false", "nothing satisfies it"},
      {R"({"type":"strong"})", "'type' cannot be"},
      {R"({"type":"integer","multipleOf":3})", "'multipleOf' is not supported"},
      {R"({"properties":{"a":{"not":{}}}})", "#/properties/a: the keyword 'not'"},
      {R"({"patternProperties":{}})", "patternProperties"},
      {R"({"type":"array","uniqueItems":true})", "uniqueItems"},
      {R"({"type":"array","contains":{}})", "contains"},
      {R"({"if":{}})", "'if'"},
      {R"({"minProperties":1})", "minProperties"},
      {R"({"minlength":1})", "minlength"},
      {R"({"type":"string","format":"email"})", "format 'email'"},
      {R"({"type":"string","pattern":"^a","minLength":3})", "together"},
      {R"({"type":"string","pattern":"(?=a)b"})", "look-around"},
      {R"({"type":"string","pattern":"(a)\\1"})", "\\1"},
      {R"({"type":"string","pattern":"a\\b"})", "\\b"},
      {R"({"type":"string","pattern":"[a"})", "pattern"},
      {R"({"type":"string","minLength":-1})", "'minLength' cannot be"},
      {R"({"enum":["a"],"minLength":2})", "enum or const together"},
      {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "oneOf"},
      {R"({"oneOf":[{"type":"object","properties":{"a":{}}},{"type":"object","properties":{"b":{}}}]})",
       "oneOf"},
      {R"({"$ref":"http://x/y"})", "outside the schema"},
      {R"({"$ref":"#/nowhere"})", "leads nowhere"},
      {R"({"$ref":"#"})", "leads to itself"},
      {R"({"allOf":[{"type":"null"},{"type":"string"}]})", "nothing satisfies"},
      {R"({"properties":{"a":false},"required":["a"]})", "nothing satisfies"},
      {R"({"type":"integer","minimum":3,"maximum":2})", "nothing satisfies"},
      {R"({"type":"array","minItems":3,"maxItems":2})", "nothing satisfies"},
  };
  for (const auto& [schema, reason] : cases) {
    const auto grammar = Grammar::FromJsonSchema(schema);
    EXPECT_FALSE(grammar.ok()) << schema;
    const std::string message(grammar.status().message());
    EXPECT_THAT(message, HasSubstr(reason)) << schema;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

TEST(JsonSchema, RangesAreExact) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 150; ++i) {
    int64_t low = static_cast<int64_t>(random() % 2400) - 1200, high = low + random() % 1300;
    const bool open = random() % 2, half_open = random() % 3 == 0;
    Json schema = {{"type", "integer"}, {open ? "exclusiveMinimum" : "minimum", low}};
    if (!half_open) schema["maximum"] = high;
    const auto grammar = Grammar::FromJsonSchema(schema.dump());
    if (low + open > high && !half_open) {
      EXPECT_FALSE(grammar.ok());
      continue;
    }
    ASSERT_TRUE(grammar.ok()) << grammar.status() << schema;
    for (int64_t n = -1500; n <= 2600; n += n > low - 3 && n < high + 3 ? 1 : 7) {
      const bool in = n >= low + open && (half_open || n <= high);
      ASSERT_EQ(Accepts(*grammar, std::to_string(n)), in) << schema << " " << n;
    }
  }
  for (int i = 0; i < 100; ++i) {
    const double low = (static_cast<int64_t>(random() % 4000) - 2000) / 100.0;
    const double high = low + (random() % 2000) / 100.0;
    const Json schema = {{"type", "number"}, {"minimum", low}, {"exclusiveMaximum", high}};
    const auto grammar = Grammar::FromJsonSchema(schema.dump());
    for (int k = -3000; grammar.ok() && k < 4500; k += 13) {
      const std::string text =
          absl::StrFormat("%s%d.%02d", k < 0 ? "-" : "", std::abs(k) / 100, std::abs(k) % 100);
      const double value = std::strtod(text.c_str(), nullptr);
      if (k == 0) continue;
      ASSERT_EQ(Accepts(*grammar, text), value >= low && value < high) << schema << " " << text;
    }
  }
}

// ---- Random schemas, a random model ----

class RandomSchema {
 public:
  explicit RandomSchema(uint64_t seed) : random_(seed) {}

  Json Root() {
    Json schema = Any(3);
    if (uses_tree_) {
      schema["$defs"] = {
          {"tree",
           {{"type", "object"},
            {"properties",
             {{"v", Scalar()},
              {"kids",
               {{"type", "array"}, {"items", {{"$ref", "#/$defs/tree"}}}, {"maxItems", 2}}}}},
            {"required", {"v"}}}}};
    }
    return schema;
  }

 private:
  uint64_t Below(uint64_t n) { return random_() % n; }

  Json Scalar() {
    switch (Below(14)) {
      case 0:
        return {{"type", "null"}};
      case 1:
        return {{"type", "boolean"}};
      case 2:
        return {{"type", "integer"}};
      case 3:
        return {{"type", "number"}};
      case 4: {
        const auto low = static_cast<int64_t>(Below(4000)) - 2000;
        return {{"type", "integer"},
                {"minimum", low},
                {"maximum", low + static_cast<int64_t>(Below(900))}};
      }
      case 5: {
        const double low = static_cast<double>(Below(400)) / 8 - 20;
        return {{"type", "number"},
                {"exclusiveMinimum", low},
                {"maximum", low + 0.5 + static_cast<double>(Below(99))}};
      }
      case 6:
        return {{"type", "string"}, {"minLength", Below(3)}, {"maxLength", 3 + Below(6)}};
      case 7:
        return {
            {"type", "string"},
            {"format", std::vector<const char*>{"date", "time", "date-time", "uuid"}[Below(4)]}};
      case 8:
        return {{"type", "string"},
                {"pattern",
                 std::vector<const char*>{"^[a-z]{2,5}$", "^\\d{3}-\\d{4}$", "ab+c",
                                          "^(foo|bar)[\\w.-]*$", "^\"[/\\\\]\\t?$"}[Below(5)]}};
      case 9:
        return {{"enum", {"red", "green \"x\"", 3, nullptr, false, {{"k", 1.5}}}}};
      case 10:
        return {{"const", "né\n"}};
      case 11:
        return {{"type", {"null", "string"}}, {"maxLength", 4}};
      default:
        return {{"type", "string"}};
    }
  }

  Json Any(int depth) {
    if (depth == 0) return Scalar();
    switch (Below(9)) {
      case 0:
        return Scalar();
      case 1: {
        Json schema = {{"type", "array"}, {"items", Any(depth - 1)}, {"minItems", Below(2)}};
        if (Below(2)) schema["maxItems"] = 1 + Below(4);
        return schema;
      }
      case 2: {
        Json schema = {{"type", "array"}, {"prefixItems", {Any(depth - 1), Any(depth - 1)}}};
        if (Below(2)) schema["items"] = Scalar();
        if (Below(2)) schema["maxItems"] = 2 + Below(2);
        return schema;
      }
      case 3:
        return {{"anyOf", {Any(depth - 1), Any(depth - 1)}}};
      case 4:
        return {{"oneOf", {{{"type", "integer"}}, {{"type", "string"}}, Object(depth - 1)}}};
      case 5:
        return {{"allOf",
                 {Object(depth - 1),
                  {{"type", "object"}, {"properties", {{"extra", {{"type", "boolean"}}}}}}}}};
      case 6:
        uses_tree_ = true;
        return {{"$ref", "#/$defs/tree"}};
      default:
        return Object(depth);
    }
  }

  Json Object(int depth) {
    const char* const names[] = {"a", "name", "na", "x y", "q\"uote", "é", "items"};
    Json schema = {{"type", "object"}, {"properties", Json::object()}, {"required", Json::array()}};
    for (const char* name : names) {
      if (Below(2)) continue;
      schema["properties"][name] = Any(depth > 0 ? depth - 1 : 0);
      if (Below(2)) schema["required"].push_back(name);
    }
    if (const uint64_t others = Below(4); others < 2) {
      schema["additionalProperties"] = others == 0 ? Json(false) : Scalar();
    }
    return schema;
  }

  std::mt19937_64 random_;
  bool uses_tree_ = false;
};

// Whether the text ends within a string.
bool InString(absl::string_view text) {
  bool in = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && in)
      ++i;
    else if (text[i] == '"')
      in = !in;
  }
  return in;
}

// A text under the grammar as a session of a random model samples it; past `most` tokens the way
// to the end is taken where there is one.
std::string Sampled(engine::Session& session, sample::Sampler& sampler, Matcher& matcher,
                    int most) {
  const tokenizer::Tokenizer& tokenizer = session.model().tokenizer();
  matcher.Reset();
  EXPECT_TRUE(session.Truncate(0).ok());
  int32_t token = 'x';
  std::string text;
  for (int n = 0; n < most + 600; ++n) {
    if (session.position() == session.context()) {
      EXPECT_TRUE(session.Truncate(0).ok());
    }
    EXPECT_TRUE(session.Decode({&token, 1}).ok());
    if (n < most) {
      const auto sampled = sampler.Sample(session.Logits(), matcher.Mask());
      EXPECT_TRUE(sampled.ok()) << sampled.status() << text;
      if (!sampled.ok()) return "";
      token = *sampled;
    } else {
      const auto mask = matcher.Mask();
      // In a string its end, or else "abcabc...", which patterns that want more want.
      const std::string order = InString(text) ? std::string("\"") + "abc"[n % 3] + "0123456789"
                                               : "}]0123456789ntf\"[{:,";
      token = -1;
      if (matcher.MayEnd()) return text;
      for (char c : order) {
        const int32_t id = tokenizer.Encode(std::string(1, c), {.add_special = false})[0];
        if (token < 0 && Allows(mask, id)) token = id;
      }
      for (int32_t id = 0; token < 0; ++id) {
        if (Allows(mask, id)) token = id;
      }
    }
    if (tokenizer.IsEndOfGeneration(token)) return text;
    EXPECT_TRUE(matcher.Accept(token).ok());
    text += tokenizer.TokenBytes(token);
    if (matcher.MustEnd()) return text;
  }
  ADD_FAILURE() << "no end: " << text;
  return "";
}

TEST(JsonSchema, ARandomModelMakesValidJsonUnderRandomSchemas) {
#ifdef __SANITIZE_ADDRESS__
  constexpr int kSchemas = 60, kSeeds = 10;  // what a sanitizer could find, the first ones show
#else
  constexpr int kSchemas = 1000, kSeeds = 10;
#endif
  auto model = engine::Model::Load(TinyVocabulary::Get().folder.File("model.gguf"),
                                   {.device = "cpu", .threads = 1});
  ASSERT_TRUE(model.ok()) << model.status();
  auto session = engine::Session::Create(*model, {.context = 64, .ubatch = 1});
  ASSERT_TRUE(session.ok());
  // Quotation marks likelier, so that strings are not hundreds of tokens.
  const int32_t quote = (*model)->tokenizer().Encode("\"", {.add_special = false})[0];
  sample::Params params = {.temperature = 4, .top_k = 0, .top_p = 1, .min_p = 0};
  params.logit_bias = {{quote, 9}};
  auto sampler = sample::Sampler::Create(params, (*model)->config().vocab_size);
  ASSERT_TRUE(sampler.ok());
  int made = 0, valid = 0;
  size_t bytes = 0;
  for (int s = 0; s < kSchemas; ++s) {
    const Json schema = RandomSchema(s).Root();
    const auto grammar = Schema(schema.dump());
    ASSERT_NE(grammar, nullptr) << schema;
    Matcher matcher = Match(grammar);
    for (int seed = 0; seed < kSeeds; ++seed) {
      const std::string text = Sampled(**session, **sampler, matcher, 25);
      ++made;
      bytes += text.size();
      const Json value = Json::parse(text, nullptr, false);
      const std::string problem =
          value.is_discarded() ? "not JSON" : testing::SchemaProblem(schema, value, schema);
      valid += problem.empty();
      ASSERT_EQ(problem, "") << schema << "\n" << text;
    }
  }
  EXPECT_EQ(made, kSchemas * kSeeds);
  EXPECT_EQ(valid, made);
  EXPECT_GT(bytes, 10u * made);
}

TEST(JsonSchema, MutatedSchemasAreRefusedOrUnderstood) {
  std::mt19937_64 random(9);
  int understood = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string text = RandomSchema(i % 50).Root().dump();
    for (int n = random() % 4; n >= 0; --n) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, random() % 9);
          break;
        default:
          text.insert(at, text.substr(random() % text.size(), random() % 20));
      }
      if (text.empty()) text = "{}";
    }
    const auto grammar = Grammar::FromJsonSchema(text);
    understood += grammar.ok();
    if (!grammar.ok()) {
      ASSERT_EQ(grammar.status().message().find('\n'), absl::string_view::npos);
    }
  }
  EXPECT_GT(understood, 50);
}

}  // namespace
}  // namespace bantam::grammar
