#include "runtime/eval/imatrix_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <list>

#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/gguf/file.h"
#include "runtime/gguf/layout.h"
#include "runtime/gguf/writer.h"

namespace bantam::eval {
namespace {

constexpr absl::string_view kSumsSuffix = ".in_sum2";
constexpr absl::string_view kCountsSuffix = ".counts";
constexpr char kDatasets[] = "imatrix.datasets";
constexpr char kChunkCount[] = "imatrix.chunk_count";
constexpr char kChunkSize[] = "imatrix.chunk_size";
// More than any real model has; what is above is no importance matrix.
constexpr int32_t kMaxEntries = 1 << 20;

std::span<const std::byte> Bytes(absl::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

absl::Status CheckFinite(absl::string_view name, std::span<const double> sums) {
  for (double sum : sums) {
    if (!(sum >= 0) || std::isinf(sum)) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " has the sum of squares ", sum, "; expected a number, 0 or more"));
    }
  }
  return absl::OkStatus();
}

std::vector<float> Floats(std::span<const std::byte> data) {
  std::vector<float> values(data.size() / sizeof(float));
  std::ranges::copy(data.first(values.size() * sizeof(float)),
                    std::as_writable_bytes(std::span(values)).begin());
  return values;
}

absl::StatusOr<Imatrix> FromGguf(const gguf::File& file) {
  Imatrix imatrix;
  const std::vector<absl::string_view> none;
  BANTAM_ASSIGN_OR_RETURN(const auto datasets, gguf::Or(file.GetStrings(kDatasets),
                                                        std::span<const absl::string_view>(none)));
  for (absl::string_view name : datasets) imatrix.datasets.emplace_back(name);
  BANTAM_ASSIGN_OR_RETURN(const uint64_t chunks, gguf::Or(file.GetUint(kChunkCount), uint64_t{0}));
  BANTAM_ASSIGN_OR_RETURN(const uint64_t size, gguf::Or(file.GetUint(kChunkSize), uint64_t{0}));
  imatrix.chunks = static_cast<int64_t>(std::min<uint64_t>(chunks, INT32_MAX));
  imatrix.chunk_size = static_cast<int64_t>(std::min<uint64_t>(size, INT32_MAX));
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    absl::string_view name = tensor.name;
    if (!absl::ConsumeSuffix(&name, kSumsSuffix)) continue;
    const gguf::TensorInfo* counts = file.FindTensor(absl::StrCat(name, kCountsSuffix));
    if (counts == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", name, kCountsSuffix, " is missing"));
    }
    if (tensor.type != quant::Type::kF32 || counts->type != quant::Type::kF32) {
      return absl::InvalidArgumentError(absl::StrCat("the tensors of ", name, " are not F32"));
    }
    if (counts->elements() < 1 || tensor.elements() < 1 ||
        tensor.elements() % counts->elements() != 0) {
      return absl::InvalidArgumentError(absl::StrFormat("%s has %d sums for %d counts", name,
                                                        tensor.elements(), counts->elements()));
    }
    ImatrixEntry& entry = imatrix.entries[std::string(name)];
    for (float sum : Floats(tensor.data)) entry.sums.push_back(sum);
    BANTAM_RETURN_IF_ERROR(CheckFinite(name, entry.sums));
    for (float count : Floats(counts->data)) {
      if (!(count >= 0 && count < 9e18f)) {
        return absl::InvalidArgumentError(absl::StrCat(name, " has the count ", count));
      }
      entry.counts.push_back(std::llround(count));
    }
  }
  return imatrix;
}

// The older form. Every read is checked against what is left.
class BinaryReader {
 public:
  explicit BinaryReader(std::span<const std::byte> data) : rest_(data) {}

  absl::StatusOr<Imatrix> Read() {
    Imatrix imatrix;
    BANTAM_ASSIGN_OR_RETURN(const int32_t entries, Int("the number of entries"));
    if (entries < 1 || entries > kMaxEntries) {
      return absl::InvalidArgumentError(
          absl::StrCat("is no importance matrix: it has ", entries, " entries"));
    }
    for (int32_t i = 0; i < entries; ++i) {
      BANTAM_ASSIGN_OR_RETURN(const std::string name, Text());
      BANTAM_ASSIGN_OR_RETURN(const int32_t calls, Int("the calls"));
      BANTAM_ASSIGN_OR_RETURN(const int32_t values, Int("the number of values"));
      if (calls < 1 || values < 1) {
        return absl::InvalidArgumentError(absl::StrFormat("entry %d (%s) has %d values of %d calls",
                                                          i, Printable(name), values, calls));
      }
      BANTAM_ASSIGN_OR_RETURN(const auto data, Take(uint64_t{4} * values, "the values"));
      ImatrixEntry& entry = imatrix.entries[name];
      entry.counts = {calls};
      entry.sums.clear();
      for (float value : Floats(data)) entry.sums.push_back(value);
      BANTAM_RETURN_IF_ERROR(CheckFinite(Printable(name), entry.sums));
    }
    if (!rest_.empty()) {
      BANTAM_ASSIGN_OR_RETURN(const int32_t chunks, Int("the number of chunks"));
      imatrix.chunks = std::max(chunks, 0);
    }
    if (!rest_.empty()) {
      BANTAM_ASSIGN_OR_RETURN(const std::string text, Text());
      if (!text.empty()) imatrix.datasets.push_back(text);
    }
    return imatrix;
  }

 private:
  absl::StatusOr<std::span<const std::byte>> Take(uint64_t bytes, absl::string_view what) {
    if (bytes > rest_.size()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "is no importance matrix, or cut off: %s would take %d bytes, %d are left", what, bytes,
          rest_.size()));
    }
    const auto taken = rest_.first(bytes);
    rest_ = rest_.subspan(bytes);
    return taken;
  }
  absl::StatusOr<int32_t> Int(absl::string_view what) {
    BANTAM_ASSIGN_OR_RETURN(const auto bytes, Take(sizeof(int32_t), what));
    return gguf::LoadAs<int32_t>(bytes.data());
  }
  absl::StatusOr<std::string> Text() {
    BANTAM_ASSIGN_OR_RETURN(const int32_t length, Int("a name's length"));
    BANTAM_ASSIGN_OR_RETURN(const auto bytes, Take(static_cast<uint32_t>(length), "a name"));
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  std::span<const std::byte> rest_;
};

absl::Status WriteGguf(const std::string& path, const Imatrix& imatrix) {
  gguf::Writer writer;
  writer.Set("general.type", absl::string_view("imatrix"));
  writer.SetStrings(kDatasets, {imatrix.datasets.begin(), imatrix.datasets.end()});
  writer.Set(kChunkCount, static_cast<uint32_t>(imatrix.chunks));
  writer.Set(kChunkSize, static_cast<uint32_t>(imatrix.chunk_size));
  std::list<std::vector<float>> kept;
  auto add = [&](const std::string& name, std::array<int64_t, 2> shape, auto& values) {
    kept.emplace_back(values.begin(), values.end());
    return writer.AddTensor(name, quant::Type::kF32, shape, std::as_bytes(std::span(kept.back())));
  };
  for (const auto& [name, entry] : imatrix.entries) {
    const auto matrices = static_cast<int64_t>(entry.counts.size());
    BANTAM_RETURN_IF_ERROR(
        add(absl::StrCat(name, kSumsSuffix), {entry.columns(), matrices}, entry.sums));
    BANTAM_RETURN_IF_ERROR(add(absl::StrCat(name, kCountsSuffix), {1, matrices}, entry.counts));
  }
  return writer.Write(path);
}

absl::Status WriteBinary(const std::string& path, const Imatrix& imatrix) {
  BANTAM_ASSIGN_OR_RETURN(const auto file, AtomicFile::Create(path));
  absl::Status status;
  auto put = [&](const auto& value) {
    if (status.ok()) status = file->Append(std::as_bytes(std::span(&value, 1)));
  };
  auto put_text = [&](const std::string& text) {
    put(static_cast<int32_t>(text.size()));
    if (status.ok()) status = file->Append(Bytes(text));
  };
  put(static_cast<int32_t>(imatrix.entries.size()));
  const quant::Importance means = ImportanceOf(imatrix);
  const int64_t chunk_size = std::max<int64_t>(imatrix.chunk_size, 1);
  for (const auto& [name, entry] : imatrix.entries) {
    // Calls stand for how much was seen, when matrices are merged: in chunks, rounded up.
    const int64_t most = *std::max_element(entry.counts.begin(), entry.counts.end());
    const auto calls = static_cast<int32_t>(
        std::max<int64_t>(1, std::min<int64_t>((most + chunk_size - 1) / chunk_size, INT32_MAX)));
    put_text(name);
    put(calls);
    put(static_cast<int32_t>(entry.sums.size()));
    for (float mean : means.weights.at(name)) put(mean * static_cast<float>(calls));
  }
  put(static_cast<int32_t>(imatrix.chunks));
  put_text(imatrix.datasets.empty() ? "" : imatrix.datasets.back());
  BANTAM_RETURN_IF_ERROR(status);
  return file->Commit();
}

}  // namespace

absl::StatusOr<Imatrix> ReadImatrix(const std::string& path) {
  BANTAM_ASSIGN_OR_RETURN(const auto mapped, MappedFile::Open(path));
  const auto data = mapped->data();
  const bool is_gguf = data.size() >= gguf::kMagic.size() &&
                       std::memcmp(data.data(), gguf::kMagic.data(), gguf::kMagic.size()) == 0;
  absl::StatusOr<Imatrix> imatrix;
  if (is_gguf) {
    BANTAM_ASSIGN_OR_RETURN(const auto file, gguf::File::Parse(data, path));
    imatrix = FromGguf(*file);
  } else {
    imatrix = BinaryReader(data).Read();
  }
  if (!imatrix.ok()) return Annotate(imatrix.status(), path);
  if (imatrix->entries.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is no importance matrix: no tensor's name ends in ", kSumsSuffix));
  }
  return imatrix;
}

absl::Status WriteImatrix(const std::string& path, const Imatrix& imatrix, ImatrixFormat format) {
  if (imatrix.entries.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": there is nothing to write"));
  }
  return format == ImatrixFormat::kGguf ? WriteGguf(path, imatrix) : WriteBinary(path, imatrix);
}

}  // namespace bantam::eval
