// Errors, limits and the interface of chat templates.
#include "runtime/chat/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace bantam::chat {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

absl::StatusOr<std::string> Render(absl::string_view source, const Json& variables = Json::object(),
                                   const std::tm* now = nullptr) {
  auto parsed = Template::Parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->Render(variables, now);
}

void ExpectError(absl::string_view source, absl::StatusCode code, const std::string& what,
                 const Json& variables = Json::object()) {
  SCOPED_TRACE(std::string(source.substr(0, 200)));
  const auto text = Render(source, variables);
  ASSERT_FALSE(text.ok()) << *text;
  EXPECT_EQ(text.status().code(), code) << text.status();
  EXPECT_THAT(std::string(text.status().message()), HasSubstr(what));
  EXPECT_EQ(text.status().message().find('\n'), absl::string_view::npos);
}

TEST(TemplateTest, SyntaxErrorsNameTheLine) {
  ExpectError("a\nb {{ x y }}", absl::StatusCode::kInvalidArgument, "line 2: expected '}}'");
  ExpectError("\n\n{% if x %}", absl::StatusCode::kInvalidArgument, "{% endif %}");
  ExpectError("{% nosuchtag %}", absl::StatusCode::kInvalidArgument,
              "line 1: unknown tag {% nosuchtag %}");
  ExpectError("{{ 99999999999999999999 }}", absl::StatusCode::kInvalidArgument, "64 bits");
  ExpectError("{{ '\\ud800' }}", absl::StatusCode::kInvalidArgument, "bad escape \\ud800");
}

TEST(TemplateTest, UnsupportedConstructsAreNamed) {
  ExpectError("x\n{% include 'other' %}", absl::StatusCode::kUnimplemented,
              "line 2: the tag {% include %}");
  ExpectError("{% extends 'x' %}", absl::StatusCode::kUnimplemented, "{% extends %}");
  ExpectError("{{ x | xmlattr }}", absl::StatusCode::kUnimplemented,
              "line 1: the filter 'xmlattr'");
  ExpectError("{{ x is nosuch }}", absl::StatusCode::kUnimplemented, "the test 'nosuch'");
  ExpectError("{{ 'x'.encode() }}", absl::StatusCode::kUnimplemented, "str.encode");
  ExpectError("{{ joiner() }}", absl::StatusCode::kUnimplemented, "joiner");
  ExpectError("{{ strftime_now('%c') }}", absl::StatusCode::kUnimplemented, "%c");
  ExpectError("{{ [1] | map('nosuch') | list }}", absl::StatusCode::kUnimplemented, "nosuch");
}

// A model must stay usable when only a part of its template that is not taken is unknown.
TEST(TemplateTest, UnknownFilterInABranchNotTakenIsNoError) {
  const auto text = Render("{% if tools %}{{ tools | nosuch }}{% endif %}ok");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "ok");
  ExpectError("{% if yes %}\n{{ yes | nosuch }}{% endif %}", absl::StatusCode::kUnimplemented,
              "line 2: the filter 'nosuch'", {{"yes", true}});
}

TEST(TemplateTest, ErrorsWhileRenderingNameTheLine) {
  ExpectError("a\n{% for m in messages %}\n{{ m.role.x }}\n{% endfor %}",
              absl::StatusCode::kInvalidArgument, "line 3: 'dict object' has no attribute 'role'",
              {{"messages", Json::array({Json::object()})}});
  ExpectError("{{ 9223372036854775807 + 1 }}", absl::StatusCode::kInvalidArgument, "64 bits");
  ExpectError("{{ -9223372036854775807 - 2 }}", absl::StatusCode::kInvalidArgument, "64 bits");
  ExpectError("{{ (-9223372036854775807 - 1) // -1 }}", absl::StatusCode::kInvalidArgument,
              "64 bits");
  ExpectError("{{ (-9223372036854775807 - 1) | abs }}", absl::StatusCode::kInvalidArgument,
              "64 bits");
  ExpectError("{{ 3 ** 99 }}", absl::StatusCode::kInvalidArgument, "64 bits");
  ExpectError("{{ 1e300 | int }}", absl::StatusCode::kInvalidArgument, "64 bits");
}

TEST(TemplateTest, RaiseExceptionGivesItsTextAlone) {
  const auto text = Render("{{ raise_exception('Roles must alternate!') }}");
  EXPECT_EQ(text.status(), absl::FailedPreconditionError("Roles must alternate!"));
}

TEST(TemplateTest, WorkIsLimited) {
  constexpr auto kLimit = absl::StatusCode::kResourceExhausted;
  ExpectError("{% for i in range(1000000000000) %}{% endfor %}", kLimit, "range");
  ExpectError("{{ range(-9223372036854775807, 9223372036854775807, 1) }}", kLimit, "range");
  ExpectError("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
              kLimit, "steps");
  ExpectError(
      "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(100) %}"
      "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
      kLimit, "");
  ExpectError(
      "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}"
      "{% set ns.l = ns.l + ns.l %}{% endfor %}",
      kLimit, "");
  ExpectError("{% set l = [1] %}{% for i in l %}{% set _ = l.append(i) %}{% endfor %}", kLimit, "");
  ExpectError("{{ 'x' * 9223372036854775807 }}", kLimit, "");
  ExpectError("{{ [1] * 9223372036854775807 }}", kLimit, "");
  ExpectError("{% for i in range(100000) %}{{ 'x' * 10000 }}{% endfor %}", kLimit, "");
  ExpectError("{{ ('x' * 1000000) | replace('', 'y' * 1000000) }}", kLimit, "");
  ExpectError("{{ (['x'] * 100000) | join('y' * 100000) }}", kLimit, "");
  ExpectError("{{ '%99999999999d' % 1 }}", absl::StatusCode::kInvalidArgument, "width");
  ExpectError("{{ ('a\\n' * 100000) | indent(9999) }}", kLimit, "");
  ExpectError("{{ 'x'.center(9999999999) }}", kLimit, "");
  // A comparison of two structures that share their parts 2^100 ways.
  ExpectError(
      "{% set a = namespace(v=[]) %}{% set b = namespace(v=[]) %}{% for i in range(100) %}"
      "{% set a.v = [a.v, a.v] %}{% set b.v = [b.v, b.v] %}{% endfor %}{{ a.v == b.v }}",
      kLimit, "steps");
  ExpectError(
      "{% set a = namespace(v=[]) %}{% for i in range(100) %}{% set a.v = [a.v, a.v] %}"
      "{% endfor %}{{ a.v | tojson }}",
      kLimit, "");
  ExpectError(
      "{% set a = namespace(v=()) %}{% for i in range(100) %}{% set a.v = (a.v, a.v) %}"
      "{% endfor %}{{ {a.v: 1} }}",
      kLimit, "");
}

TEST(TemplateTest, DepthIsLimited) {
  constexpr auto kLimit = absl::StatusCode::kResourceExhausted;
  ExpectError("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", kLimit, "deep");
  ExpectError("{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}", kLimit, "deep");
  ExpectError("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", kLimit, "deep");
  ExpectError("{% set l = [] %}{% set _ = l.append(l) %}{{ l | tojson }}", kLimit, "deep");
  ExpectError("{% set n = namespace() %}{% set n.me = n %}{{ n }}", kLimit, "deep");
  const auto nested = [](const std::string& open, const std::string& middle,
                         const std::string& close) {
    std::string text;
    for (int i = 0; i < 100000; ++i) text += open;
    text += middle;
    for (int i = 0; i < 100000; ++i) text += close;
    return text;
  };
  constexpr auto kUnsupported = absl::StatusCode::kUnimplemented;
  ExpectError("{{ " + nested("(", "1", ")") + " }}", kUnsupported, "deep");
  ExpectError("{{ " + nested("[", "1", "]") + " }}", kUnsupported, "deep");
  ExpectError("{{ " + nested("-", "1", "") + " }}", kUnsupported, "deep");
  ExpectError("{{ x" + nested("", "", ".y") + " }}", kUnsupported, "deep");
  ExpectError("{{ x" + nested("", "", "|trim") + " }}", kUnsupported, "deep");
  ExpectError("{{ x" + nested("", "", " if y else z") + " }}", kUnsupported, "deep");
  ExpectError("{{ x is eq" + nested(" [", "", "]") + " }}", kUnsupported, "deep");
  ExpectError(nested("{% if x %}", "", "{% endif %}"), kUnsupported, "deep");
  ExpectError("{% for " + nested("(", "x", ")") + " in y %}{% endfor %}", kUnsupported, "deep");
  // Long chains of one operator are no nesting.
  const auto sum = Render("{{ 0" + nested("", "", " + 1") + " }}");
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(*sum, "100000");
  const auto nots = Render("{{ " + nested("not ", "1", "") + " }}");
  ASSERT_TRUE(nots.ok()) << nots.status();
  EXPECT_EQ(*nots, "True");
}

TEST(TemplateTest, VariablesAreChecked) {
  ExpectError("x", absl::StatusCode::kInvalidArgument, "not a JSON object", Json::array());
  ExpectError("{{ n }}", absl::StatusCode::kInvalidArgument, "variable 'n'",
              {{"n", 18446744073709551615u}});
  Json deep;
  for (int i = 0; i < 1000; ++i) {
    Json outer = Json::array();
    outer.push_back(std::move(deep));
    deep = std::move(outer);
  }
  ExpectError("{{ deep }}", absl::StatusCode::kResourceExhausted, "deep", {{"deep", deep}});
}

// Lists and dicts of a template may change (some models' templates do so, though Hugging Face's
// sandbox forbids it).
TEST(TemplateTest, ListsAndDictsCanBeChanged) {
  const auto text = Render(
      "{% set l = [1] %}{% set _ = l.append(2) %}{% set _ = l.extend([3, 4]) %}"
      "{% set _ = l.insert(0, 0) %}{{ l }}{{ l.pop() }}{{ l.pop(0) }}{{ l }}"
      "{% set d = {'a': 1} %}{% set _ = d.update({'b': 2}, c=3) %}{{ d.pop('a') }}"
      "{{ d.setdefault('z', 9) }}{{ d }}{% set _ = l.extend(l) %}{{ l }}");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "[0, 1, 2, 3, 4]40[1, 2, 3]19{'b': 2, 'c': 3, 'z': 9}[1, 2, 3, 1, 2, 3]");
}

TEST(TemplateTest, FromJson) {
  const auto text = Render("{% set x = '{\"a\": [1, null]}' | from_json %}{{ x.a }}");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "[1, None]");
  ExpectError("{{ '{' | from_json }}", absl::StatusCode::kInvalidArgument, "not JSON");
}

// Users paste anything: bytes that are not UTF-8 pass through and count as one character each.
TEST(TemplateTest, InvalidUtf8PassesThrough) {
  const Json variables = {{"s", "a\xff\xc3z"}};
  const auto text =
      Render("{{ s }}|{{ s | length }}|{{ s[1:] }}|{{ s | upper }}|{{ s | tojson }}", variables);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "a\xff\xc3z|4|\xff\xc3z|A\xff\xc3Z|\"a\xff\xc3z\"");
}

TEST(TemplateTest, LongDictsAreIndexed) {
  const auto text = Render(
      "{% set d = {} %}{% for i in range(1000) %}{% set _ = d.update([[i, i * i], ['k' ~ i, i]]) %}"
      "{% endfor %}{{ d[7] }} {{ d.k999 }} {{ d[500.0] }} {{ d | length }} {{ d.pop(3) }} "
      "{{ d[3] is defined }} {{ d['k500'] }}");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "49 999 250000 2000 9 False 500");
}

TEST(TemplateTest, ChatVariables) {
  const auto variables =
      ChatVariables({{"system", "be kind"}, {"user", "hi"}}, true, "<s>", "</s>");
  EXPECT_EQ(variables.dump(),
            R"({"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"hi"}],)"
            R"("add_generation_prompt":true,"bos_token":"<s>","eos_token":"</s>"})");
}

TEST(TemplateTest, TheClockCanBeSet) {
  std::tm now{};
  now.tm_year = 124;
  now.tm_mon = 6;
  now.tm_mday = 26;
  const auto text = Render("{{ strftime_now('%-d %b %Y') }}", Json::object(), &now);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "26 Jul 2024");
  const auto clock = Render("{{ strftime_now('%Y') | int > 2024 }}");
  ASSERT_TRUE(clock.ok()) << clock.status();
  EXPECT_EQ(*clock, "True");
}

TEST(TemplateTest, ManyThreadsMayRenderOneTemplate) {
  const auto parsed = Template::Parse(
      "{% for m in messages %}{% set t = 'x' ~ m.content %}{{ t | upper }};{% endfor %}");
  ASSERT_TRUE(parsed.ok());
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int repeat = 0; repeat < 200; ++repeat) {
        const auto text =
            parsed->Render(ChatVariables({{"user", "a"}, {"user", "b"}}, true, "", ""));
        results[i] = text.ok() ? *text : text.status().ToString();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(results, testing::Each("XA;XB;"));
}

}  // namespace
}  // namespace bantam::chat
