// Filters on lists, dicts and other things with items.
#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/base/status.h"
#include "runtime/chat/functions.h"
#include "runtime/chat/interpreter.h"
#include "runtime/chat/operators.h"
#include "runtime/chat/print.h"
#include "runtime/chat/unicode.h"

namespace bantam::chat {
namespace {

using Result = absl::StatusOr<Value>;

bool IsGiven(const Value* value) { return value != nullptr && !value->Is(Kind::kNone); }
bool IsTrue(const Value* value) { return value != nullptr && Truth(*value); }

// "a.b.0" or a number: the path of keys a filter's `attribute` stands for.
absl::StatusOr<std::vector<Value>> AttributePath(const Value& attribute) {
  if (attribute.IsInteger()) return std::vector<Value>{attribute};
  if (!attribute.IsString()) {
    return absl::InvalidArgumentError(
        absl::StrCat("an attribute is a str or an int, not a ", TypeName(attribute)));
  }
  std::vector<Value> path;
  for (const absl::string_view part : absl::StrSplit(attribute.text(), '.')) {
    int64_t index = 0;
    const bool is_index = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
      return c >= '0' && c <= '9';
    }) && absl::SimpleAtoi(part, &index);
    path.push_back(is_index ? Value::Int(index) : Value::Constant(std::string(part)));
  }
  return path;
}

Result Follow(Interpreter& interpreter, Value item, const std::vector<Value>& path,
              const Value* otherwise = nullptr) {
  for (const Value& key : path) {
    BANTAM_ASSIGN_OR_RETURN(item, interpreter.Item(item, key));
    if (item.IsUndefined() && otherwise != nullptr) item = *otherwise;
  }
  return item;
}

// What items are ordered or told apart by.
class KeyOf {
 public:
  // `attribute` may be null. With `several`, it may name more than one, after commas.
  static absl::StatusOr<KeyOf> Create(const Value* attribute, bool case_sensitive, bool several) {
    KeyOf key;
    key.case_sensitive_ = case_sensitive;
    key.several_ = several;
    if (!IsGiven(attribute)) {
      key.paths_.emplace_back();
    } else if (several && attribute->IsString()) {
      for (const absl::string_view part : absl::StrSplit(attribute->text(), ',')) {
        BANTAM_ASSIGN_OR_RETURN(auto path, AttributePath(Value::Constant(std::string(part))));
        key.paths_.push_back(std::move(path));
      }
    } else {
      BANTAM_ASSIGN_OR_RETURN(auto path, AttributePath(*attribute));
      key.paths_.push_back(std::move(path));
    }
    return key;
  }

  Result operator()(Interpreter& interpreter, const Value& item) const {
    std::vector<Value> parts;
    for (const auto& path : paths_) {
      BANTAM_ASSIGN_OR_RETURN(Value part, Follow(interpreter, item, path));
      if (part.IsString() && !case_sensitive_) {
        BANTAM_ASSIGN_OR_RETURN(part, interpreter.String(Lower(part.text())));
      }
      parts.push_back(std::move(part));
    }
    // Several attributes, even when it is one, are compared as a list, in which equal values need
    // no order: undefined ones sort.
    if (!several_) return parts[0];
    return interpreter.heap().List(std::move(parts), Kind::kTuple);
  }

 private:
  std::vector<std::vector<Value>> paths_;
  bool case_sensitive_ = false;
  bool several_ = false;
};

using Keyed = std::pair<Value, Value>;  // key, item

absl::StatusOr<std::vector<Keyed>> WithKeys(Interpreter& interpreter, const Value& input,
                                            const KeyOf& key_of) {
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(interpreter.heap(), input));
  std::vector<Keyed> keyed;
  for (const Value& item : sequence->items) {
    BANTAM_RETURN_IF_ERROR(interpreter.heap().Step());
    BANTAM_ASSIGN_OR_RETURN(Value key, key_of(interpreter, item));
    keyed.emplace_back(std::move(key), item);
  }
  return keyed;
}

// Stable in both directions, as Python's sorted.
absl::Status SortByKey(Heap& heap, bool reverse, std::vector<Keyed>* keyed) {
  absl::Status status;
  std::stable_sort(keyed->begin(), keyed->end(), [&](const Keyed& a, const Keyed& b) {
    if (!status.ok()) return false;
    const auto order = Compare(heap, a.first, b.first);
    status.Update(order.status());
    return order.ok() && (reverse ? *order > 0 : *order < 0);
  });
  return status;
}

Result ListOf(Interpreter& interpreter, const std::vector<Keyed>& keyed, Kind kind = Kind::kList) {
  std::vector<Value> items;
  for (const auto& entry : keyed) items.push_back(entry.second);
  return interpreter.heap().List(std::move(items), kind);
}

Result First(Interpreter& interpreter, const Value& input, const Arguments&) {
  const auto none = [] { return Value::Undefined("No first item, sequence was empty."); };
  if (input.Is(Kind::kIterator)) {
    Sequence* sequence = input.sequence();
    return sequence->next < sequence->items.size() ? sequence->items[sequence->next++] : none();
  }
  if (input.IsString() && !input.text().empty()) {
    return interpreter.String(std::string(CharacterRange(input.text(), 0, 1)));
  }
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(interpreter.heap(), input));
  return sequence->items.empty() ? none() : sequence->items.front();
}

Result Last(Interpreter& interpreter, const Value& input, const Arguments&) {
  if (input.Is(Kind::kIterator)) {
    return absl::InvalidArgumentError("last does not take a generator; make it a list first");
  }
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(interpreter.heap(), input));
  if (sequence->items.empty()) return Value::Undefined("No last item, sequence was empty.");
  return sequence->items.back();
}

Result ListFilter(Interpreter& interpreter, const Value& input, const Arguments&) {
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(interpreter.heap(), input));
  return interpreter.heap().List(sequence->items);
}

Result Reverse(Interpreter& interpreter, const Value& input, const Arguments&) {
  if (input.IsString()) {
    BANTAM_RETURN_IF_ERROR(interpreter.heap().Step(static_cast<int64_t>(input.text().size()) / 8));
    std::string text;
    const auto characters = Characters(input.text());
    for (auto at = characters.rbegin(); at != characters.rend(); ++at) {
      absl::StrAppend(&text, *at);
    }
    return interpreter.String(std::move(text), input.markup());
  }
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(interpreter.heap(), input));
  std::vector<Value> items(sequence->items.rbegin(), sequence->items.rend());
  const bool to_list = input.Is(Kind::kIterator) || input.IsUndefined();
  return interpreter.heap().List(std::move(items), to_list ? Kind::kList : Kind::kIterator);
}

Result Sort(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound,
                          arguments.Bind("sort", {"reverse", "case_sensitive", "attribute"}));
  BANTAM_ASSIGN_OR_RETURN(const KeyOf key_of, KeyOf::Create(bound[2], IsTrue(bound[1]), true));
  BANTAM_ASSIGN_OR_RETURN(auto keyed, WithKeys(interpreter, input, key_of));
  BANTAM_RETURN_IF_ERROR(SortByKey(interpreter.heap(), IsTrue(bound[0]), &keyed));
  return ListOf(interpreter, keyed);
}

absl::StatusOr<std::vector<Value>> Pairs(Interpreter& interpreter, const Dict& dict) {
  std::vector<Value> pairs;
  for (const auto& [key, value] : dict.entries()) {
    BANTAM_ASSIGN_OR_RETURN(Value pair, interpreter.heap().List({key, value}, Kind::kTuple));
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

Result DictSort(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound,
                          arguments.Bind("dictsort", {"case_sensitive", "by", "reverse"}));
  if (input.IsUndefined()) return absl::InvalidArgumentError(input.text());
  if (!input.Is(Kind::kDict)) {
    return absl::InvalidArgumentError(
        absl::StrCat("dictsort takes a dict, not a ", TypeName(input)));
  }
  int64_t by = 0;
  if (bound[1] != nullptr) {
    if (!bound[1]->IsString() || (bound[1]->text() != "key" && bound[1]->text() != "value")) {
      return absl::InvalidArgumentError("dictsort sorts by 'key' or 'value'");
    }
    by = bound[1]->text() == "value" ? 1 : 0;
  }
  const Value attribute = Value::Int(by);
  BANTAM_ASSIGN_OR_RETURN(const KeyOf key_of, KeyOf::Create(&attribute, IsTrue(bound[0]), false));
  BANTAM_ASSIGN_OR_RETURN(auto pairs, Pairs(interpreter, *input.dict()));
  BANTAM_ASSIGN_OR_RETURN(const Value list, interpreter.heap().List(std::move(pairs)));
  BANTAM_ASSIGN_OR_RETURN(auto keyed, WithKeys(interpreter, list, key_of));
  BANTAM_RETURN_IF_ERROR(SortByKey(interpreter.heap(), IsTrue(bound[2]), &keyed));
  return ListOf(interpreter, keyed);
}

Result Items(Interpreter& interpreter, const Value& input, const Arguments&) {
  std::vector<Value> pairs;
  if (input.Is(Kind::kDict)) {
    BANTAM_ASSIGN_OR_RETURN(pairs, Pairs(interpreter, *input.dict()));
  } else if (!input.IsUndefined()) {
    return absl::InvalidArgumentError(absl::StrCat("items takes a dict, not a ", TypeName(input)));
  }
  return interpreter.heap().List(std::move(pairs), Kind::kIterator);
}

Result Unique(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound,
                          arguments.Bind("unique", {"case_sensitive", "attribute"}));
  BANTAM_ASSIGN_OR_RETURN(const KeyOf key_of, KeyOf::Create(bound[1], IsTrue(bound[0]), false));
  BANTAM_ASSIGN_OR_RETURN(auto keyed, WithKeys(interpreter, input, key_of));
  Dict seen;
  std::vector<Value> items;
  for (auto& [key, item] : keyed) {
    BANTAM_ASSIGN_OR_RETURN(const Value* found, seen.Find(interpreter.heap(), key));
    if (found != nullptr) continue;
    BANTAM_RETURN_IF_ERROR(seen.Set(interpreter.heap(), key, Value::None()));
    items.push_back(item);
  }
  return interpreter.heap().List(std::move(items), Kind::kIterator);
}

template <int sign>
Result Extreme(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound,
                          arguments.Bind("min or max", {"case_sensitive", "attribute"}));
  BANTAM_ASSIGN_OR_RETURN(const KeyOf key_of, KeyOf::Create(bound[1], IsTrue(bound[0]), false));
  BANTAM_ASSIGN_OR_RETURN(auto keyed, WithKeys(interpreter, input, key_of));
  if (keyed.empty()) return Value::Undefined("No aggregated item, sequence was empty.");
  size_t best = 0;
  for (size_t i = 1; i < keyed.size(); ++i) {
    BANTAM_ASSIGN_OR_RETURN(const int order,
                            Compare(interpreter.heap(), keyed[i].first, keyed[best].first));
    if (order * sign > 0) best = i;
  }
  return keyed[best].second;
}

Result Sum(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("sum", {"attribute", "start"}));
  std::vector<Value> path;
  if (IsGiven(bound[0])) {
    BANTAM_ASSIGN_OR_RETURN(path, AttributePath(*bound[0]));
  }
  Value total = bound[1] != nullptr ? *bound[1] : Value::Int(0);
  if (total.IsString()) return absl::InvalidArgumentError("sum does not add strings; use join");
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(interpreter.heap(), input));
  for (const Value& item : sequence->items) {
    BANTAM_ASSIGN_OR_RETURN(const Value part, Follow(interpreter, item, path));
    BANTAM_ASSIGN_OR_RETURN(total, Calculate(interpreter.heap(), Operator::kAdd, total, part));
  }
  return total;
}

Result Join(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  Heap& heap = interpreter.heap();
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("join", {"d", "attribute"}));
  BANTAM_ASSIGN_OR_RETURN(const std::string separator,
                          bound[0] != nullptr ? Str(heap, *bound[0]) : std::string());
  std::vector<Value> path;
  if (IsGiven(bound[1])) {
    BANTAM_ASSIGN_OR_RETURN(path, AttributePath(*bound[1]));
  }
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(heap, input));
  std::string text;
  for (size_t i = 0; i < sequence->items.size(); ++i) {
    BANTAM_RETURN_IF_ERROR(heap.Step());
    if (i > 0) text += separator;
    BANTAM_ASSIGN_OR_RETURN(const Value item, Follow(interpreter, sequence->items[i], path));
    BANTAM_ASSIGN_OR_RETURN(const std::string part, Str(heap, item));
    text += part;
    if (static_cast<int64_t>(text.size()) > Limits::kOutputBytes) {
      return absl::ResourceExhaustedError("the result of join is too long");
    }
  }
  return interpreter.String(std::move(text));
}

Result MapFilter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  std::vector<Value> items;
  if (!Truth(input)) return interpreter.heap().List({}, Kind::kIterator);
  std::vector<Value> path;
  const Value* otherwise = nullptr;
  Filter filter = nullptr;
  Arguments rest;
  if (arguments.positional.empty()) {
    BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("map", {"attribute", "default"}, 1));
    BANTAM_ASSIGN_OR_RETURN(path, AttributePath(*bound[0]));
    otherwise = IsGiven(bound[1]) ? bound[1] : nullptr;
  } else {
    const Value& name = arguments.positional.front();
    filter = name.IsString() ? FindFilter(name.text()) : nullptr;
    if (filter == nullptr) {
      BANTAM_ASSIGN_OR_RETURN(const std::string shown, Repr(interpreter.heap(), name));
      return absl::UnimplementedError(absl::StrCat("map: the filter ", shown, " is not supported"));
    }
    rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
    rest.keyword = arguments.keyword;
  }
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(interpreter.heap(), input));
  for (const Value& item : sequence->items) {
    BANTAM_RETURN_IF_ERROR(interpreter.heap().Step());
    BANTAM_ASSIGN_OR_RETURN(Value mapped, filter != nullptr
                                              ? filter(interpreter, item, rest)
                                              : Follow(interpreter, item, path, otherwise));
    items.push_back(std::move(mapped));
  }
  return interpreter.heap().List(std::move(items), Kind::kIterator);
}

// select, reject, selectattr and rejectattr.
template <bool by_attribute, bool wanted>
Result SelectFilter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  std::vector<Value> kept;
  if (!Truth(input)) return interpreter.heap().List({}, Kind::kIterator);
  const auto& given = arguments.positional;
  std::vector<Value> path;
  if (by_attribute) {
    if (given.empty()) return absl::InvalidArgumentError("selectattr takes an attribute");
    BANTAM_ASSIGN_OR_RETURN(path, AttributePath(given[0]));
  }
  constexpr size_t kTestAt = by_attribute ? 1 : 0;
  Test test = nullptr;
  Arguments rest;
  if (given.size() > kTestAt) {
    test = given[kTestAt].IsString() ? FindTest(given[kTestAt].text()) : nullptr;
    if (test == nullptr) {
      BANTAM_ASSIGN_OR_RETURN(const std::string shown, Repr(interpreter.heap(), given[kTestAt]));
      return absl::UnimplementedError(
          absl::StrCat("select: the test ", shown, " is not supported"));
    }
    rest.positional.assign(given.begin() + kTestAt + 1, given.end());
    rest.keyword = arguments.keyword;
  }
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(interpreter.heap(), input));
  for (const Value& item : sequence->items) {
    BANTAM_RETURN_IF_ERROR(interpreter.heap().Step());
    BANTAM_ASSIGN_OR_RETURN(const Value value, Follow(interpreter, item, path));
    bool holds = false;
    if (test == nullptr) {
      holds = Truth(value);
    } else {
      BANTAM_ASSIGN_OR_RETURN(holds, test(interpreter, value, rest));
    }
    if (holds == wanted) kept.push_back(item);
  }
  return interpreter.heap().List(std::move(kept), Kind::kIterator);
}

Result Batch(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("batch", {"linecount", "fill_with"}, 1));
  if (!bound[0]->IsInteger() || bound[0]->integer() < 1 ||
      bound[0]->integer() > Limits::kRangeItems) {
    return absl::InvalidArgumentError("batch takes a number of items from 1 to 100000");
  }
  const auto size = static_cast<size_t>(bound[0]->integer());
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(interpreter.heap(), input));
  std::vector<Value> rows;
  for (size_t at = 0; at < sequence->items.size(); at += size) {
    const size_t end = std::min(at + size, sequence->items.size());
    std::vector<Value> row(sequence->items.begin() + static_cast<int64_t>(at),
                           sequence->items.begin() + static_cast<int64_t>(end));
    if (IsGiven(bound[1])) row.resize(size, *bound[1]);
    BANTAM_ASSIGN_OR_RETURN(Value list, interpreter.heap().List(std::move(row)));
    rows.push_back(std::move(list));
  }
  return interpreter.heap().List(std::move(rows), Kind::kIterator);
}

Result SliceFilter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("slice", {"slices", "fill_with"}, 1));
  if (!bound[0]->IsInteger() || bound[0]->integer() < 1 ||
      bound[0]->integer() > Limits::kRangeItems) {
    return absl::InvalidArgumentError("slice takes a number of slices from 1 to 100000");
  }
  const auto slices = static_cast<size_t>(bound[0]->integer());
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(interpreter.heap(), input));
  const size_t each = sequence->items.size() / slices;
  const size_t longer = sequence->items.size() % slices;
  std::vector<Value> columns;
  auto at = sequence->items.begin();
  for (size_t i = 0; i < slices; ++i) {
    const auto end = at + static_cast<int64_t>(each + (i < longer ? 1 : 0));
    std::vector<Value> column(at, end);
    if (IsGiven(bound[1]) && i >= longer) column.push_back(*bound[1]);
    BANTAM_ASSIGN_OR_RETURN(Value list, interpreter.heap().List(std::move(column)));
    columns.push_back(std::move(list));
    at = end;
  }
  return interpreter.heap().List(std::move(columns), Kind::kIterator);
}

}  // namespace

Filter FindSequenceFilter(absl::string_view name) {
  static const auto* const kFilters = new absl::flat_hash_map<absl::string_view, Filter>{
      {"first", First},
      {"last", Last},
      {"list", ListFilter},
      {"reverse", Reverse},
      {"sort", Sort},
      {"dictsort", DictSort},
      {"items", Items},
      {"unique", Unique},
      {"min", Extreme<-1>},
      {"max", Extreme<1>},
      {"sum", Sum},
      {"join", Join},
      {"map", MapFilter},
      {"select", SelectFilter<false, true>},
      {"reject", SelectFilter<false, false>},
      {"selectattr", SelectFilter<true, true>},
      {"rejectattr", SelectFilter<true, false>},
      {"batch", Batch},
      {"slice", SliceFilter},
  };
  const auto found = kFilters->find(name);
  return found == kFilters->end() ? nullptr : found->second;
}

}  // namespace bantam::chat
