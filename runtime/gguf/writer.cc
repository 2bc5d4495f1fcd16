#include "runtime/gguf/writer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/base/align.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/gguf/layout.h"

namespace bantam::gguf {
namespace {

template <typename T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void PutString(std::string& out, absl::string_view text) {
  Put<uint64_t>(out, text.size());
  out.append(text.data(), text.size());
}

absl::Status PutArray(std::string& out, const MetaArray* array, int depth);

// The value without its type.
absl::Status PutValue(std::string& out, const MetaValue& value, int depth) {
  return std::visit(
      [&](const auto& v) -> absl::Status {
        using V = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<V, std::shared_ptr<const MetaArray>>) {
          return PutArray(out, v.get(), depth + 1);
        } else if constexpr (std::is_same_v<V, absl::string_view>) {
          PutString(out, v);
        } else {
          Put(out, v);
        }
        return absl::OkStatus();
      },
      value);
}

absl::Status PutArray(std::string& out, const MetaArray* array, int depth) {
  if (array == nullptr) return absl::InvalidArgumentError("holds a null array");
  if (depth > kMaxArrayDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat("nests arrays more than ", kMaxArrayDepth, " deep"));
  }
  if (!IsValidMetaType(static_cast<uint32_t>(array->element))) {
    return absl::InvalidArgumentError("holds an array of an unknown type");
  }
  const size_t fixed = FixedBytes(array->element);
  const uint64_t listed = fixed != 0                            ? array->raw.size() / fixed
                          : array->element == MetaType::kString ? array->strings.size()
                                                                : array->arrays.size();
  if (listed != array->count || (fixed != 0 && array->raw.size() % fixed != 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("holds an array that claims ", array->count, " elements but lists ", listed));
  }
  Put(out, static_cast<uint32_t>(array->element));
  Put(out, array->count);
  if (fixed != 0) {
    const bool valid_bools = array->element != MetaType::kBool ||
                             std::all_of(array->raw.begin(), array->raw.end(),
                                         [](std::byte b) { return b <= std::byte{1}; });
    if (!valid_bools) return absl::InvalidArgumentError("holds a bool that is neither 0 nor 1");
    out.append(reinterpret_cast<const char*>(array->raw.data()), array->raw.size());
  } else if (array->element == MetaType::kString) {
    for (absl::string_view text : array->strings) PutString(out, text);
  } else {
    for (const MetaValue& nested : array->arrays) {
      if (TypeOf(nested) != MetaType::kArray) {
        return absl::InvalidArgumentError("holds an array of arrays with another type in it");
      }
      BANTAM_RETURN_IF_ERROR(PutValue(out, nested, depth));
    }
  }
  return absl::OkStatus();
}

template <typename T>
MetaValue FixedArray(MetaType type, std::span<const T> values) {
  auto array = std::make_shared<MetaArray>();
  array->element = type;
  array->count = values.size();
  array->raw = std::as_bytes(values);
  return std::shared_ptr<const MetaArray>(std::move(array));
}

}  // namespace

void Writer::Set(absl::string_view key, MetaValue value) {
  const auto [it, inserted] = key_index_.try_emplace(std::string(key), metadata_.size());
  if (inserted) {
    metadata_.emplace_back(std::string(key), std::move(value));
  } else {
    metadata_[it->second].second = std::move(value);
  }
}

void Writer::SetStrings(absl::string_view key, std::vector<absl::string_view> strings) {
  auto array = std::make_shared<MetaArray>();
  array->element = MetaType::kString;
  array->count = strings.size();
  array->strings = std::move(strings);
  Set(key, std::shared_ptr<const MetaArray>(std::move(array)));
}

void Writer::SetInts(absl::string_view key, std::span<const int32_t> values) {
  Set(key, FixedArray(MetaType::kInt32, values));
}

void Writer::SetFloats(absl::string_view key, std::span<const float> values) {
  Set(key, FixedArray(MetaType::kFloat32, values));
}

absl::Status Writer::AddTensor(absl::string_view name, quant::Type type,
                               std::span<const int64_t> shape, DataFn data) {
  return AddTensorInPieces(name, type, shape, [data = std::move(data)](Sink sink) -> absl::Status {
    BANTAM_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, data());
    return sink(bytes);
  });
}

absl::Status Writer::AddTensorInPieces(absl::string_view name, quant::Type type,
                                       std::span<const int64_t> shape, PiecesFn write) {
  BANTAM_RETURN_IF_ERROR(CheckName(name, "tensor name"));
  const std::string where = absl::StrCat("tensor '", Printable(name), "'");
  if (shape.size() > kMaxDims) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " has ", shape.size(), " dimensions; expected 0 to ", kMaxDims));
  }
  if (!quant::IsValidType(static_cast<uint32_t>(type))) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " has the unknown type ", static_cast<uint32_t>(type)));
  }
  Tensor tensor{std::string(name), type, static_cast<int>(shape.size()), {1, 1, 1, 1}, 0, nullptr};
  std::copy(shape.begin(), shape.end(), tensor.shape.begin());
  const absl::StatusOr<uint64_t> bytes = TensorBytes(type, tensor.shape);
  if (!bytes.ok()) return Annotate(bytes.status(), where);
  tensor.bytes = *bytes;
  tensor.write = std::move(write);
  if (!names_.insert(tensor.name).second) {
    return absl::InvalidArgumentError(absl::StrCat(where, " was added already"));
  }
  tensors_.push_back(std::move(tensor));
  return absl::OkStatus();
}

absl::Status Writer::AddTensor(absl::string_view name, quant::Type type,
                               std::span<const int64_t> shape, std::span<const std::byte> data) {
  return AddTensor(name, type, shape,
                   DataFn([data]() -> absl::StatusOr<std::span<const std::byte>> { return data; }));
}

absl::StatusOr<uint64_t> Writer::Alignment() const {
  const auto it = key_index_.find(kAlignmentKey);
  return AlignmentFrom(it == key_index_.end() ? nullptr : &metadata_[it->second].second);
}

// Everything before the tensors' data, without the padding.
absl::StatusOr<std::string> Writer::Header(uint64_t alignment) const {
  std::string out(kMagic);
  Put(out, kVersion);
  Put<uint64_t>(out, tensors_.size());
  Put<uint64_t>(out, metadata_.size());
  for (const auto& [key, value] : metadata_) {
    BANTAM_RETURN_IF_ERROR(CheckName(key, "key"));
    PutString(out, key);
    Put(out, static_cast<uint32_t>(TypeOf(value)));
    if (absl::Status put = PutValue(out, value, 0); !put.ok()) {
      return absl::Status(put.code(), absl::StrCat("key '", key, "' ", put.message()));
    }
  }
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    PutString(out, tensor.name);
    Put(out, static_cast<uint32_t>(tensor.n_dims));
    for (int d = 0; d < tensor.n_dims; ++d) Put(out, tensor.shape[d]);
    Put(out, static_cast<uint32_t>(tensor.type));
    Put(out, offset);
    if (tensor.bytes > (uint64_t{1} << 62) - offset) {
      return absl::InvalidArgumentError("the tensors together take more than 2^62 bytes");
    }
    offset += AlignUp(tensor.bytes, alignment);
  }
  return out;
}

absl::Status Writer::Emit(Sink sink) const {
  BANTAM_ASSIGN_OR_RETURN(const uint64_t alignment, Alignment());
  BANTAM_ASSIGN_OR_RETURN(std::string header, Header(alignment));
  header.resize(AlignUp(header.size(), alignment));
  BANTAM_RETURN_IF_ERROR(sink(std::as_bytes(std::span(header))));
  const std::string zeros(tensors_.empty() ? 0 : alignment, '\0');
  for (const Tensor& tensor : tensors_) {
    const std::string where = absl::StrCat("tensor '", tensor.name, "'");
    uint64_t bytes = 0;
    absl::Status sunk;
    const absl::Status written = tensor.write([&](std::span<const std::byte> piece) {
      bytes += piece.size();
      if (bytes <= tensor.bytes) sunk = sink(piece);
      return sunk;
    });
    if (!sunk.ok()) return sunk;
    if (!written.ok()) return Annotate(written, where);
    if (bytes != tensor.bytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, " has ", bytes, " bytes of data; its shape and type need ", tensor.bytes));
    }
    const size_t padding = AlignUp(tensor.bytes, alignment) - tensor.bytes;
    BANTAM_RETURN_IF_ERROR(sink(std::as_bytes(std::span(zeros.data(), padding))));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Writer::FileBytes() const {
  BANTAM_ASSIGN_OR_RETURN(const uint64_t alignment, Alignment());
  BANTAM_ASSIGN_OR_RETURN(const std::string header, Header(alignment));
  uint64_t bytes = AlignUp(header.size(), alignment);
  for (const Tensor& tensor : tensors_) bytes += AlignUp(tensor.bytes, alignment);
  return bytes;
}

absl::Status Writer::WriteTo(AtomicFile& file) const {
  return Emit([&](std::span<const std::byte> bytes) { return file.Append(bytes); });
}

absl::Status Writer::Write(const std::string& path) const {
  BANTAM_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFile> file, AtomicFile::Create(path));
  absl::Status appended;
  const absl::Status emitted = Emit([&](std::span<const std::byte> bytes) {
    appended = file->Append(bytes);
    return appended;
  });
  // The file's own errors name it already.
  if (!emitted.ok()) return appended.ok() ? Annotate(emitted, path) : appended;
  return file->Commit();
}

absl::StatusOr<std::string> Writer::Serialize() const {
  std::string out;
  BANTAM_RETURN_IF_ERROR(Emit([&](std::span<const std::byte> bytes) {
    out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return absl::OkStatus();
  }));
  return out;
}

}  // namespace bantam::gguf
