#include "runtime/convert/safetensors.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/convert/json_file.h"

namespace bantam::convert {
namespace {

using nlohmann::json;

// As the reference implementation; real headers take some 100 KiB.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

struct Dtype {
  absl::string_view name;
  int bytes;
  std::optional<quant::Type> type;
};
constexpr Dtype kDtypes[] = {
    {"F64", 8, quant::Type::kF64},   {"F32", 4, quant::Type::kF32}, {"F16", 2, quant::Type::kF16},
    {"BF16", 2, quant::Type::kBF16}, {"I64", 8, std::nullopt},      {"I32", 4, std::nullopt},
    {"I16", 2, std::nullopt},        {"I8", 1, std::nullopt},       {"U64", 8, std::nullopt},
    {"U32", 4, std::nullopt},        {"U16", 2, std::nullopt},      {"U8", 1, std::nullopt},
    {"BOOL", 1, std::nullopt},       {"F8_E4M3", 1, std::nullopt},  {"F8_E5M2", 1, std::nullopt},
};

const Dtype* FindDtype(absl::string_view name) {
  for (const Dtype& dtype : kDtypes) {
    if (dtype.name == name) return &dtype;
  }
  return nullptr;
}

std::optional<uint64_t> AsUnsigned(const json& value) {
  // Numbers that are not negative are unsigned to the parser.
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<uint64_t>();
}

// One entry of the header. `data` is all tensors' data. The error continues a sentence that starts
// with the tensor's name.
absl::StatusOr<SourceTensor> ReadTensor(const json& entry, std::span<const std::byte> data) {
  SourceTensor tensor;
  const auto failed = [](absl::string_view what) { return absl::InvalidArgumentError(what); };
  if (!entry.is_object()) return failed("is described by something other than an object");
  const auto dtype = entry.find("dtype"), shape = entry.find("shape"),
             offsets = entry.find("data_offsets");
  if (dtype == entry.end() || !dtype->is_string()) return failed("has no dtype");
  if (shape == entry.end() || !shape->is_array()) return failed("has no shape");
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2) {
    return failed("has no pair of data_offsets");
  }
  tensor.dtype = dtype->get<std::string>();
  const Dtype* known = FindDtype(tensor.dtype);
  if (known == nullptr) {
    return failed(absl::StrCat("has the unknown dtype ", Printable(tensor.dtype)));
  }
  uint64_t bytes = known->bytes;
  for (const json& dimension : *shape) {
    const auto size = AsUnsigned(dimension);
    if (!size || *size > INT64_MAX) return failed("has a shape of something other than sizes");
    if (__builtin_mul_overflow(bytes, *size, &bytes)) return failed("has too many elements");
    tensor.shape.push_back(static_cast<int64_t>(*size));
  }
  const auto begin = AsUnsigned((*offsets)[0]), end = AsUnsigned((*offsets)[1]);
  if (!begin || !end || *begin > *end || *end > data.size()) {
    return failed(absl::StrFormat("lies outside the %d bytes of data", data.size()));
  }
  if (*end - *begin != bytes) {
    return failed(
        absl::StrFormat("has %d bytes of data; its shape and dtype need %d", *end - *begin, bytes));
  }
  tensor.data = data.subspan(*begin, bytes);
  return tensor;
}

}  // namespace

std::optional<quant::Type> SourceTensor::type() const {
  const Dtype* known = FindDtype(dtype);
  return known == nullptr ? std::nullopt : known->type;
}

int64_t SourceTensor::elements() const {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return count;
}

absl::StatusOr<std::unique_ptr<Safetensors>> Safetensors::Parse(std::span<const std::byte> bytes,
                                                                const std::string& name) {
  const auto failed = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", what));
  };
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) return failed("is too short for a safetensors file");
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - sizeof(header_bytes)) {
    return failed(
        absl::StrFormat("is no safetensors file, or cut off: its header would take %d of "
                        "%d bytes",
                        header_bytes, bytes.size()));
  }
  const absl::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof(header_bytes),
                               header_bytes);
  BANTAM_ASSIGN_OR_RETURN(const JsonFile header,
                          JsonFile::Parse(text, absl::StrCat(name, ": the header")));
  const auto data = bytes.subspan(sizeof(header_bytes) + header_bytes);
  auto file = std::make_unique<Safetensors>();
  for (const auto& [key, entry] : header.root().items()) {
    if (key == "__metadata__") continue;
    auto tensor = ReadTensor(entry, data);
    if (!tensor.ok()) {
      return failed(absl::StrCat("tensor ", Printable(key), " ", tensor.status().message()));
    }
    tensor->name = key;
    file->tensors_.push_back(*std::move(tensor));
  }
  // The data must be covered once: what overlaps or is left over was meant to be something else.
  std::sort(file->tensors_.begin(), file->tensors_.end(),
            [](const SourceTensor& a, const SourceTensor& b) {
              return std::make_pair(a.data.data(), a.data.size()) <
                     std::make_pair(b.data.data(), b.data.size());
            });
  const std::byte* covered = data.data();
  for (const SourceTensor& tensor : file->tensors_) {
    if (tensor.data.data() != covered) {
      return failed(absl::StrCat(
          "tensor ", Printable(tensor.name), " ",
          tensor.data.data() < covered ? "overlaps the one before" : "leaves a gap before it"));
    }
    covered += tensor.data.size();
  }
  if (covered != data.data() + data.size()) {
    return failed(absl::StrFormat("the last %d bytes belong to no tensor",
                                  data.data() + data.size() - covered));
  }
  return file;
}

absl::StatusOr<std::unique_ptr<Safetensors>> Safetensors::Open(const std::string& path) {
  BANTAM_ASSIGN_OR_RETURN(auto mapped, MappedFile::Open(path));
  BANTAM_ASSIGN_OR_RETURN(auto file, Parse(mapped->data(), path));
  file->file_ = std::move(mapped);
  return file;
}

namespace {

// The files of a folder that hold its tensors.
absl::StatusOr<std::vector<std::string>> WeightFiles(const std::string& folder) {
  const std::string whole = folder + "/model.safetensors";
  const std::string index_path = whole + ".index.json";
  std::error_code error;
  if (std::filesystem::exists(index_path, error)) {
    BANTAM_ASSIGN_OR_RETURN(const JsonFile index, JsonFile::Open(index_path));
    const json* map = index.Find("weight_map");
    if (map == nullptr || !map->is_object()) return index.Error("weight_map", "is missing");
    std::set<std::string> names;
    for (const auto& [tensor, file] : map->items()) {
      if (!file.is_string()) return index.Error("weight_map", "names no file for a tensor");
      const std::string name = file.get<std::string>();
      if (absl::StrContains(name, "/") || !absl::EndsWith(name, ".safetensors")) {
        return index.Error("weight_map", absl::StrCat("names ", Printable(name),
                                                      ", which is no safetensors file"));
      }
      names.insert(name);
    }
    std::vector<std::string> files;
    for (const std::string& name : names) files.push_back(absl::StrCat(folder, "/", name));
    return files;
  }
  if (std::filesystem::exists(whole, error)) return std::vector<std::string>{whole};
  std::vector<std::string> files;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".safetensors") files.push_back(entry->path().string());
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    return absl::NotFoundError(absl::StrCat(
        folder,
        ": has no *.safetensors; checkpoints of other kinds (pytorch_model.bin) are not "
        "read"));
  }
  return files;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& folder) {
  BANTAM_ASSIGN_OR_RETURN(const std::vector<std::string> files, WeightFiles(folder));
  auto checkpoint = std::make_unique<Checkpoint>();
  for (const std::string& path : files) {
    BANTAM_ASSIGN_OR_RETURN(auto file, Safetensors::Open(path));
    for (const SourceTensor& tensor : file->tensors()) {
      if (!checkpoint->by_name_.emplace(tensor.name, &tensor).second) {
        return absl::InvalidArgumentError(absl::StrCat(path, ": tensor ", Printable(tensor.name),
                                                       " is in another file of the model too"));
      }
      checkpoint->tensors_.push_back(&tensor);
    }
    checkpoint->files_.push_back(std::move(file));
  }
  return checkpoint;
}

const SourceTensor* Checkpoint::Find(absl::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace bantam::convert
