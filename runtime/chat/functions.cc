#include "runtime/chat/functions.h"

#include <algorithm>
#include <ctime>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/base/status.h"
#include "runtime/chat/interpreter.h"
#include "runtime/chat/print.h"

namespace bantam::chat {
namespace {

absl::StatusOr<Value> Range(Interpreter& interpreter, const Arguments& arguments) {
  int64_t parts[3] = {0, 0, 1};
  const auto& given = arguments.positional;
  if (given.empty() || given.size() > 3 || !arguments.keyword.empty()) {
    return absl::InvalidArgumentError("range takes 1 to 3 integers");
  }
  for (size_t i = 0; i < given.size(); ++i) {
    if (given[i].IsUndefined()) return absl::InvalidArgumentError(given[i].text());
    if (!given[i].IsInteger()) {
      return absl::InvalidArgumentError(
          absl::StrCat("range takes integers, not a ", TypeName(given[i])));
    }
    parts[given.size() == 1 ? 1 : i] = given[i].integer();
  }
  const auto [start, stop, step] = parts;
  if (step == 0) return absl::InvalidArgumentError("the step of a range is zero");
  // The distance may need 65 bits, so that it is taken without a sign.
  const bool empty = step > 0 ? start >= stop : start <= stop;
  const uint64_t distance = step > 0 ? static_cast<uint64_t>(stop) - static_cast<uint64_t>(start)
                                     : static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : 0 - static_cast<uint64_t>(step);
  const uint64_t count = empty ? 0 : (distance - 1) / stride + 1;
  if (count > static_cast<uint64_t>(Limits::kRangeItems)) {
    return absl::ResourceExhaustedError(absl::StrCat("a range of ", count, " numbers; at most ",
                                                     Limits::kRangeItems, " are allowed"));
  }
  std::vector<Value> items;
  items.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    items.push_back(Value::Int(
        static_cast<int64_t>(static_cast<uint64_t>(start) + i * static_cast<uint64_t>(step))));
  }
  std::string label = absl::StrCat("range(", start, ", ", stop);
  if (step != 1) absl::StrAppend(&label, ", ", step);
  return interpreter.heap().List(std::move(items), Kind::kRange, absl::StrCat(label, ")"));
}

// What dict() and namespace() are given: a mapping or pairs, then keywords.
absl::StatusOr<Dict*> FillDict(Interpreter& interpreter, const Arguments& arguments) {
  Heap& heap = interpreter.heap();
  BANTAM_ASSIGN_OR_RETURN(Dict * dict, heap.NewDict());
  const auto put = [&](const Value& key, const Value& value) -> absl::Status {
    BANTAM_RETURN_IF_ERROR(heap.Charge(sizeof(Dict::Entry)));
    return dict->Set(heap, key, value);
  };
  if (arguments.positional.size() > 1) return absl::InvalidArgumentError("dict takes one mapping");
  for (const Value& source : arguments.positional) {
    if (source.Is(Kind::kDict)) {
      for (const auto& [key, value] : source.dict()->entries()) {
        BANTAM_RETURN_IF_ERROR(put(key, value));
      }
      continue;
    }
    BANTAM_ASSIGN_OR_RETURN(const Sequence* pairs, Iterate(heap, source));
    for (const Value& pair : pairs->items) {
      BANTAM_ASSIGN_OR_RETURN(const Sequence* parts, Iterate(heap, pair));
      if (parts->items.size() != 2) {
        return absl::InvalidArgumentError("dict takes a mapping or pairs of key and value");
      }
      BANTAM_RETURN_IF_ERROR(put(parts->items[0], parts->items[1]));
    }
  }
  for (const auto& [name, value] : arguments.keyword) {
    BANTAM_ASSIGN_OR_RETURN(const Value key, interpreter.String(name));
    BANTAM_RETURN_IF_ERROR(put(key, value));
  }
  return dict;
}

absl::StatusOr<Value> MakeDict(Interpreter& interpreter, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(Dict * dict, FillDict(interpreter, arguments));
  return Value::Of(dict);
}

absl::StatusOr<Value> MakeNamespace(Interpreter& interpreter, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(Dict * dict, FillDict(interpreter, arguments));
  return Value::Of(dict, Kind::kNamespace);
}

absl::StatusOr<Value> RaiseException(Interpreter& interpreter, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("raise_exception", {"message"}, 1));
  BANTAM_ASSIGN_OR_RETURN(std::string message, Str(interpreter.heap(), *bound[0]));
  return interpreter.Raise(std::move(message));
}

// The fields of strftime in English, whatever the locale; those that templates use.
absl::StatusOr<std::string> FormatTime(absl::string_view format, const std::tm& now) {
  constexpr absl::string_view kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                         "Thursday", "Friday", "Saturday"};
  constexpr absl::string_view kMonths[] = {"January",   "February", "March",    "April",
                                           "May",       "June",     "July",     "August",
                                           "September", "October",  "November", "December"};
  const absl::string_view day = kDays[std::clamp(now.tm_wday, 0, 6)];
  const absl::string_view month = kMonths[std::clamp(now.tm_mon, 0, 11)];
  const int hour12 = now.tm_hour % 12 == 0 ? 12 : now.tm_hour % 12;
  std::string out;
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%' || at + 1 == format.size()) {
      out += format[at];
      continue;
    }
    ++at;
    const bool bare = format[at] == '-' && at + 1 < format.size();  // %-d: without the zero
    if (bare) ++at;
    const auto number = [&](int value, int width) {
      out += bare ? absl::StrCat(value) : absl::StrFormat("%0*d", width, value);
    };
    switch (format[at]) {
      case 'a':
        absl::StrAppend(&out, day.substr(0, 3));
        break;
      case 'A':
        absl::StrAppend(&out, day);
        break;
      case 'b':
      case 'h':
        absl::StrAppend(&out, month.substr(0, 3));
        break;
      case 'B':
        absl::StrAppend(&out, month);
        break;
      case 'd':
        number(now.tm_mday, 2);
        break;
      case 'e':
        out += absl::StrFormat("%2d", now.tm_mday);
        break;
      case 'm':
        number(now.tm_mon + 1, 2);
        break;
      case 'Y':
        number(now.tm_year + 1900, 1);
        break;
      case 'y':
        number(now.tm_year % 100, 2);
        break;
      case 'j':
        number(now.tm_yday + 1, 3);
        break;
      case 'H':
        number(now.tm_hour, 2);
        break;
      case 'I':
        number(hour12, 2);
        break;
      case 'M':
        number(now.tm_min, 2);
        break;
      case 'S':
        number(now.tm_sec, 2);
        break;
      case 'p':
        out += now.tm_hour < 12 ? "AM" : "PM";
        break;
      case 'F':
        out += absl::StrFormat("%d-%02d-%02d", now.tm_year + 1900, now.tm_mon + 1, now.tm_mday);
        break;
      case 'T':
        out += absl::StrFormat("%02d:%02d:%02d", now.tm_hour, now.tm_min, now.tm_sec);
        break;
      case '%':
        out += '%';
        break;
      default:
        return absl::UnimplementedError(
            absl::StrCat("the field %", format.substr(at, 1), " of strftime_now is not supported"));
    }
  }
  return out;
}

absl::StatusOr<Value> StrftimeNow(Interpreter& interpreter, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("strftime_now", {"format"}, 1));
  if (!bound[0]->IsString()) return absl::InvalidArgumentError("strftime_now takes a str");
  std::tm now{};
  if (interpreter.now() != nullptr) {
    now = *interpreter.now();
  } else {
    const std::time_t seconds = std::time(nullptr);
    localtime_r(&seconds, &now);
  }
  BANTAM_ASSIGN_OR_RETURN(std::string text, FormatTime(bound[0]->text(), now));
  return interpreter.String(std::move(text));
}

absl::StatusOr<Value> NotSupported(Interpreter&, const Arguments&) {
  return absl::UnimplementedError("the functions joiner, cycler and lipsum are not supported");
}

}  // namespace

absl::StatusOr<std::vector<const Value*>> Arguments::Bind(
    absl::string_view function, std::initializer_list<absl::string_view> names,
    size_t required) const {
  std::vector<const Value*> bound(names.size(), nullptr);
  if (positional.size() > names.size()) {
    return absl::InvalidArgumentError(absl::StrCat(function, " takes at most ", names.size(),
                                                   " arguments, given ", positional.size()));
  }
  for (size_t i = 0; i < positional.size(); ++i) bound[i] = &positional[i];
  for (const auto& [name, value] : keyword) {
    const auto at =
        static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (at == names.size()) {
      return absl::InvalidArgumentError(absl::StrCat(function, " has no argument '", name, "'"));
    }
    if (bound[at] != nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(function, " is given the argument '", name, "' twice"));
    }
    bound[at] = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (bound[i] == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(function, " misses the argument '", *(names.begin() + i), "'"));
    }
  }
  return bound;
}

Function FindFunction(absl::string_view name) {
  static const auto* const kFunctions = new absl::flat_hash_map<absl::string_view, Function>{
      {"range", Range},
      {"dict", MakeDict},
      {"namespace", MakeNamespace},
      {"raise_exception", RaiseException},
      {"strftime_now", StrftimeNow},
      {"joiner", NotSupported},
      {"cycler", NotSupported},
      {"lipsum", NotSupported},
  };
  const auto found = kFunctions->find(name);
  return found == kFunctions->end() ? nullptr : found->second;
}

Filter FindFilter(absl::string_view name) {
  const Filter filter = FindTextFilter(name);
  return filter != nullptr ? filter : FindSequenceFilter(name);
}

}  // namespace bantam::chat
