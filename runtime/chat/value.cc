#include "runtime/chat/value.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/chat/unicode.h"

namespace bantam::chat {
namespace {

absl::Status TooDeep() {
  return absl::ResourceExhaustedError(
      absl::StrCat("lists and dicts are nested more than ", Limits::kValueDepth, " deep"));
}

int64_t TextSteps(const Value& value) {
  return static_cast<int64_t>(value.text().size()) / Limits::kTextBytesPerStep;
}

bool EqualNumbers(const Value& a, const Value& b) {
  if (a.IsInteger() && b.IsInteger()) return a.integer() == b.integer();
  return a.number() == b.number();
}

// Numbers that are equal have equal hashes, whatever their kinds.
absl::StatusOr<uint64_t> HashKey(Heap& heap, const Value& key, int depth = 0) {
  if (depth > Limits::kValueDepth) return TooDeep();
  BANTAM_RETURN_IF_ERROR(heap.Step());
  switch (key.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return static_cast<uint64_t>(key.kind());
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return absl::HashOf(key.number());
    case Kind::kString:
      BANTAM_RETURN_IF_ERROR(heap.Step(TextSteps(key)));
      return absl::HashOf(absl::string_view(key.text()));
    case Kind::kTuple: {
      uint64_t hash = 17;
      for (const Value& item : key.sequence()->items) {
        BANTAM_ASSIGN_OR_RETURN(const uint64_t part, HashKey(heap, item, depth + 1));
        hash = absl::HashOf(hash, part);
      }
      return hash;
    }
    case Kind::kList:
    case Kind::kDict:
      return absl::InvalidArgumentError(absl::StrCat("unhashable type: '", TypeName(key), "'"));
    default:
      return absl::HashOf(key.identity());
  }
}

bool SameSequenceKind(const Value& a, const Value& b) {
  return a.kind() == b.kind() && (a.Is(Kind::kList) || a.Is(Kind::kTuple) || a.Is(Kind::kRange));
}

}  // namespace

Value Value::Bool(bool b) {
  Value value(Kind::kBool);
  value.bool_ = b;
  return value;
}

Value Value::Int(int64_t i) {
  Value value(Kind::kInt);
  value.int_ = i;
  return value;
}

Value Value::Float(double d) {
  Value value(Kind::kFloat);
  value.float_ = d;
  return value;
}

Value Value::Constant(std::string bytes) {
  Value value(Kind::kString);
  value.text_ = std::make_shared<const Text>(std::move(bytes), nullptr);
  return value;
}

Value Value::Undefined(std::string why) {
  Value value(Kind::kUndefined);
  value.text_ = std::make_shared<const Text>(std::move(why), nullptr);
  return value;
}

Value Value::Of(Kind kind, Sequence* sequence) {
  Value value(kind);
  value.sequence_ = sequence;
  return value;
}

Value Value::Of(Dict* dict, Kind kind) {
  Value value(kind);
  value.dict_ = dict;
  return value;
}

Value Value::Of(Loop* loop) {
  Value value(Kind::kLoop);
  value.loop_ = loop;
  return value;
}

Value Value::Of(const Callable* callable) {
  Value value(Kind::kCallable);
  value.callable_ = callable;
  return value;
}

const std::string& Value::text() const {
  static const std::string* const kUndefined = new std::string("the value is undefined");
  return text_ != nullptr ? text_->bytes : *kUndefined;
}

Value Value::WithMarkup(bool markup) const {
  Value value = *this;
  value.markup_ = markup;
  return value;
}

absl::StatusOr<int64_t> Dict::Position(Heap& heap, const Value& key) const {
  if (index_.empty() && !key.Is(Kind::kList) && !key.Is(Kind::kDict)) {
    for (size_t i = 0; i < entries_.size(); ++i) {
      BANTAM_ASSIGN_OR_RETURN(const bool equal, Equal(heap, entries_[i].first, key));
      if (equal) return static_cast<int64_t>(i);
    }
    return -1;
  }
  BANTAM_ASSIGN_OR_RETURN(const uint64_t hash, HashKey(heap, key));
  const auto [begin, end] = index_.equal_range(hash);
  for (auto at = begin; at != end; ++at) {
    BANTAM_ASSIGN_OR_RETURN(const bool equal, Equal(heap, entries_[at->second].first, key));
    if (equal) return static_cast<int64_t>(at->second);
  }
  return -1;
}

absl::StatusOr<const Value*> Dict::Find(Heap& heap, const Value& key) const {
  BANTAM_ASSIGN_OR_RETURN(const int64_t position, Position(heap, key));
  return position < 0 ? nullptr : &entries_[position].second;
}

const Value* Dict::FindString(absl::string_view key) const {
  if (index_.empty()) {
    for (const Entry& entry : entries_) {
      if (entry.first.IsString() && entry.first.text() == key) return &entry.second;
    }
    return nullptr;
  }
  const auto [begin, end] = index_.equal_range(absl::HashOf(key));
  for (auto at = begin; at != end; ++at) {
    const Entry& entry = entries_[at->second];
    if (entry.first.IsString() && entry.first.text() == key) return &entry.second;
  }
  return nullptr;
}

absl::Status Dict::Set(Heap& heap, Value key, Value value) {
  BANTAM_ASSIGN_OR_RETURN(const uint64_t hash, HashKey(heap, key));
  BANTAM_ASSIGN_OR_RETURN(const int64_t position, Position(heap, key));
  if (position >= 0) {
    entries_[position].second = std::move(value);
    return absl::OkStatus();
  }
  entries_.emplace_back(std::move(key), std::move(value));
  if (!index_.empty()) {
    index_.emplace(hash, static_cast<uint32_t>(entries_.size() - 1));
  } else if (entries_.size() >= kIndexFrom) {
    return Reindex(heap);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Dict::Erase(Heap& heap, const Value& key) {
  BANTAM_ASSIGN_OR_RETURN(const int64_t position, Position(heap, key));
  if (position < 0) return false;
  entries_.erase(entries_.begin() + position);
  if (!index_.empty()) BANTAM_RETURN_IF_ERROR(Reindex(heap));
  return true;
}

absl::Status Dict::Reindex(Heap& heap) {
  index_.clear();
  for (size_t i = 0; i < entries_.size(); ++i) {
    BANTAM_ASSIGN_OR_RETURN(const uint64_t hash, HashKey(heap, entries_[i].first));
    index_.emplace(hash, static_cast<uint32_t>(i));
  }
  return absl::OkStatus();
}

absl::Status Heap::TooManySteps() {
  return absl::ResourceExhaustedError(
      absl::StrCat("the template takes more than ", Limits::kSteps, " steps"));
}

absl::Status Heap::TooMuchMemory() {
  return absl::ResourceExhaustedError(
      absl::StrCat("the template needs more than ", Limits::kLiveBytes >> 20, " MiB"));
}

absl::Status Heap::Charge(int64_t bytes) {
  live_ += bytes;
  return live_ > Limits::kLiveBytes ? TooMuchMemory() : absl::OkStatus();
}

absl::StatusOr<Value> Heap::String(std::string bytes, bool markup) {
  const auto size = static_cast<int64_t>(bytes.size());
  BANTAM_RETURN_IF_ERROR(Step(size / Limits::kTextBytesPerStep));
  BANTAM_RETURN_IF_ERROR(Charge(size));
  Value value(Kind::kString);
  value.markup_ = markup;
  value.text_ = std::make_shared<const Text>(std::move(bytes), &live_);
  return value;
}

absl::StatusOr<Value> Heap::List(std::vector<Value> items, Kind kind, std::string label) {
  BANTAM_RETURN_IF_ERROR(Step(static_cast<int64_t>(items.size())));
  BANTAM_RETURN_IF_ERROR(
      Charge(static_cast<int64_t>(sizeof(Sequence) + items.size() * sizeof(Value))));
  sequences_.push_back(Sequence{.items = std::move(items), .label = std::move(label)});
  return Value::Of(kind, &sequences_.back());
}

absl::StatusOr<Dict*> Heap::NewDict() {
  BANTAM_RETURN_IF_ERROR(Charge(sizeof(Dict)));
  dicts_.emplace_back();
  return &dicts_.back();
}

absl::StatusOr<Value> Heap::FromJson(const nlohmann::ordered_json& json, int depth) {
  using Type = nlohmann::ordered_json::value_t;
  if (depth > Limits::kValueDepth) return TooDeep();
  BANTAM_RETURN_IF_ERROR(Step());
  switch (json.type()) {
    case Type::null:
      return Value::None();
    case Type::boolean:
      return Value::Bool(json.get<bool>());
    case Type::number_integer:
      return Value::Int(json.get<int64_t>());
    case Type::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return absl::InvalidArgumentError(
            absl::StrCat("the integer ", number, " needs more than 64 bits with its sign"));
      }
      return Value::Int(static_cast<int64_t>(number));
    }
    case Type::number_float:
      return Value::Float(json.get<double>());
    case Type::string:
      return String(json.get_ref<const std::string&>());
    case Type::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& element : json) {
        BANTAM_ASSIGN_OR_RETURN(Value item, FromJson(element, depth + 1));
        items.push_back(std::move(item));
      }
      return List(std::move(items));
    }
    case Type::object: {
      BANTAM_ASSIGN_OR_RETURN(Dict * dict, NewDict());
      for (const auto& [name, element] : json.items()) {
        BANTAM_ASSIGN_OR_RETURN(Value key, String(name));
        BANTAM_ASSIGN_OR_RETURN(Value value, FromJson(element, depth + 1));
        BANTAM_RETURN_IF_ERROR(Charge(sizeof(Dict::Entry)));
        BANTAM_RETURN_IF_ERROR(dict->Set(*this, std::move(key), std::move(value)));
      }
      return Value::Of(dict);
    }
    default:
      return absl::InvalidArgumentError("the JSON holds bytes that are not text");
  }
}

absl::string_view TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return value.markup() ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kRange:
      return "range";
    case Kind::kView:
      return value.sequence()->label;
    case Kind::kIterator:
      return "generator";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kCallable:
      return "function";
  }
  return "?";
}

bool Truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
      return value.boolean();
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.number() != 0;
    case Kind::kString:
      return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kView:
      return !value.sequence()->items.empty();
    case Kind::kDict:
      return !value.dict()->entries().empty();
    default:
      return true;
  }
}

absl::StatusOr<bool> Equal(Heap& heap, const Value& a, const Value& b, int depth) {
  if (depth > Limits::kValueDepth) return TooDeep();
  BANTAM_RETURN_IF_ERROR(heap.Step());
  if (a.IsNumber() && b.IsNumber()) return EqualNumbers(a, b);
  if (a.IsString() && b.IsString()) {
    if (a.text().size() != b.text().size()) return false;
    BANTAM_RETURN_IF_ERROR(heap.Step(TextSteps(a)));
    return a.text() == b.text();
  }
  if (SameSequenceKind(a, b)) {
    const auto& x = a.sequence()->items;
    const auto& y = b.sequence()->items;
    if (&x == &y) return true;
    if (x.size() != y.size()) return false;
    for (size_t i = 0; i < x.size(); ++i) {
      BANTAM_ASSIGN_OR_RETURN(const bool equal, Equal(heap, x[i], y[i], depth + 1));
      if (!equal) return false;
    }
    return true;
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kDict: {
      const auto& entries = a.dict()->entries();
      if (a.dict() == b.dict()) return true;
      if (entries.size() != b.dict()->entries().size()) return false;
      for (const auto& [key, value] : entries) {
        BANTAM_ASSIGN_OR_RETURN(const Value* other, b.dict()->Find(heap, key));
        if (other == nullptr) return false;
        BANTAM_ASSIGN_OR_RETURN(const bool equal, Equal(heap, value, *other, depth + 1));
        if (!equal) return false;
      }
      return true;
    }
    default:
      return a.identity() == b.identity();
  }
}

absl::StatusOr<int> Compare(Heap& heap, const Value& a, const Value& b, int depth) {
  if (depth > Limits::kValueDepth) return TooDeep();
  BANTAM_RETURN_IF_ERROR(heap.Step());
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsInteger() && b.IsInteger()) {
      return a.integer() < b.integer() ? -1 : a.integer() > b.integer() ? 1 : 0;
    }
    return a.number() < b.number() ? -1 : a.number() > b.number() ? 1 : 0;
  }
  if (a.IsString() && b.IsString()) {
    BANTAM_RETURN_IF_ERROR(heap.Step(std::min(TextSteps(a), TextSteps(b))));
    const int order = a.text().compare(b.text());
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  if (SameSequenceKind(a, b) && !a.Is(Kind::kRange)) {
    const auto& x = a.sequence()->items;
    const auto& y = b.sequence()->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      BANTAM_ASSIGN_OR_RETURN(const bool equal, Equal(heap, x[i], y[i], depth + 1));
      if (!equal) return Compare(heap, x[i], y[i], depth + 1);
    }
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  if (a.IsUndefined()) return absl::InvalidArgumentError(a.text());
  if (b.IsUndefined()) return absl::InvalidArgumentError(b.text());
  return absl::InvalidArgumentError(
      absl::StrCat("there is no order between a ", TypeName(a), " and a ", TypeName(b)));
}

absl::StatusOr<const Sequence*> Iterate(Heap& heap, const Value& value) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kView:
      return value.sequence();
    case Kind::kIterator: {
      Sequence* source = value.sequence();
      items.assign(source->items.begin() + static_cast<int64_t>(source->next), source->items.end());
      source->next = source->items.size();
      break;
    }
    case Kind::kDict:
      for (const auto& entry : value.dict()->entries()) items.push_back(entry.first);
      break;
    case Kind::kString: {
      const int64_t count = CharacterCount(value.text());
      BANTAM_RETURN_IF_ERROR(heap.Step(count));
      BANTAM_RETURN_IF_ERROR(heap.Charge(count * static_cast<int64_t>(sizeof(Text) + 16)));
      for (const absl::string_view character : Characters(value.text())) {
        items.push_back(Value::Constant(std::string(character)));
      }
      break;
    }
    case Kind::kUndefined:
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("a ", TypeName(value), " has no items to go through"));
  }
  BANTAM_ASSIGN_OR_RETURN(const Value list, heap.List(std::move(items)));
  return list.sequence();
}

absl::StatusOr<int64_t> Length(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return CharacterCount(value.text());
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kView:
      return static_cast<int64_t>(value.sequence()->items.size());
    case Kind::kDict:
      return static_cast<int64_t>(value.dict()->entries().size());
    default:
      return absl::InvalidArgumentError(absl::StrCat("a ", TypeName(value), " has no length"));
  }
}

absl::StatusOr<bool> Contains(Heap& heap, const Value& container, const Value& item) {
  if (container.IsString()) {
    if (item.IsUndefined()) return absl::InvalidArgumentError(item.text());
    if (!item.IsString()) {
      return absl::InvalidArgumentError(
          absl::StrCat("'in' looks for a str in a str, not for a ", TypeName(item)));
    }
    BANTAM_RETURN_IF_ERROR(
        heap.Step(static_cast<int64_t>(container.text().size()) / Limits::kTextBytesPerStep));
    return container.text().find(item.text()) != std::string::npos;
  }
  if (container.Is(Kind::kDict)) {
    BANTAM_ASSIGN_OR_RETURN(const Value* found, container.dict()->Find(heap, item));
    return found != nullptr;
  }
  BANTAM_ASSIGN_OR_RETURN(const Sequence* sequence, Iterate(heap, container));
  for (const Value& candidate : sequence->items) {
    BANTAM_RETURN_IF_ERROR(heap.Step());
    BANTAM_ASSIGN_OR_RETURN(const bool equal, Equal(heap, candidate, item));
    if (equal) return true;
  }
  return false;
}

}  // namespace bantam::chat
