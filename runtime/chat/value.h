// The values a chat template computes with: Python's, as far as Jinja2 shows them.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace bantam::chat {

enum class Kind : uint8_t {
  kUndefined,  // text(): why, for the message when it is used
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,  // UTF-8; a byte that is not UTF-8 counts as one character
  kList,
  kTuple,
  kRange,     // a Python range, held as its items
  kView,      // dict.keys(), values(), items()
  kIterator,  // what map, select and the like give: it can be walked once
  kDict,
  kNamespace,
  kLoop,
  kCallable,
};

class Heap;
class Value;
struct Callable;  // functions.h
struct Loop;      // interpreter.h

// The bytes of a string. Shared and never changed.
struct Text {
  Text(std::string bytes, int64_t* live) : bytes(std::move(bytes)), live(live) {}
  ~Text() {
    if (live != nullptr) *live -= static_cast<int64_t>(bytes.size());
  }
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;

  const std::string bytes;
  int64_t* const live;  // the heap's count of bytes in use; null for a constant of the template
};

struct Sequence;
class Dict;

// A small handle. Strings are shared by reference count; lists, dicts and the like belong to the
// Heap of the rendering and live until it ends, so that cycles among them cost nothing.
class Value {
 public:
  Value() : kind_(Kind::kUndefined) {}
  static Value None() { return Value(Kind::kNone); }
  static Value Bool(bool b);
  static Value Int(int64_t i);
  static Value Float(double d);
  // A string outside any heap's accounts: constants of the template and short fixed texts.
  static Value Constant(std::string bytes);
  static Value Undefined(std::string why);
  static Value Of(Kind kind, Sequence* sequence);
  static Value Of(Dict* dict, Kind kind = Kind::kDict);
  static Value Of(Loop* loop);
  static Value Of(const Callable* callable);

  Kind kind() const { return kind_; }
  bool Is(Kind kind) const { return kind_ == kind; }
  bool IsString() const { return kind_ == Kind::kString; }
  bool IsUndefined() const { return kind_ == Kind::kUndefined; }
  // bool is a kind of int in Python.
  bool IsInteger() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool IsNumber() const { return IsInteger() || kind_ == Kind::kFloat; }
  // Has a Sequence: list, tuple, range, view, iterator.
  bool HasSequence() const { return kind_ >= Kind::kList && kind_ <= Kind::kIterator; }

  bool boolean() const { return bool_; }
  int64_t integer() const { return kind_ == Kind::kBool ? int64_t{bool_} : int_; }
  double number() const { return kind_ == Kind::kFloat ? float_ : static_cast<double>(integer()); }
  const std::string& text() const;
  Sequence* sequence() const { return sequence_; }
  Dict* dict() const { return dict_; }
  Loop* loop() const { return loop_; }
  const Callable* callable() const { return callable_; }
  const void* identity() const { return text_ != nullptr ? text_.get() : pointer_; }

  // Whether the string was marked safe: `+` then escapes what is joined to it, as MarkupSafe does.
  bool markup() const { return markup_; }
  Value WithMarkup(bool markup) const;

 private:
  friend class Heap;
  explicit Value(Kind kind) : kind_(kind) {}

  Kind kind_;
  bool markup_ = false;
  union {
    bool bool_;
    int64_t int_ = 0;
    double float_;
    Sequence* sequence_;
    Dict* dict_;
    Loop* loop_;
    const Callable* callable_;
    const void* pointer_;
  };
  std::shared_ptr<const Text> text_;
};

struct Sequence {
  std::vector<Value> items;
  size_t next = 0;    // of an iterator: the first item not yet taken
  std::string label;  // of a range, view or iterator: what it prints as, before "(" or whole
};

// An insertion-ordered hash table with Python's equality of keys (1, 1.0 and True are one key).
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  const std::vector<Entry>& entries() const { return entries_; }
  // kInvalidArgument for a key that cannot be hashed. Null when absent.
  absl::StatusOr<const Value*> Find(Heap& heap, const Value& key) const;
  const Value* FindString(absl::string_view key) const;
  absl::Status Set(Heap& heap, Value key, Value value);
  // False when absent.
  absl::StatusOr<bool> Erase(Heap& heap, const Value& key);

 private:
  static constexpr size_t kIndexFrom = 12;  // below it a walk is quicker than hashing
  absl::StatusOr<int64_t> Position(Heap& heap, const Value& key) const;
  absl::Status Reindex(Heap& heap);

  std::vector<Entry> entries_;
  std::unordered_multimap<uint64_t, uint32_t> index_;
};

// What one rendering may use. A template comes from a file of unknown origin.
struct Limits {
  static constexpr int64_t kSteps = 10'000'000;
  static constexpr int64_t kOutputBytes = int64_t{64} << 20;
  static constexpr int64_t kLiveBytes = int64_t{256} << 20;
  static constexpr int64_t kTextBytesPerStep = 64;
  static constexpr int kEvaluationDepth = 1200;    // nested evaluations, calls of macros included
  static constexpr int kValueDepth = 200;          // lists and dicts within one another
  static constexpr int64_t kRangeItems = 100'000;  // Jinja2's sandbox has the same limit
};

// Owns what one rendering creates and counts it. Not thread-safe.
class Heap {
 public:
  // kResourceExhausted past Limits::kSteps.
  absl::Status Step(int64_t count = 1) {
    steps_ += count;
    return steps_ > Limits::kSteps ? TooManySteps() : absl::OkStatus();
  }
  // kResourceExhausted when memory in use or work passes the limits.
  absl::StatusOr<Value> String(std::string bytes, bool markup = false);
  absl::StatusOr<Value> List(std::vector<Value> items, Kind kind = Kind::kList,
                             std::string label = "");
  absl::StatusOr<Dict*> NewDict();
  absl::StatusOr<Value> FromJson(const nlohmann::ordered_json& json, int depth = 0);
  // Charges memory that lives until the rendering ends.
  absl::Status Charge(int64_t bytes);

  // Storage of kinds the heap does not know, until the rendering ends.
  template <typename T>
  absl::StatusOr<T*> New() {
    absl::Status status = Charge(sizeof(T) + 32);
    if (!status.ok()) return status;
    auto object = std::make_shared<T>();
    others_.push_back(object);
    return object.get();
  }

 private:
  static absl::Status TooManySteps();
  static absl::Status TooMuchMemory();

  int64_t steps_ = 0;
  int64_t live_ = 0;  // first, so that it outlives the texts that count themselves out of it
  std::deque<Sequence> sequences_;
  std::deque<Dict> dicts_;
  std::deque<std::shared_ptr<void>> others_;
};

// "str", "int", "NoneType", ...
absl::string_view TypeName(const Value& value);
bool Truth(const Value& value);
// Python's ==. kResourceExhausted when the values are nested too deeply.
absl::StatusOr<bool> Equal(Heap& heap, const Value& a, const Value& b, int depth = 0);
// <0, 0, >0. kInvalidArgument when Python has no order for the two.
absl::StatusOr<int> Compare(Heap& heap, const Value& a, const Value& b, int depth = 0);
// The items a for loop walks: those of a sequence, the keys of a dict, the characters of a string,
// the rest of an iterator (which is then spent), nothing of an undefined value. A list is returned
// itself, not a copy. kInvalidArgument when the value cannot be walked.
absl::StatusOr<const Sequence*> Iterate(Heap& heap, const Value& value);
// len(): kInvalidArgument when there is none.
absl::StatusOr<int64_t> Length(const Value& value);
// Whether `item` is in `container`, as Python's `in`.
absl::StatusOr<bool> Contains(Heap& heap, const Value& container, const Value& item);

}  // namespace bantam::chat
