#include "runtime/quantize/quantize.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/status.h"
#include "runtime/base/thread_pool.h"
#include "runtime/gguf/writer.h"
#include "runtime/quant/decode.h"
#include "runtime/quant/encode.h"

namespace bantam::quantize {
namespace {

// Elements that are encoded, and bytes that are copied, before the result is written and the pages
// of the source are let go. Large enough to keep every thread busy, small enough to stop soon.
constexpr int64_t kPieceElements = int64_t{1} << 20;
constexpr size_t kPieceBytes = size_t{16} << 20;
// Elements a thread takes at once.
constexpr int64_t kGrainElements = int64_t{1} << 13;

bool IsFloat(quant::Type type) {
  return type == quant::Type::kF32 || type == quant::Type::kF16 || type == quant::Type::kBF16 ||
         type == quant::Type::kF64;
}

bool SameFile(const std::string& a, const std::string& b) {
  struct stat first, second;
  return stat(a.c_str(), &first) == 0 && stat(b.c_str(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

// The names of the files to write.
std::vector<std::string> OutputPaths(const gguf::File& source, const std::string& output,
                                     bool keep_split) {
  const int parts = source.part_count();
  if (!keep_split || parts == 1) return {output};
  absl::string_view stem = output;
  if (absl::EndsWith(stem, ".gguf")) stem.remove_suffix(5);
  const std::string first = absl::StrFormat("-%05d-of-%05d", 1, parts);
  if (absl::EndsWith(stem, first)) stem.remove_suffix(first.size());
  std::vector<std::string> paths;
  for (int i = 0; i < parts; ++i) {
    paths.push_back(absl::StrFormat("%s-%05d-of-%05d.gguf", stem, i + 1, parts));
  }
  return paths;
}

absl::Status CheckOutputs(const gguf::File& source, const std::vector<std::string>& outputs,
                          bool overwrite) {
  for (const std::string& output : outputs) {
    for (const std::string& input : source.part_paths()) {
      if (SameFile(input, output)) {
        return absl::InvalidArgumentError(
            absl::StrCat("'", output, "' is the model to quantize; expected another output name"));
      }
    }
    struct stat info;
    if (!overwrite && stat(output.c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
      return absl::AlreadyExistsError(absl::StrCat("'", output, "' exists already"));
    }
  }
  return absl::OkStatus();
}

// Quantizes one file; holds what its tensors share.
class Quantizer {
 public:
  Quantizer(const gguf::File& source, std::span<const quant::Type> types, const Options& options,
            ProgressFn progress)
      : source_(source), types_(types), options_(options), progress_(progress) {}

  absl::StatusOr<Report> Run(const std::string& output);

 private:
  absl::Status Check() const;
  absl::Status CheckTensor(const gguf::TensorInfo& tensor, quant::Type type) const;
  absl::Status AddTensors(int part, bool all_parts, gguf::Writer& writer);
  void SetMetadata(int part, int parts, gguf::Writer& writer) const;
  absl::Status Copy(size_t i, gguf::Writer::Sink sink);
  absl::Status Encode(size_t i, gguf::Writer::Sink sink);
  absl::Status EncodeRows(size_t i, int64_t first_row, int64_t rows, std::byte* out);
  absl::Status CheckFinite(const gguf::TensorInfo& tensor, int64_t first, int64_t count);
  absl::Status Advance(const gguf::TensorInfo& tensor, size_t bytes);
  const std::vector<float>* ImportanceOf(const gguf::TensorInfo& tensor) const;

  const gguf::File& source_;
  std::span<const quant::Type> types_;
  const Options& options_;
  ProgressFn progress_;
  std::unique_ptr<ThreadPool> pool_;
  std::vector<std::vector<float>> rows_;     // per worker: a decoded row of the source
  std::vector<std::vector<float>> results_;  // per worker: what it became
  std::vector<std::byte> piece_;
  Progress so_far_;
  Report report_;
};

const std::vector<float>* Quantizer::ImportanceOf(const gguf::TensorInfo& tensor) const {
  if (options_.importance == nullptr) return nullptr;
  const auto it = options_.importance->weights.find(std::string(tensor.name));
  return it == options_.importance->weights.end() ? nullptr : &it->second;
}

absl::Status Quantizer::CheckTensor(const gguf::TensorInfo& tensor, quant::Type type) const {
  if (tensor.type == type) return absl::OkStatus();
  const int32_t block = quant::Traits(type).block_size;
  if (tensor.shape[0] % block != 0) {
    return absl::InvalidArgumentError(absl::StrCat("rows of ", tensor.shape[0],
                                                   " elements cannot be ", quant::Name(type),
                                                   ": expected a multiple of ", block));
  }
  const bool was_quantized = quant::Traits(tensor.type).is_quantized;
  if (!was_quantized && !IsFloat(tensor.type)) {
    return absl::InvalidArgumentError(
        absl::StrCat("is ", quant::Name(tensor.type), ", which holds integers, not weights"));
  }
  if (was_quantized && !IsFloat(type) && !options_.allow_requantize) {
    return absl::FailedPreconditionError(absl::StrCat(
        "is ", quant::Name(tensor.type), " already and would lose more as ", quant::Name(type),
        "; start from an F16, BF16 or F32 file, or allow it with "
        "--allow-requantize"));
  }
  if (const std::vector<float>* importance = ImportanceOf(tensor)) {
    const size_t columns = static_cast<size_t>(tensor.shape[0]);
    if (importance->size() != columns &&
        importance->size() != columns * static_cast<size_t>(tensor.shape[2])) {
      return absl::InvalidArgumentError(
          absl::StrCat("the importance matrix has ", importance->size(),
                       " values; expected one for each of ", columns, " columns",
                       tensor.shape[2] > 1 ? absl::StrCat(" of ", tensor.shape[2], " experts") : "",
                       ": it is of another model"));
    }
    for (size_t i = 0; i < importance->size(); ++i) {
      if (!std::isfinite((*importance)[i]) || (*importance)[i] < 0) {
        return absl::InvalidArgumentError(absl::StrCat("value ", i, " of the importance matrix is ",
                                                       (*importance)[i],
                                                       ", expected a finite one that is not "
                                                       "negative"));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Quantizer::Check() const {
  if (types_.size() != source_.tensors().size()) {
    return absl::InvalidArgumentError(absl::StrCat(types_.size(), " types were given for ",
                                                   source_.tensors().size(), " tensors"));
  }
  for (size_t i = 0; i < types_.size(); ++i) {
    const gguf::TensorInfo& tensor = source_.tensors()[i];
    BANTAM_RETURN_IF_ERROR(Annotate(CheckTensor(tensor, types_[i]),
                                    absl::StrCat(source_.path(), ": tensor '", tensor.name, "'")));
  }
  return absl::OkStatus();
}

absl::Status Quantizer::Advance(const gguf::TensorInfo& tensor, size_t bytes) {
  so_far_.bytes += bytes;
  so_far_.tensor = tensor.name;
  if (progress_(so_far_)) return absl::OkStatus();
  return absl::CancelledError("stopped");
}

// Of `count` elements from `first` on.
absl::Status Quantizer::CheckFinite(const gguf::TensorInfo& tensor, int64_t first, int64_t count) {
  std::vector<float>& values = rows_[0];
  const int64_t element_bytes = quant::Traits(tensor.type).block_bytes;
  constexpr int64_t kStep = 4096;
  values.resize(std::max<size_t>(values.size(), kStep));
  for (int64_t at = first; at < first + count; at += kStep) {
    const int64_t n = std::min(kStep, first + count - at);
    quant::DecodeRow(tensor.type, tensor.data.data() + at * element_bytes, values.data(), n);
    for (int64_t j = 0; j < n; ++j) {
      if (!std::isfinite(values[j])) {
        return absl::InvalidArgumentError(
            absl::StrCat("element ", at + j, " is ", values[j], ", expected finite numbers"));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Quantizer::Copy(size_t i, gguf::Writer::Sink sink) {
  const gguf::TensorInfo& tensor = source_.tensors()[i];
  for (size_t at = 0; at < tensor.data.size(); at += kPieceBytes) {
    const auto piece = tensor.data.subspan(at, std::min(kPieceBytes, tensor.data.size() - at));
    if (IsFloat(tensor.type)) {
      const int64_t element_bytes = quant::Traits(tensor.type).block_bytes;
      BANTAM_RETURN_IF_ERROR(CheckFinite(tensor, static_cast<int64_t>(at) / element_bytes,
                                         static_cast<int64_t>(piece.size()) / element_bytes));
    }
    BANTAM_RETURN_IF_ERROR(sink(piece));
    source_.Release(tensor, piece);
    BANTAM_RETURN_IF_ERROR(Advance(tensor, piece.size()));
  }
  return absl::OkStatus();
}

absl::Status Quantizer::EncodeRows(size_t i, int64_t first_row, int64_t rows, std::byte* out) {
  const gguf::TensorInfo& tensor = source_.tensors()[i];
  TensorReport& report = report_.tensors[i];
  const quant::Type type = types_[i];
  const int64_t columns = tensor.shape[0];
  const int64_t from_bytes = quant::RowBytes(tensor.type, columns);
  const int64_t to_bytes = quant::RowBytes(type, columns);
  const std::vector<float>* importance = ImportanceOf(tensor);
  const bool per_expert =
      importance != nullptr && importance->size() != static_cast<size_t>(columns);
  // Summed row by row in order, so that the report does not depend on the threads.
  std::vector<std::pair<double, double>> sums(static_cast<size_t>(rows));
  std::mutex mutex;
  absl::Status failed;
  int64_t failed_row = rows;
  pool_->ParallelFor(
      rows, std::max<int64_t>(kGrainElements / columns, 1),
      [&](int64_t begin, int64_t end, int worker) {
        std::vector<float>& row = rows_[worker];
        std::vector<float>& result = results_[worker];
        row.resize(std::max(row.size(), static_cast<size_t>(columns)));
        result.resize(std::max(result.size(), static_cast<size_t>(columns)));
        for (int64_t r = begin; r < end; ++r) {
          quant::DecodeRow(tensor.type, tensor.data.data() + (first_row + r) * from_bytes,
                           row.data(), columns);
          const float* weights = nullptr;
          if (importance != nullptr) {
            const int64_t expert = per_expert ? (first_row + r) / tensor.shape[1] : 0;
            weights = importance->data() + expert * columns;
          }
          std::byte* encoded = out + r * to_bytes;
          absl::Status status = quant::QuantizeRow(type, row.data(), weights, encoded, columns);
          if (status.ok()) {
            quant::DecodeRow(type, encoded, result.data(), columns);
            double error = 0, sum = 0;
            for (int64_t j = 0; j < columns; ++j) {
              const double difference = static_cast<double>(result[j]) - row[j];
              error += difference * difference;
              sum += static_cast<double>(row[j]) * row[j];
            }
            sums[static_cast<size_t>(r)] = {error, sum};
            if (!std::isfinite(error)) {
              const auto bad = std::find_if(result.data(), result.data() + columns,
                                            [](float x) { return !std::isfinite(x); });
              const int64_t j = bad - result.data();
              status = absl::OutOfRangeError(absl::StrCat(
                  "element ", j, " of the row is ", row[j], ", which ", quant::Name(type),
                  std::isfinite(row[j]) ? " cannot hold" : " is not to hold",
                  "; expected finite numbers within its range"));
            }
          }
          if (!status.ok()) {
            std::lock_guard lock(mutex);
            if (r < failed_row) {
              failed_row = r;
              failed = Annotate(status, absl::StrCat("row ", first_row + r));
            }
            return;
          }
        }
      });
  BANTAM_RETURN_IF_ERROR(failed);
  for (const auto& [error, sum] : sums) {
    report.square_error += error;
    report.square_sum += sum;
  }
  return absl::OkStatus();
}

absl::Status Quantizer::Encode(size_t i, gguf::Writer::Sink sink) {
  const gguf::TensorInfo& tensor = source_.tensors()[i];
  const int64_t columns = tensor.shape[0];
  if (tensor.elements() == 0) return absl::OkStatus();
  const int64_t rows = tensor.elements() / columns;
  const int64_t from_bytes = quant::RowBytes(tensor.type, columns);
  const int64_t to_bytes = quant::RowBytes(types_[i], columns);
  const int64_t step = std::max<int64_t>(kPieceElements / columns, 1);
  for (int64_t r = 0; r < rows; r += step) {
    const int64_t n = std::min(step, rows - r);
    piece_.resize(std::max(piece_.size(), static_cast<size_t>(n * to_bytes)));
    BANTAM_RETURN_IF_ERROR(EncodeRows(i, r, n, piece_.data()));
    BANTAM_RETURN_IF_ERROR(sink(std::span(piece_.data(), static_cast<size_t>(n * to_bytes))));
    const size_t read = static_cast<size_t>(n * from_bytes);
    source_.Release(tensor, tensor.data.subspan(static_cast<size_t>(r * from_bytes), read));
    BANTAM_RETURN_IF_ERROR(Advance(tensor, read));
  }
  return absl::OkStatus();
}

absl::Status Quantizer::AddTensors(int part, bool all_parts, gguf::Writer& writer) {
  for (size_t i = 0; i < types_.size(); ++i) {
    const gguf::TensorInfo& tensor = source_.tensors()[i];
    if (!all_parts && tensor.part != part) continue;
    BANTAM_RETURN_IF_ERROR(writer.AddTensorInPieces(
        tensor.name, types_[i], {tensor.shape.data(), static_cast<size_t>(tensor.n_dims)},
        [this, i, &tensor](gguf::Writer::Sink sink) {
          const absl::Status done = tensor.type == types_[i] ? Copy(i, sink) : Encode(i, sink);
          ++so_far_.tensors;
          return done;
        }));
  }
  return absl::OkStatus();
}

void Quantizer::SetMetadata(int part, int parts, gguf::Writer& writer) const {
  if (part == 0) {
    for (const gguf::KeyValue& pair : source_.metadata()) {
      if (!absl::StartsWith(pair.key, "split.")) writer.Set(pair.key, pair.value);
    }
    // The version of the block layouts; every file since 2023 says 2.
    writer.Set("general.quantization_version", uint32_t{2});
    if (options_.file_type.has_value()) writer.Set("general.file_type", *options_.file_type);
  } else if (const gguf::MetaValue* alignment = source_.Find("general.alignment")) {
    writer.Set("general.alignment", *alignment);
  }
  if (parts > 1) {
    writer.Set("split.no", static_cast<uint16_t>(part));
    writer.Set("split.count", static_cast<uint16_t>(parts));
    writer.Set("split.tensors.count", static_cast<int32_t>(types_.size()));
  }
}

absl::StatusOr<Report> Quantizer::Run(const std::string& output) {
  BANTAM_RETURN_IF_ERROR(Check());
  report_.outputs = OutputPaths(source_, output, options_.keep_split);
  if (!options_.dry_run) {
    BANTAM_RETURN_IF_ERROR(CheckOutputs(source_, report_.outputs, options_.overwrite));
  }
  report_.bytes_before = source_.file_bytes();
  for (size_t i = 0; i < types_.size(); ++i) {
    const gguf::TensorInfo& tensor = source_.tensors()[i];
    TensorReport report;
    report.name = std::string(tensor.name);
    report.from = tensor.type;
    report.to = types_[i];
    report.elements = tensor.elements();
    report.bytes_before = tensor.data.size();
    report.bytes_after = static_cast<uint64_t>(quant::RowBytes(types_[i], tensor.elements()));
    report_.elements += report.elements;
    so_far_.of_bytes += report.bytes_before;
    report_.tensors.push_back(std::move(report));
  }
  so_far_.of_tensors = static_cast<int64_t>(types_.size());

  const int threads = options_.threads > 0 ? options_.threads : ThreadPool::DefaultSize();
  const int parts = static_cast<int>(report_.outputs.size());
  std::vector<gguf::Writer> writers(static_cast<size_t>(parts));
  for (int part = 0; part < parts; ++part) {
    SetMetadata(part, parts, writers[part]);
    BANTAM_RETURN_IF_ERROR(AddTensors(part, parts == 1, writers[part]));
    BANTAM_ASSIGN_OR_RETURN(const uint64_t bytes, writers[part].FileBytes());
    report_.bytes_after += bytes;
  }
  if (options_.dry_run) return std::move(report_);

  pool_ = std::make_unique<ThreadPool>(threads);
  rows_.resize(static_cast<size_t>(pool_->size()));
  results_.resize(rows_.size());
  // No file gets its name before the last one is complete.
  std::vector<std::unique_ptr<AtomicFile>> files;
  for (int part = 0; part < parts; ++part) {
    BANTAM_ASSIGN_OR_RETURN(std::unique_ptr<AtomicFile> file,
                            AtomicFile::Create(report_.outputs[part]));
    files.push_back(std::move(file));
    absl::Status written = writers[part].WriteTo(*files[part]);
    if (absl::IsCancelled(written)) return written;
    if (!written.ok()) {
      // What went wrong with the file names it.
      const bool of_output = absl::StrContains(written.message(), report_.outputs[part]);
      return of_output ? written : Annotate(written, source_.path());
    }
  }
  for (const auto& file : files) BANTAM_RETURN_IF_ERROR(file->Commit());
  return std::move(report_);
}

}  // namespace

double TensorReport::Rmse() const {
  return elements > 0 ? std::sqrt(square_error / static_cast<double>(elements)) : 0;
}

double TensorReport::RelativeError() const {
  return square_sum > 0 ? std::sqrt(square_error / square_sum) : 0;
}

double Report::BitsPerWeight() const {
  uint64_t bytes = 0;
  for (const TensorReport& tensor : tensors) bytes += tensor.bytes_after;
  return elements > 0 ? 8.0 * static_cast<double>(bytes) / static_cast<double>(elements) : 0;
}

absl::StatusOr<Report> QuantizeFile(const gguf::File& source, const std::string& output,
                                    std::span<const quant::Type> types, const Options& options,
                                    ProgressFn progress) {
  Quantizer quantizer(source, types, options, progress);
  return quantizer.Run(output);
}

}  // namespace bantam::quantize
