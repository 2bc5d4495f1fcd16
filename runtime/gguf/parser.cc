#include "runtime/gguf/parser.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/base/align.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/gguf/foreign.h"
#include "runtime/gguf/layout.h"

namespace bantam::gguf {
namespace {

// Why a file may hold a tensor type this library has no decoder for.
std::string ExplainUnknownType(uint32_t id) {
  switch (id) {
    case 4:
    case 5:
      return "Q4_2 and Q4_3 were withdrawn before GGUF existed; convert the model again";
    case 31:
    case 32:
    case 33:
      return "a repacked Q4_0, withdrawn from GGUF in 2024; download the plain Q4_0 file";
    case 36:
    case 37:
    case 38:
      return "a repacked IQ4_NL, withdrawn from GGUF in 2024; download the plain IQ4_NL file";
    case 41:
    case 42:
      return "Q1_0 and Q2_0 came after this version of Bantam; a newer version may read them";
    default:
      break;
  }
  if (id < quant::kTypeIdLimit + 32) {
    return absl::StrCat("this version of Bantam knows the types 0 to ", quant::kTypeIdLimit - 1,
                        "; a newer version may read it");
  }
  if (id >= 97 && id < 400) {
    return "ids from 97 up are formats of ik_llama.cpp's own, which Bantam does not read";
  }
  return "no version of Bantam reads it; the file is damaged or from another program";
}

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, int part) : bytes_(bytes), part_number_(part) {}

  absl::StatusOr<Part> Parse() {
    BANTAM_RETURN_IF_ERROR(ParseHeader());
    BANTAM_RETURN_IF_ERROR(ParseMetadata());
    BANTAM_RETURN_IF_ERROR(ParseTensors());
    BANTAM_RETURN_IF_ERROR(PlaceTensors());
    return std::move(part_);
  }

 private:
  size_t left() const { return bytes_.size() - at_; }

  // What is being read, for messages: "tensor 'output.weight'".
  std::string Where() const {
    return name_.empty() ? absl::StrCat(what_, " ", index_)
                         : absl::StrCat(what_, " '", Printable(name_), "'");
  }

  absl::Status Error(absl::string_view message) const {
    return absl::InvalidArgumentError(absl::StrCat(Where(), " ", message));
  }

  absl::Status Truncated(uint64_t needed, absl::string_view field) const {
    return absl::DataLossError(absl::StrFormat(
        "the file is truncated or damaged: %s of %s takes %d bytes from byte %d on, but the file "
        "ends at byte %d (%d bytes are missing)",
        field, Where(), needed, at_, bytes_.size(), needed - left()));
  }

  template <typename T>
  absl::StatusOr<T> Read(absl::string_view field) {
    if (left() < sizeof(T)) return Truncated(sizeof(T), field);
    const T value = LoadAs<T>(bytes_.data() + at_);
    at_ += sizeof(T);
    return value;
  }

  absl::StatusOr<absl::string_view> ReadString(absl::string_view field) {
    BANTAM_ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>(field));
    if (length > left()) return Truncated(length, field);
    const absl::string_view text(reinterpret_cast<const char*>(bytes_.data() + at_), length);
    at_ += length;
    return text;
  }

  absl::StatusOr<MetaType> ReadType(absl::string_view field) {
    BANTAM_ASSIGN_OR_RETURN(const uint32_t id, Read<uint32_t>(field));
    if (!IsValidMetaType(id)) {
      return Error(absl::StrCat("has value type ", id, "; expected 0 to 12"));
    }
    return static_cast<MetaType>(id);
  }

  absl::Status CheckBools(std::span<const std::byte> values) const {
    for (std::byte b : values) {
      if (b > std::byte{1}) {
        return Error(
            absl::StrCat("holds a bool with the value ", static_cast<int>(b), "; expected 0 or 1"));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<MetaValue> ReadValue(MetaType type, int depth) {
    if (type == MetaType::kString) return ReadString("the value");
    if (type == MetaType::kArray) return ReadArray(depth + 1);
    const size_t size = FixedBytes(type);
    if (left() < size) return Truncated(size, "the value");
    const std::span<const std::byte> raw = bytes_.subspan(at_, size);
    if (type == MetaType::kBool) BANTAM_RETURN_IF_ERROR(CheckBools(raw));
    at_ += size;
    return LoadFixed(type, raw.data());
  }

  absl::StatusOr<MetaValue> ReadArray(int depth) {
    if (depth > kMaxArrayDepth) {
      return Error(absl::StrCat("nests arrays more than ", kMaxArrayDepth, " deep"));
    }
    auto array = std::make_shared<MetaArray>();
    BANTAM_ASSIGN_OR_RETURN(array->element, ReadType("the element type"));
    BANTAM_ASSIGN_OR_RETURN(array->count, Read<uint64_t>("the array length"));
    const size_t fixed = FixedBytes(array->element);
    const uint64_t each = fixed != 0                            ? fixed
                          : array->element == MetaType::kString ? kMinStringBytes
                                                                : kMinArrayBytes;
    if (array->count > left() / each) {
      return absl::DataLossError(absl::StrFormat(
          "the file is truncated or damaged: %s claims an array of %d elements at byte %d, for "
          "which the %d bytes left are too few",
          Where(), array->count, at_, left()));
    }
    // The lists grow as elements are read: a false count allocates nothing.
    if (fixed != 0) {
      array->raw = bytes_.subspan(at_, array->count * fixed);
      if (array->element == MetaType::kBool) BANTAM_RETURN_IF_ERROR(CheckBools(array->raw));
      at_ += array->raw.size();
    } else if (array->element == MetaType::kString) {
      for (uint64_t i = 0; i < array->count; ++i) {
        BANTAM_ASSIGN_OR_RETURN(const absl::string_view text, ReadString("an array element"));
        array->strings.push_back(text);
      }
    } else {
      for (uint64_t i = 0; i < array->count; ++i) {
        BANTAM_ASSIGN_OR_RETURN(MetaValue nested, ReadArray(depth + 1));
        array->arrays.push_back(std::move(nested));
      }
    }
    return MetaValue(std::shared_ptr<const MetaArray>(std::move(array)));
  }

  absl::Status ParseHeader() {
    const absl::string_view start(reinterpret_cast<const char*>(bytes_.data()),
                                  std::min(bytes_.size(), kMagic.size()));
    // A file cut within the magic is a GGUF file all the same.
    if (start.empty() || start != kMagic.substr(0, start.size())) return ExplainForeign(bytes_);
    what_ = "header of format version";
    if (bytes_.size() < kHeaderBytes) {
      return absl::DataLossError(absl::StrFormat(
          "the file is truncated: its header takes %d bytes, but the file has %d (at least %d "
          "bytes are missing)",
          kHeaderBytes, bytes_.size(), kHeaderBytes - bytes_.size()));
    }
    at_ = kMagic.size();
    BANTAM_ASSIGN_OR_RETURN(part_.version, Read<uint32_t>("version"));
    BANTAM_RETURN_IF_ERROR(CheckVersion(part_.version));
    BANTAM_ASSIGN_OR_RETURN(tensor_count_, Read<uint64_t>("tensor count"));
    BANTAM_ASSIGN_OR_RETURN(key_count_, Read<uint64_t>("metadata count"));
    if (key_count_ > left() / kMinKeyValueBytes) return FalseCount(key_count_, "metadata entries");
    if (tensor_count_ > left() / kMinTensorBytes) return FalseCount(tensor_count_, "tensors");
    return absl::OkStatus();
  }

  static absl::Status CheckVersion(uint32_t version) {
    if (version == 2 || version == 3) return absl::OkStatus();
    if (version == 1) {
      return absl::InvalidArgumentError(
          "is GGUF version 1, which was replaced within days in August 2023; download the model "
          "again or convert the original again");
    }
    if (version == 0) {
      return absl::InvalidArgumentError("is damaged: its GGUF version is 0; expected 2 or 3");
    }
    if ((version & 0xFFFF) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("is a big-endian GGUF file (its version reads as ", version,
                       "); Bantam reads little-endian files: download one or convert this one with "
                       "gguf-convert-endian from the Python package gguf"));
    }
    return absl::UnimplementedError(absl::StrCat("is GGUF version ", version,
                                                 "; this version of Bantam reads 2 and 3, a newer "
                                                 "one may read it"));
  }

  absl::Status FalseCount(uint64_t count, absl::string_view what) const {
    return absl::DataLossError(absl::StrFormat(
        "the file is truncated or damaged: its header claims %d %s, for which the %d bytes after "
        "it are too few",
        count, what, left()));
  }

  absl::Status ParseMetadata() {
    for (uint64_t i = 0; i < key_count_; ++i) {
      what_ = "metadata entry", name_ = {}, index_ = i;
      BANTAM_ASSIGN_OR_RETURN(const absl::string_view key, ReadString("the key"));
      BANTAM_RETURN_IF_ERROR(Annotate(CheckName(key, "the key"), Where()));
      what_ = "key", name_ = key;
      if (!part_.key_index.try_emplace(key, part_.metadata.size()).second) {
        return Error("occurs twice");
      }
      BANTAM_ASSIGN_OR_RETURN(const MetaType type, ReadType("the value type"));
      BANTAM_ASSIGN_OR_RETURN(MetaValue value, ReadValue(type, 0));
      part_.metadata.push_back({key, std::move(value)});
    }
    BANTAM_ASSIGN_OR_RETURN(part_.alignment, AlignmentFrom(part_.Find(kAlignmentKey)));
    return absl::OkStatus();
  }

  absl::Status ParseTensors() {
    absl::flat_hash_set<absl::string_view> names;
    for (uint64_t i = 0; i < tensor_count_; ++i) {
      what_ = "tensor", name_ = {}, index_ = i;
      TensorInfo tensor;
      tensor.part = part_number_;
      BANTAM_ASSIGN_OR_RETURN(tensor.name, ReadString("the name"));
      BANTAM_RETURN_IF_ERROR(Annotate(CheckName(tensor.name, "the name"), Where()));
      name_ = tensor.name;
      if (!names.insert(tensor.name).second) return Error("occurs twice");
      BANTAM_ASSIGN_OR_RETURN(const uint32_t n_dims, Read<uint32_t>("the number of dimensions"));
      if (n_dims > kMaxDims) {
        return Error(absl::StrCat("has ", n_dims, " dimensions; expected 0 to ", kMaxDims));
      }
      tensor.n_dims = static_cast<int>(n_dims);
      for (uint32_t d = 0; d < n_dims; ++d) {
        BANTAM_ASSIGN_OR_RETURN(tensor.shape[d], Read<int64_t>("the shape"));
      }
      BANTAM_ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>("the type"));
      if (!quant::IsValidType(type)) {
        return absl::UnimplementedError(
            absl::StrCat(Where(), " has the unknown type ", type, ": ", ExplainUnknownType(type)));
      }
      tensor.type = static_cast<quant::Type>(type);
      auto size = TensorBytes(tensor.type, tensor.shape);
      if (!size.ok()) return Annotate(size.status(), Where());
      BANTAM_ASSIGN_OR_RETURN(tensor.offset, Read<uint64_t>("the offset"));
      if (tensor.offset % part_.alignment != 0) {
        return Error(absl::StrCat("has the offset ", tensor.offset,
                                  ", which is not a multiple of the alignment ", part_.alignment));
      }
      // Keeps every sum below in 64 bits; no file system holds such a file.
      if (tensor.offset > uint64_t{1} << 62) {
        return Error(absl::StrCat("has the offset ", tensor.offset, ", beyond any file"));
      }
      part_.tensors.push_back(tensor);
      sizes_.push_back(*size);
    }
    return absl::OkStatus();
  }

  // Turns offsets from the start of the data into spans of the file.
  absl::Status PlaceTensors() {
    if (part_.tensors.empty()) return absl::OkStatus();
    const uint64_t start = AlignUp(at_, part_.alignment);
    uint64_t end = 0;
    const TensorInfo* last = nullptr;
    bool sorted = true;
    for (size_t i = 0; i < part_.tensors.size(); ++i) {
      TensorInfo& tensor = part_.tensors[i];
      tensor.offset += start;
      sorted = sorted && tensor.offset >= end;
      if (tensor.offset + sizes_[i] > end) {
        end = tensor.offset + sizes_[i];
        last = &tensor;
      }
    }
    if (end > bytes_.size()) {
      return absl::DataLossError(absl::StrFormat(
          "the file is truncated: %d bytes are missing (it has %d, and tensor '%s' ends at byte "
          "%d); download it again",
          end - bytes_.size(), bytes_.size(), Printable(last->name), end));
    }
    if (!sorted) BANTAM_RETURN_IF_ERROR(CheckOverlap());
    for (size_t i = 0; i < part_.tensors.size(); ++i) {
      TensorInfo& tensor = part_.tensors[i];
      tensor.data = bytes_.subspan(tensor.offset, sizes_[i]);
    }
    return absl::OkStatus();
  }

  absl::Status CheckOverlap() const {
    std::vector<size_t> order(part_.tensors.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [this](size_t a, size_t b) {
      return part_.tensors[a].offset < part_.tensors[b].offset;
    });
    for (size_t i = 1; i < order.size(); ++i) {
      const TensorInfo& before = part_.tensors[order[i - 1]];
      const TensorInfo& after = part_.tensors[order[i]];
      if (before.offset + sizes_[order[i - 1]] > after.offset) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "tensors '%s' and '%s' overlap: the first ends at byte %d, the second starts at %d",
            Printable(before.name), Printable(after.name), before.offset + sizes_[order[i - 1]],
            after.offset));
      }
    }
    return absl::OkStatus();
  }

  std::span<const std::byte> bytes_;
  size_t at_ = 0;
  int part_number_;
  uint64_t tensor_count_ = 0;
  uint64_t key_count_ = 0;
  std::vector<uint64_t> sizes_;  // of each tensor's data
  Part part_;

  absl::string_view what_;
  absl::string_view name_;
  uint64_t index_ = 0;
};

}  // namespace

absl::StatusOr<Part> ParsePart(std::span<const std::byte> bytes, int part) {
  return Parser(bytes, part).Parse();
}

}  // namespace bantam::gguf
