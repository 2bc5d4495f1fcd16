// The methods of strings, lists, dicts and loops.
#include <algorithm>
#include <cmath>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/chat/format.h"
#include "runtime/chat/functions.h"
#include "runtime/chat/interpreter.h"
#include "runtime/chat/print.h"
#include "runtime/chat/unicode.h"

namespace bantam::chat {
namespace {

using Result = absl::StatusOr<Value>;

constexpr int64_t kMaxWidth = 1'000'000;  // of a padded string

bool IsGiven(const Value* value) { return value != nullptr && !value->Is(Kind::kNone); }

absl::StatusOr<std::string> TextArgument(absl::string_view method, const Value& value,
                                         const Value& self) {
  if (value.IsUndefined()) return absl::InvalidArgumentError(value.text());
  if (!value.IsString()) {
    return absl::InvalidArgumentError(
        absl::StrCat(method, " takes a str, not a ", TypeName(value)));
  }
  // MarkupSafe escapes what goes into a string marked safe.
  return self.markup() && !value.markup() ? EscapeHtml(value.text()) : value.text();
}

absl::StatusOr<int64_t> IntegerArgument(absl::string_view method, const Value* value,
                                        int64_t otherwise) {
  if (!IsGiven(value)) return otherwise;
  if (value->IsUndefined()) return absl::InvalidArgumentError(value->text());
  if (value->IsInteger()) return value->integer();
  return absl::InvalidArgumentError(
      absl::StrCat(method, " takes an int, not a ", TypeName(*value)));
}

Result ListOfTexts(Interpreter& interpreter, const std::vector<absl::string_view>& texts,
                   bool markup, Kind kind = Kind::kList) {
  std::vector<Value> items;
  items.reserve(texts.size());
  for (const absl::string_view text : texts) {
    BANTAM_RETURN_IF_ERROR(interpreter.heap().Charge(64));
    BANTAM_ASSIGN_OR_RETURN(Value item, interpreter.String(std::string(text), markup));
    items.push_back(std::move(item));
  }
  return interpreter.heap().List(std::move(items), kind);
}

template <std::string (*Change)(absl::string_view)>
Result Mapped(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_RETURN_IF_ERROR(arguments.Bind("the method", {}).status());
  return interpreter.String(Change(self.text()), self.markup());
}

template <bool left, bool right>
Result Strip(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("str.strip", {"chars"}));
  std::string chars;
  const std::string* set = nullptr;
  if (IsGiven(bound[0])) {
    BANTAM_ASSIGN_OR_RETURN(chars, TextArgument("str.strip", *bound[0], self));
    set = &chars;
    const auto work = static_cast<int64_t>(chars.size() * self.text().size());
    BANTAM_RETURN_IF_ERROR(interpreter.heap().Step(work / Limits::kTextBytesPerStep));
  }
  absl::string_view text = self.text();
  if (left) text = StripLeft(text, set);
  if (right) text = StripRight(text, set);
  return interpreter.String(std::string(text), self.markup());
}

template <bool from_right>
Result SplitMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("str.split", {"sep", "maxsplit"}));
  BANTAM_ASSIGN_OR_RETURN(const int64_t limit, IntegerArgument("str.split", bound[1], -1));
  if (!IsGiven(bound[0])) {
    return ListOfTexts(
        interpreter,
        from_right ? SplitSpacesFromRight(self.text(), limit) : SplitSpaces(self.text(), limit),
        self.markup());
  }
  BANTAM_ASSIGN_OR_RETURN(const std::string separator, TextArgument("str.split", *bound[0], self));
  if (separator.empty()) return absl::InvalidArgumentError("str.split: empty separator");
  BANTAM_RETURN_IF_ERROR(
      interpreter.heap().Step(static_cast<int64_t>(self.text().size() / separator.size()) / 16));
  return ListOfTexts(interpreter,
                     from_right ? SplitFromRight(self.text(), separator, limit)
                                : Split(self.text(), separator, limit),
                     self.markup());
}

Result SplitLinesMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("str.splitlines", {"keepends"}));
  const bool keep = bound[0] != nullptr && Truth(*bound[0]);
  return ListOfTexts(interpreter, SplitLines(self.text(), keep), self.markup());
}

template <bool from_right>
Result Partition(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("str.partition", {"sep"}, 1));
  BANTAM_ASSIGN_OR_RETURN(const std::string separator,
                          TextArgument("str.partition", *bound[0], self));
  if (separator.empty()) return absl::InvalidArgumentError("str.partition: empty separator");
  const absl::string_view text = self.text();
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  std::vector<absl::string_view> parts;
  if (at != absl::string_view::npos) {
    parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  } else if (from_right) {
    parts = {"", "", text};
  } else {
    parts = {text, "", ""};
  }
  return ListOfTexts(interpreter, parts, self.markup(), Kind::kTuple);
}

// The part of `text` between the optional character positions of `start` and `stop`, as a slice
// takes them. False when `start` lies past the end.
absl::StatusOr<bool> Window(absl::string_view method, const Value* start, const Value* stop,
                            absl::string_view* text, int64_t* offset) {
  *offset = 0;
  if (!IsGiven(start) && !IsGiven(stop)) return true;
  const int64_t length = CharacterCount(*text);
  BANTAM_ASSIGN_OR_RETURN(int64_t first, IntegerArgument(method, start, 0));
  BANTAM_ASSIGN_OR_RETURN(int64_t last, IntegerArgument(method, stop, length));
  const bool past_end = first > length;
  if (first < 0) first = std::max<int64_t>(first + length, 0);
  if (last < 0) last = std::max<int64_t>(last + length, 0);
  first = std::min(first, length);
  last = std::clamp(last, first, length);
  *text = CharacterRange(*text, first, last);
  *offset = first;
  return !past_end;
}

template <bool at_start>
Result StartsOrEndsWith(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  constexpr absl::string_view kName = at_start ? "str.startswith" : "str.endswith";
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind(kName, {"prefix", "start", "end"}, 1));
  absl::string_view text = self.text();
  int64_t offset = 0;
  BANTAM_ASSIGN_OR_RETURN(const bool inside, Window(kName, bound[1], bound[2], &text, &offset));
  const std::vector<Value> single = {*bound[0]};
  const auto& wanted = bound[0]->Is(Kind::kTuple) ? bound[0]->sequence()->items : single;
  for (const Value& affix : wanted) {
    BANTAM_RETURN_IF_ERROR(interpreter.heap().Step());
    BANTAM_ASSIGN_OR_RETURN(const std::string part, TextArgument(kName, affix, Value()));
    const bool found = at_start ? absl::StartsWith(text, part) : absl::EndsWith(text, part);
    if (inside && found) return Value::Bool(true);
  }
  return Value::Bool(false);
}

template <bool from_right, bool must_exist>
Result Find(Interpreter&, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("str.find", {"sub", "start", "end"}, 1));
  BANTAM_ASSIGN_OR_RETURN(const std::string part, TextArgument("str.find", *bound[0], Value()));
  absl::string_view text = self.text();
  int64_t offset = 0;
  BANTAM_ASSIGN_OR_RETURN(const bool inside,
                          Window("str.find", bound[1], bound[2], &text, &offset));
  const size_t at = from_right ? text.rfind(part) : text.find(part);
  if (inside && at != absl::string_view::npos) {
    return Value::Int(offset + CharacterCount(text.substr(0, at)));
  }
  if (must_exist) return absl::InvalidArgumentError("str.index: the text is not found");
  return Value::Int(-1);
}

Result CountText(Interpreter&, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound,
                          arguments.Bind("str.count", {"sub", "start", "end"}, 1));
  BANTAM_ASSIGN_OR_RETURN(const std::string part, TextArgument("str.count", *bound[0], Value()));
  absl::string_view text = self.text();
  int64_t offset = 0;
  BANTAM_ASSIGN_OR_RETURN(const bool inside,
                          Window("str.count", bound[1], bound[2], &text, &offset));
  if (!inside) return Value::Int(0);
  if (part.empty()) return Value::Int(CharacterCount(text) + 1);
  int64_t count = 0;
  for (size_t at = text.find(part); at != absl::string_view::npos;
       at = text.find(part, at + part.size())) {
    ++count;
  }
  return Value::Int(count);
}

Result ReplaceMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound,
                          arguments.Bind("str.replace", {"old", "new", "count"}, 2));
  BANTAM_ASSIGN_OR_RETURN(const std::string from, TextArgument("str.replace", *bound[0], self));
  BANTAM_ASSIGN_OR_RETURN(const std::string to, TextArgument("str.replace", *bound[1], self));
  BANTAM_ASSIGN_OR_RETURN(const int64_t limit, IntegerArgument("str.replace", bound[2], -1));
  std::string out;
  if (!Replace(self.text(), from, to, limit, Limits::kOutputBytes, &out)) {
    return absl::ResourceExhaustedError("the result of str.replace is too long");
  }
  return interpreter.String(std::move(out), self.markup());
}

Result JoinMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("str.join", {"iterable"}, 1));
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(interpreter.heap(), *bound[0]));
  std::string out;
  for (size_t i = 0; i < sequence->items.size(); ++i) {
    BANTAM_RETURN_IF_ERROR(interpreter.heap().Step());
    if (i > 0) out += self.text();
    BANTAM_ASSIGN_OR_RETURN(const std::string part,
                            TextArgument("str.join", sequence->items[i], self));
    out += part;
    if (static_cast<int64_t>(out.size()) > Limits::kOutputBytes) {
      return absl::ResourceExhaustedError("the result of str.join is too long");
    }
  }
  return interpreter.String(std::move(out), self.markup());
}

Result FormatMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(std::string text, FormatBraces(interpreter, self, arguments));
  return interpreter.String(std::move(text), self.markup());
}

enum class Side : uint8_t { kLeft, kRight, kBoth };

// ljust, rjust and center: where the text goes is where the padding is not.
template <Side padding>
Result Justify(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("str.center", {"width", "fill"}, 1));
  BANTAM_ASSIGN_OR_RETURN(const int64_t width, IntegerArgument("str.center", bound[0], 0));
  std::string fill = " ";
  if (bound[1] != nullptr) {
    BANTAM_ASSIGN_OR_RETURN(fill, TextArgument("str.center", *bound[1], self));
  }
  if (CharacterCount(fill) != 1) {
    return absl::InvalidArgumentError("the fill of str.center is one character");
  }
  if (width > kMaxWidth) return absl::ResourceExhaustedError("the width of str.center is too big");
  const int64_t missing = width - CharacterCount(self.text());
  if (missing <= 0) return self;
  // CPython puts the odd one of a centred text to the left when the width is odd.
  const int64_t left = padding == Side::kLeft    ? missing
                       : padding == Side::kRight ? 0
                                                 : missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += self.text();
  for (int64_t i = left; i < missing; ++i) out += fill;
  return interpreter.String(std::move(out), self.markup());
}

Result ZeroFill(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("str.zfill", {"width"}, 1));
  BANTAM_ASSIGN_OR_RETURN(const int64_t width, IntegerArgument("str.zfill", bound[0], 0));
  if (width > kMaxWidth) return absl::ResourceExhaustedError("the width of str.zfill is too big");
  const std::string& text = self.text();
  const int64_t missing = width - CharacterCount(text);
  if (missing <= 0) return self;
  const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  return interpreter.String(
      absl::StrCat(text.substr(0, sign), std::string(missing, '0'), text.substr(sign)),
      self.markup());
}

template <bool prefix>
Result RemoveAffix(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("str.removeprefix", {"affix"}, 1));
  BANTAM_ASSIGN_OR_RETURN(const std::string affix,
                          TextArgument("str.removeprefix", *bound[0], self));
  absl::string_view text = self.text();
  if (prefix && absl::StartsWith(text, affix)) text.remove_prefix(affix.size());
  if (!prefix && absl::EndsWith(text, affix)) text.remove_suffix(affix.size());
  return interpreter.String(std::string(text), self.markup());
}

// Not empty and all characters satisfy `Holds`.
template <bool (*Holds)(char32_t)>
Result All(Interpreter&, const Value& self, const Arguments&) {
  const std::string& text = self.text();
  for (size_t pos = 0; pos < text.size();) {
    if (!Holds(NextCharacter(text, &pos))) return Value::Bool(false);
  }
  return Value::Bool(!text.empty());
}

bool IsAlphaOrNumeric(char32_t c) { return IsAlpha(c) || IsNumeric(c); }

template <bool upper>
Result CasedAs(Interpreter& interpreter, const Value& self, const Arguments&) {
  Arguments none;  // a temporary here is too much for GCC 14
  BANTAM_ASSIGN_OR_RETURN(const bool holds,
                          FindTest(upper ? "upper" : "lower")(interpreter, self, none));
  return Value::Bool(holds);
}

Result Append(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("list.append", {"object"}, 1));
  BANTAM_RETURN_IF_ERROR(interpreter.heap().Charge(sizeof(Value)));
  self.sequence()->items.push_back(*bound[0]);
  return Value::None();
}

Result Extend(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("list.extend", {"iterable"}, 1));
  BANTAM_ASSIGN_OR_RETURN(const Sequence* more, Iterate(interpreter.heap(), *bound[0]));
  const std::vector<Value> items = more->items;  // a copy: it may be the list itself
  const auto count = static_cast<int64_t>(items.size());
  BANTAM_RETURN_IF_ERROR(interpreter.heap().Step(count));
  BANTAM_RETURN_IF_ERROR(interpreter.heap().Charge(count * static_cast<int64_t>(sizeof(Value))));
  auto& own = self.sequence()->items;
  own.insert(own.end(), items.begin(), items.end());
  return Value::None();
}

Result Insert(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("list.insert", {"index", "object"}, 2));
  BANTAM_ASSIGN_OR_RETURN(int64_t index, IntegerArgument("list.insert", bound[0], 0));
  auto& items = self.sequence()->items;
  const auto size = static_cast<int64_t>(items.size());
  BANTAM_RETURN_IF_ERROR(interpreter.heap().Charge(sizeof(Value)));
  BANTAM_RETURN_IF_ERROR(interpreter.heap().Step(size / 16));
  if (index < 0) index = index < -size ? 0 : index + size;
  items.insert(items.begin() + std::min(index, size), *bound[1]);
  return Value::None();
}

Result PopItem(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("list.pop", {"index"}));
  BANTAM_ASSIGN_OR_RETURN(int64_t index, IntegerArgument("list.pop", bound[0], -1));
  auto& items = self.sequence()->items;
  const auto size = static_cast<int64_t>(items.size());
  if (index < 0 && index >= -size) index += size;
  if (index < 0 || index >= size) {
    return absl::InvalidArgumentError("list.pop: the index is out of range");
  }
  BANTAM_RETURN_IF_ERROR(interpreter.heap().Step(size / 16));
  Value value = std::move(items[index]);
  items.erase(items.begin() + index);
  return value;
}

Result IndexOf(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("list.index", {"value"}, 1));
  const auto& items = self.sequence()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    BANTAM_ASSIGN_OR_RETURN(const bool equal, Equal(interpreter.heap(), items[i], *bound[0]));
    if (equal) return Value::Int(static_cast<int64_t>(i));
  }
  return absl::InvalidArgumentError("list.index: the value is not in the list");
}

Result CountItems(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("list.count", {"value"}, 1));
  int64_t count = 0;
  for (const Value& item : self.sequence()->items) {
    BANTAM_ASSIGN_OR_RETURN(const bool equal, Equal(interpreter.heap(), item, *bound[0]));
    if (equal) ++count;
  }
  return Value::Int(count);
}

Result CopyList(Interpreter& interpreter, const Value& self, const Arguments&) {
  return interpreter.heap().List(self.sequence()->items);
}

Result Get(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("dict.get", {"key", "default"}, 1));
  BANTAM_ASSIGN_OR_RETURN(const Value* found, self.dict()->Find(interpreter.heap(), *bound[0]));
  if (found != nullptr) return *found;
  return bound[1] != nullptr ? *bound[1] : Value::None();
}

// 0: keys, 1: values, 2: pairs of both.
template <int part>
Result View(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_RETURN_IF_ERROR(arguments.Bind("the method", {}).status());
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict()->entries()) {
    if (part == 2) {
      BANTAM_ASSIGN_OR_RETURN(Value pair, interpreter.heap().List({key, value}, Kind::kTuple));
      items.push_back(std::move(pair));
    } else {
      items.push_back(part == 0 ? key : value);
    }
  }
  constexpr absl::string_view kLabels[] = {"dict_keys", "dict_values", "dict_items"};
  return interpreter.heap().List(std::move(items), Kind::kView, std::string(kLabels[part]));
}

Result PopKey(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Heap& heap = interpreter.heap();
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("dict.pop", {"key", "default"}, 1));
  BANTAM_ASSIGN_OR_RETURN(const Value* found, self.dict()->Find(heap, *bound[0]));
  if (found == nullptr) {
    if (bound[1] != nullptr) return *bound[1];
    BANTAM_ASSIGN_OR_RETURN(const std::string shown, Repr(heap, *bound[0]));
    return absl::InvalidArgumentError(absl::StrCat("dict.pop: there is no key ", shown));
  }
  const Value value = *found;
  BANTAM_RETURN_IF_ERROR(heap.Step(static_cast<int64_t>(self.dict()->entries().size())));
  BANTAM_RETURN_IF_ERROR(self.dict()->Erase(heap, *bound[0]).status());
  return value;
}

Result Update(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const Value more, FindFunction("dict")(interpreter, arguments));
  for (const auto& [key, value] : more.dict()->entries()) {
    BANTAM_RETURN_IF_ERROR(interpreter.heap().Charge(sizeof(Dict::Entry)));
    BANTAM_RETURN_IF_ERROR(self.dict()->Set(interpreter.heap(), key, value));
  }
  return Value::None();
}

Result SetDefault(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Heap& heap = interpreter.heap();
  BANTAM_ASSIGN_OR_RETURN(const auto bound,
                          arguments.Bind("dict.setdefault", {"key", "default"}, 1));
  BANTAM_ASSIGN_OR_RETURN(const Value* found, self.dict()->Find(heap, *bound[0]));
  if (found != nullptr) return *found;
  const Value value = bound[1] != nullptr ? *bound[1] : Value::None();
  BANTAM_RETURN_IF_ERROR(heap.Charge(sizeof(Dict::Entry)));
  BANTAM_RETURN_IF_ERROR(self.dict()->Set(heap, *bound[0], value));
  return value;
}

Result CopyDict(Interpreter& interpreter, const Value& self, const Arguments&) {
  return FindFunction("dict")(interpreter, Arguments{.positional = {self}});
}

Result Cycle(Interpreter&, const Value& self, const Arguments& arguments) {
  const auto& values = arguments.positional;
  if (values.empty()) return absl::InvalidArgumentError("loop.cycle: no items for cycling given");
  return values[static_cast<size_t>(std::max<int64_t>(self.loop()->index, 0)) % values.size()];
}

Result Changed(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Loop& loop = *self.loop();
  bool same = loop.changed_called && loop.changed.size() == arguments.positional.size();
  for (size_t i = 0; same && i < loop.changed.size(); ++i) {
    BANTAM_ASSIGN_OR_RETURN(same,
                            Equal(interpreter.heap(), loop.changed[i], arguments.positional[i]));
  }
  if (!same) loop.changed = arguments.positional;
  loop.changed_called = true;
  return Value::Bool(!same);
}

Result IsWhole(Interpreter&, const Value& self, const Arguments&) {
  return Value::Bool(std::isfinite(self.number()) && std::floor(self.number()) == self.number());
}

// What Python has and a chat template hardly needs. The interpreter puts the name before it.
Result NotSupported(Interpreter&, const Value&, const Arguments&) {
  return absl::UnimplementedError("this method is not supported");
}

using Methods = absl::flat_hash_map<absl::string_view, Method>;

const Methods& TextMethods() {
  static const auto* const kMethods = new Methods{
      {"upper", Mapped<Upper>},
      {"lower", Mapped<Lower>},
      {"casefold", NotSupported},
      {"capitalize", Mapped<Capitalize>},
      {"title", Mapped<TitleWords>},
      {"swapcase", Mapped<SwapCase>},
      {"strip", Strip<true, true>},
      {"lstrip", Strip<true, false>},
      {"rstrip", Strip<false, true>},
      {"split", SplitMethod<false>},
      {"rsplit", SplitMethod<true>},
      {"splitlines", SplitLinesMethod},
      {"partition", Partition<false>},
      {"rpartition", Partition<true>},
      {"startswith", StartsOrEndsWith<true>},
      {"endswith", StartsOrEndsWith<false>},
      {"find", Find<false, false>},
      {"rfind", Find<true, false>},
      {"index", Find<false, true>},
      {"rindex", Find<true, true>},
      {"count", CountText},
      {"replace", ReplaceMethod},
      {"join", JoinMethod},
      {"format", FormatMethod},
      {"format_map", NotSupported},
      {"center", Justify<Side::kBoth>},
      {"ljust", Justify<Side::kRight>},
      {"rjust", Justify<Side::kLeft>},
      {"zfill", ZeroFill},
      {"removeprefix", RemoveAffix<true>},
      {"removesuffix", RemoveAffix<false>},
      {"isspace", All<IsSpace>},
      {"isalpha", All<IsAlpha>},
      {"isalnum", All<IsAlphaOrNumeric>},
      {"isdecimal", All<IsDecimal>},
      {"isdigit", All<IsDecimal>},
      {"isnumeric", All<IsNumeric>},
      {"isupper", CasedAs<true>},
      {"islower", CasedAs<false>},
      {"istitle", NotSupported},
      {"isascii", NotSupported},
      {"isidentifier", NotSupported},
      {"isprintable", NotSupported},
      {"encode", NotSupported},
      {"expandtabs", NotSupported},
      {"translate", NotSupported},
      {"maketrans", NotSupported},
  };
  return *kMethods;
}

const Methods& MethodsOf(Kind kind) {
  static const auto* const kNone = new Methods;
  static const auto* const kList = new Methods{
      {"append", Append},     {"extend", Extend},        {"insert", Insert},
      {"pop", PopItem},       {"index", IndexOf},        {"count", CountItems},
      {"copy", CopyList},     {"remove", NotSupported},  {"clear", NotSupported},
      {"sort", NotSupported}, {"reverse", NotSupported},
  };
  static const auto* const kTuple = new Methods{{"index", IndexOf}, {"count", CountItems}};
  static const auto* const kDict = new Methods{
      {"get", Get},
      {"keys", View<0>},
      {"values", View<1>},
      {"items", View<2>},
      {"pop", PopKey},
      {"update", Update},
      {"copy", CopyDict},
      {"setdefault", SetDefault},
      {"clear", NotSupported},
      {"popitem", NotSupported},
      {"fromkeys", NotSupported},
  };
  static const auto* const kLoop = new Methods{{"cycle", Cycle}, {"changed", Changed}};
  static const auto* const kFloat = new Methods{{"is_integer", IsWhole}};
  switch (kind) {
    case Kind::kString:
      return TextMethods();
    case Kind::kList:
      return *kList;
    case Kind::kTuple:
      return *kTuple;
    case Kind::kDict:
      return *kDict;
    case Kind::kLoop:
      return *kLoop;
    case Kind::kFloat:
      return *kFloat;
    default:
      return *kNone;
  }
}

}  // namespace

Method FindMethod(Kind kind, absl::string_view name) {
  const Methods& methods = MethodsOf(kind);
  const auto found = methods.find(name);
  return found == methods.end() ? nullptr : found->second;
}

}  // namespace bantam::chat
