#include "runtime/convert/convert.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/convert/architectures.h"
#include "runtime/convert/fused_experts.h"
#include "runtime/convert/safetensors.h"
#include "runtime/convert/vocabulary.h"
#include "runtime/gguf/writer.h"
#include "runtime/quant/decode.h"
#include "runtime/quant/encode.h"

namespace bantam::convert {
namespace {

using quant::Type;

// One tensor of the output and where it comes from.
struct Job {
  std::string name;
  Type from, to;
  std::vector<int64_t> shape;                // innermost first
  std::vector<const SourceTensor*> sources;  // one, or those of all experts in order
  int64_t rope_heads = 0;  // the rows of each head go from halves to neighbours; 0: they stay
  float add = 0;           // to every element
  std::optional<FusedPart> fused;
  // Of each matrix of a source only this part of the rows.
  int64_t matrices = 1, parts = 1, part = 0;

  int64_t elements() const {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    return count;
  }
};

// Element by element from one plain type to another. Fails with the index of the first element that
// only becomes infinite.
absl::Status ConvertElements(const Job& job, std::span<const std::byte> source,
                             std::vector<std::byte>& out) {
  constexpr int64_t kChunk = 4096;
  const int64_t from_bytes = quant::Traits(job.from).block_bytes;
  const int64_t to_bytes = quant::Traits(job.to).block_bytes;
  const int64_t count = static_cast<int64_t>(source.size()) / from_bytes;
  out.resize(count * to_bytes);
  std::vector<float> values(kChunk), stored(kChunk);
  for (int64_t i = 0; i < count; i += kChunk) {
    const int64_t n = std::min(kChunk, count - i);
    quant::DecodeRow(job.from, source.data() + i * from_bytes, values.data(), n);
    if (job.add != 0) {
      for (int64_t k = 0; k < n; ++k) values[k] += job.add;
    }
    std::byte* at = out.data() + i * to_bytes;
    BANTAM_RETURN_IF_ERROR(quant::EncodeRow(job.to, values.data(), at, n));
    quant::DecodeRow(job.to, at, stored.data(), n);
    for (int64_t k = 0; k < n; ++k) {
      if (std::isinf(stored[k]) && !std::isinf(values[k])) {
        return absl::InvalidArgumentError(absl::StrFormat("element %d is %g, which %s cannot hold",
                                                          i + k, values[k], quant::Name(job.to)));
      }
    }
  }
  return absl::OkStatus();
}

// Row 2 i + j of each head is row j d/2 + i of the source, for heads of d rows.
void InterleaveRope(int64_t heads, int64_t rows, std::span<const std::byte> source,
                    std::vector<std::byte>& out) {
  const size_t row_bytes = source.size() / rows;
  const int64_t d = rows / heads;
  out.resize(source.size());
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t head = row / d, i = row % d / 2, j = row % 2;
    const int64_t from = head * d + j * (d / 2) + i;
    std::memcpy(out.data() + row * row_bytes, source.data() + from * row_bytes, row_bytes);
  }
}

// How an encoder's outputs become one vector, as sentence-transformers notes it beside the model.
// Without, the reader decides.
absl::Status WritePooling(const std::string& folder, absl::string_view target,
                          gguf::Writer& writer) {
  const auto config = JsonFile::Open(folder + "/1_Pooling/config.json");
  if (absl::IsNotFound(config.status())) return absl::OkStatus();
  BANTAM_RETURN_IF_ERROR(config.status());
  constexpr std::pair<const char*, uint32_t> kModes[] = {{"pooling_mode_mean_tokens", 1},
                                                         {"pooling_mode_cls_token", 2},
                                                         {"pooling_mode_lasttoken", 3}};
  for (const auto& [mode, number] : kModes) {
    BANTAM_ASSIGN_OR_RETURN(const auto is_on, config->Bool(mode));
    if (!is_on.value_or(false)) continue;
    writer.Set(absl::StrCat(target, ".pooling_type"), number);
    return absl::OkStatus();
  }
  return absl::UnimplementedError(
      absl::StrCat(config->name(), ": none of the modes mean, cls and last token is on"));
}

class FolderConverter {
 public:
  FolderConverter(const std::string& folder, const Options& options, ProgressFn progress)
      : folder_(folder), options_(options), progress_(progress) {}

  absl::StatusOr<Report> Run(const std::string& output) {
    BANTAM_ASSIGN_OR_RETURN(JsonFile config, JsonFile::Open(folder_ + "/config.json"));
    BANTAM_ASSIGN_OR_RETURN(const ArchitectureRow* row, FindArchitecture(config));
    for (const Alias& alias : row->aliases) config.Alias(alias.there, alias.usual);
    BANTAM_ASSIGN_OR_RETURN(checkpoint_, Checkpoint::Open(folder_));
    const SourceTensor* embedding = nullptr;
    for (const SourceTensor* source : checkpoint_->tensors()) {
      const auto target = TargetOf(*row, source->name);
      if (target && target->name == "token_embd.weight") embedding = source;
    }
    if (embedding == nullptr) return Missing("token_embd.weight");
    if (embedding->shape.size() != 2) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder_, ": tensor ", embedding->name, " is no matrix"));
    }
    BANTAM_ASSIGN_OR_RETURN(const Vocabulary vocabulary,
                            ReadVocabulary(folder_, config, embedding->shape[0], options_.pre));
    gguf::Writer writer;
    writer.Set("general.architecture", row->target);
    writer.Set("general.type", absl::string_view("model"));
    std::string name = std::filesystem::path(folder_).lexically_normal().filename().string();
    if (name.empty()) name = std::filesystem::path(folder_).parent_path().filename().string();
    writer.Set("general.name", absl::string_view(name));
    BANTAM_ASSIGN_OR_RETURN(const HyperParameters params,
                            WriteHyperParameters(config, *row, writer));
    if (row->encoder) BANTAM_RETURN_IF_ERROR(WritePooling(folder_, row->target, writer));
    BANTAM_RETURN_IF_ERROR(Plan(*row, params));
    writer.Set("general.file_type", FileType());
    vocabulary.AddTo(writer);
    if (!params.windowed.empty()) {
      writer.SetInts(absl::StrCat(row->target, ".", kWindowPattern), params.windowed);
    }
    for (const Job& job : jobs_) {
      BANTAM_RETURN_IF_ERROR(writer.AddTensorInPieces(
          job.name, job.to, job.shape, [this, &job](auto sink) { return Write(job, sink); }));
      report_.bytes_before += SourceBytes(job);
      report_.bytes_after += quant::RowBytes(job.to, job.elements());
    }
    report_.tensors = static_cast<int64_t>(jobs_.size());
    for (const auto& [name, factors] :
         {std::pair{"rope_freqs.weight", &params.rope_factors},
          std::pair{"rope_factors_long.weight", &params.rope_long},
          std::pair{"rope_factors_short.weight", &params.rope_short}}) {
      if (factors->empty()) continue;
      const int64_t shape[] = {static_cast<int64_t>(factors->size())};
      BANTAM_RETURN_IF_ERROR(
          writer.AddTensor(name, Type::kF32, shape, std::as_bytes(std::span(*factors))));
      ++report_.tensors;
    }
    BANTAM_RETURN_IF_ERROR(writer.Write(output));
    report_.architecture = std::string(row->target);
    return report_;
  }

 private:
  // Which tensors become which.
  absl::Status Plan(const ArchitectureRow& row, const HyperParameters& params) {
    absl::flat_hash_map<std::string, size_t> stacks;  // jobs by name
    for (const SourceTensor* source : checkpoint_->tensors()) {
      if (IsIgnored(source->name)) continue;
      if (row.fused_experts && IsFused(source->name)) {
        auto parts = PartsOf(*checkpoint_, *source);
        if (!parts.ok()) return Annotate(parts.status(), folder_);
        for (FusedPart& part : *parts) {
          if (part.shape.back() != params.experts) {
            return absl::InvalidArgumentError(
                absl::StrFormat("%s: tensor %s is of %d experts, config.json says %d", folder_,
                                source->name, part.shape.back(), params.experts));
          }
          const Type type = part.type();
          jobs_.push_back({part.name, type, type, part.shape, {source}, 0, 0, std::move(part)});
        }
        continue;
      }
      const auto target = TargetOf(row, source->name);
      if (!target) {
        return absl::UnimplementedError(absl::StrCat(folder_, ": tensor ", Printable(source->name),
                                                     " has no place in a ", row.target, " model"));
      }
      if (target->name == "output.weight" && params.tied) continue;
      BANTAM_ASSIGN_OR_RETURN(Job job, MakeJob(row, params, *source, *target));
      if (target->expert < 0) {
        jobs_.push_back(job);
        if (target->other_half.empty()) continue;
        job.name = target->other_half;
        job.part = 1;
        jobs_.push_back(std::move(job));
        continue;
      }
      const auto [stack, is_new] = stacks.emplace(target->name, jobs_.size());
      if (is_new) {
        job.shape.push_back(params.experts);
        job.sources.assign(params.experts, nullptr);
        jobs_.push_back(std::move(job));
      }
      BANTAM_RETURN_IF_ERROR(Stack(*source, target->expert, jobs_[stack->second]));
    }
    for (const Job& job : jobs_) {
      for (size_t expert = 0; expert < job.sources.size(); ++expert) {
        if (job.sources[expert] == nullptr) {
          return absl::InvalidArgumentError(absl::StrFormat(
              "%s: expert %d of the tensor that becomes %s is missing", folder_, expert, job.name));
        }
      }
    }
    return CheckComplete(row, params);
  }

  absl::Status Stack(const SourceTensor& source, int64_t expert, Job& job) const {
    if (expert >= static_cast<int64_t>(job.sources.size())) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: tensor %s belongs to an expert past the %d of config.json", folder_,
                          source.name, job.sources.size()));
    }
    const bool same = source.type() == job.from && source.shape.size() == 2 &&
                      source.shape[0] == job.shape[1] && source.shape[1] == job.shape[0];
    if (!same) {
      return absl::InvalidArgumentError(absl::StrCat(
          folder_, ": tensor ", source.name, " is not of the type and shape of other experts'"));
    }
    job.sources[expert] = &source;
    return absl::OkStatus();
  }

  absl::StatusOr<Job> MakeJob(const ArchitectureRow& row, const HyperParameters& params,
                              const SourceTensor& source, const Target& target) const {
    const auto failed = [&](absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat(folder_, ": tensor ", source.name, " ", what));
    };
    const auto type = source.type();
    if (!type || *type == Type::kF64) {
      return absl::UnimplementedError(absl::StrCat(folder_, ": tensor ", source.name,
                                                   " is of type ", source.dtype,
                                                   "; supported are F32, F16 and BF16"));
    }
    const bool is_stack = absl::StrContains(target.name, "_exps.") && target.expert < 0;
    const size_t most = is_stack ? 3 : 2;
    if (source.shape.empty() || source.shape.size() > most ||
        (is_stack && source.shape.size() < 3)) {
      return failed(absl::StrCat("has ", source.shape.size(), " dimensions; expected ",
                                 is_stack ? "3" : "1 or 2"));
    }
    Job job{.name = target.name, .from = *type, .sources = {&source}};
    job.shape.assign(source.shape.rbegin(), source.shape.rend());
    if (is_stack) {
      job.matrices = source.shape[0];
      if (job.matrices != params.experts) {
        return failed(
            absl::StrFormat("is of %d experts, config.json says %d", job.matrices, params.experts));
      }
    }
    if (!target.other_half.empty()) {
      if (job.shape.size() < 2 || job.shape[1] % 2 != 0) return failed("has no two halves of rows");
      job.parts = 2;
      job.shape[1] /= 2;
    }
    // The score of the expert that all tokens share is a matrix of one row there, a vector here.
    if (job.shape.size() == 2 && job.shape[1] == 1) job.shape.pop_back();
    // Routers are kept exact: they are small, and a wrong choice of experts costs much. So are
    // tables of which each token reads a row.
    const bool is_exact = absl::StrContains(target.name, ".ffn_gate_inp") ||
                          target.name == "position_embd.weight" ||
                          target.name == "token_types.weight";
    job.to = job.shape.size() >= 2 && !is_exact ? options_.type.value_or(*type) : Type::kF32;
    if (row.interleave_rope) {
      if (absl::StrContains(target.name, ".attn_q.")) job.rope_heads = params.heads;
      if (absl::StrContains(target.name, ".attn_k.")) job.rope_heads = params.heads_kv;
    }
    if (row.norms_less_one && absl::EndsWith(target.name, "norm.weight")) job.add = 1;
    if (job.rope_heads > 0 && source.shape[0] % (2 * job.rope_heads) != 0) {
      return failed(absl::StrFormat("has %d rows, which do not divide into %d heads",
                                    source.shape[0], job.rope_heads));
    }
    return job;
  }

  // Each layer has as many tensors as the first, and there are as many layers as the config says.
  absl::Status CheckComplete(const ArchitectureRow& row, const HyperParameters& params) const {
    absl::flat_hash_set<absl::string_view> names;
    for (const Job& job : jobs_) names.insert(job.name);
    for (absl::string_view name :
         {"token_embd.weight", row.encoder ? "token_embd_norm.weight" : "output_norm.weight"}) {
      if (!names.contains(name)) return Missing(name);
    }
    const bool has_output = !params.tied && !row.encoder;
    if (has_output && !names.contains("output.weight")) return Missing("output.weight");
    for (const Job& job : jobs_) {
      absl::string_view rest = job.name;
      if (!absl::ConsumePrefix(&rest, "blk.")) continue;
      const std::string stem(rest.substr(rest.find('.')));
      for (int64_t layer = 0; layer < params.layers; ++layer) {
        const std::string name = absl::StrCat("blk.", layer, stem);
        if (!names.contains(name)) return Missing(name);
      }
      int64_t layer = 0;
      if (!absl::SimpleAtoi(rest.substr(0, rest.find('.')), &layer) || layer >= params.layers) {
        return absl::InvalidArgumentError(
            absl::StrFormat("%s: tensor %s belongs to a layer past the %d of config.json", folder_,
                            job.sources[0]->name, params.layers));
      }
    }
    if (!names.contains("blk.0.attn_q.weight") && !names.contains("blk.0.attn_qkv.weight")) {
      return Missing("blk.0.attn_q.weight");
    }
    return absl::OkStatus();
  }
  absl::Status Missing(absl::string_view name) const {
    return absl::InvalidArgumentError(
        absl::StrCat(folder_, ": the tensor that becomes ", name, " is missing"));
  }

  // general.file_type says what most of the matrices are.
  uint32_t FileType() const {
    std::array<uint64_t, quant::kTypeIdLimit> bytes{};
    for (const Job& job : jobs_) {
      if (job.shape.size() >= 2) bytes[static_cast<size_t>(job.to)] += job.elements();
    }
    const auto most =
        static_cast<Type>(std::max_element(bytes.begin(), bytes.end()) - bytes.begin());
    return most == Type::kF16 ? 1 : most == Type::kBF16 ? 32 : most == Type::kMXFP4 ? 38 : 0;
  }

  // What of the source a job reads; of what two jobs share each counts half.
  static uint64_t SourceBytes(const Job& job) {
    uint64_t bytes = 0;
    for (const SourceTensor* source : job.sources) bytes += source->data.size();
    if (!job.fused) return bytes / static_cast<uint64_t>(job.parts);
    if (job.fused->scales != nullptr) bytes += job.fused->scales->data.size();
    return bytes / static_cast<uint64_t>(job.fused->step);
  }

  absl::Status WriteFused(const Job& job, gguf::Writer::Sink sink) {
    for (int64_t expert = 0; expert < job.shape.back(); ++expert) {
      BANTAM_RETURN_IF_ERROR(WritePart(*job.fused, expert, converted_));
      BANTAM_RETURN_IF_ERROR(sink(converted_));
    }
    done_ += SourceBytes(job);
    if (!progress_(done_, report_.bytes_before)) return absl::AbortedError("stopped");
    return absl::OkStatus();
  }

  absl::Status Write(const Job& job, gguf::Writer::Sink sink) {
    if (job.fused) return WriteFused(job, sink);
    for (const SourceTensor* source : job.sources) {
      const size_t length = source->data.size() / (job.matrices * job.parts);
      for (int64_t matrix = 0; matrix < job.matrices; ++matrix) {
        std::span<const std::byte> data =
            source->data.subspan((matrix * job.parts + job.part) * length, length);
        if (job.rope_heads > 0) {
          InterleaveRope(job.rope_heads, source->shape[0], data, permuted_);
          data = permuted_;
        }
        if (job.from != job.to || job.add != 0) {
          BANTAM_RETURN_IF_ERROR(Annotate(ConvertElements(job, data, converted_),
                                          absl::StrCat(folder_, ": tensor ", source->name)));
          data = converted_;
        }
        BANTAM_RETURN_IF_ERROR(sink(data));
        done_ += length;
        if (!progress_(done_, report_.bytes_before)) return absl::AbortedError("stopped");
      }
    }
    return absl::OkStatus();
  }

  const std::string& folder_;
  const Options& options_;
  ProgressFn progress_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::vector<Job> jobs_;
  std::vector<std::byte> permuted_, converted_;
  uint64_t done_ = 0;
  Report report_;
};

}  // namespace

absl::StatusOr<Report> ConvertFolder(const std::string& folder, const std::string& output,
                                     const Options& options, ProgressFn progress) {
  return FolderConverter(folder, options, progress).Run(output);
}

}  // namespace bantam::convert
