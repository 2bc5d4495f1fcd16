// The formats of llama.cpp before GGUF (March to August 2023), little-endian:
//
//   u32 magic; u32 version, but not in "ggml"
//   u32 vocab, embd, mult, head, layer, rot, ftype
//   vocab times: u32 length, bytes [, f32 score, but not in "ggml"]
//   until the end: u32 dims, name length, type; u32 size for each dim, innermost first; name;
//   in "ggjt" zeros to a multiple of 32; data
//
// Files of several parts (7B had one, 13B two, ...) came before GGJT and are refused.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/convert/convert.h"
#include "runtime/convert/vocabulary.h"
#include "runtime/gguf/layout.h"
#include "runtime/gguf/writer.h"

namespace bantam::convert {
namespace {

using quant::Type;
using tokenizer::TokenKind;

enum class Format : uint8_t { kGgml, kGgmf, kGgjt };

struct Name {
  absl::string_view source, target;
};
constexpr Name kNames[] = {
    {"tok_embeddings.weight", "token_embd.weight"},
    {"norm.weight", "output_norm.weight"},
    {"output.weight", "output.weight"},
    {"attention_norm.weight", "attn_norm.weight"},
    {"attention.wq.weight", "attn_q.weight"},
    {"attention.wk.weight", "attn_k.weight"},
    {"attention.wv.weight", "attn_v.weight"},
    {"attention.wo.weight", "attn_output.weight"},
    {"ffn_norm.weight", "ffn_norm.weight"},
    {"feed_forward.w1.weight", "ffn_gate.weight"},
    {"feed_forward.w2.weight", "ffn_down.weight"},
    {"feed_forward.w3.weight", "ffn_up.weight"},
};

std::string TargetName(absl::string_view source) {
  std::string prefix;
  if (absl::ConsumePrefix(&source, "layers.")) {
    const size_t dot = source.find('.');
    if (dot == absl::string_view::npos || dot > 4) return "";
    prefix = absl::StrCat("blk.", source.substr(0, dot), ".");
    source.remove_prefix(dot + 1);
  }
  for (const Name& name : kNames) {
    if (name.source == source) return absl::StrCat(prefix, name.target);
  }
  return "";
}

struct Header {
  uint32_t vocab, embd, mult, head, layer, rot, ftype;
};

struct Tensor {
  std::string name;
  Type type = Type::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
};

class GgmlFile {
 public:
  GgmlFile(const std::string& path, std::span<const std::byte> bytes)
      : path_(path), bytes_(bytes) {}

  absl::Status Read() {
    BANTAM_RETURN_IF_ERROR(ReadMagic());
    BANTAM_ASSIGN_OR_RETURN(const auto raw, Take(sizeof(header), "the header"));
    std::memcpy(&header, raw.data(), sizeof(header));
    if (header.vocab < 3 || header.vocab > (1 << 24) || header.embd < 1 ||
        header.embd > (1 << 24) || header.head < 1 || header.head > header.embd ||
        header.embd % header.head != 0 || header.layer < 1 || header.layer > 4096) {
      return Error("the header makes no sense; only llama models can be converted");
    }
    BANTAM_RETURN_IF_ERROR(ReadVocabulary());
    while (at_ < bytes_.size()) BANTAM_RETURN_IF_ERROR(ReadTensor());
    return absl::OkStatus();
  }

  const Tensor* Find(absl::string_view name) const {
    for (const Tensor& tensor : tensors) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }
  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", what));
  }
  std::string FormatName() const {
    constexpr absl::string_view kFormats[] = {"GGML", "GGMF", "GGJT"};
    return absl::StrCat(kFormats[static_cast<int>(format_)], " v", version_);
  }

  Header header{};
  Vocabulary vocabulary;
  std::vector<Tensor> tensors;

 private:
  absl::StatusOr<std::span<const std::byte>> Take(uint64_t count, absl::string_view what) {
    if (count > bytes_.size() - at_) {
      return Error(absl::StrFormat("is cut off: %s at %d would take %d bytes, %d are left", what,
                                   at_, count, bytes_.size() - at_));
    }
    const auto taken = bytes_.subspan(at_, count);
    at_ += count;
    return taken;
  }
  absl::StatusOr<uint32_t> Uint(absl::string_view what) {
    BANTAM_ASSIGN_OR_RETURN(const auto raw, Take(sizeof(uint32_t), what));
    return gguf::LoadAs<uint32_t>(raw.data());
  }
  absl::StatusOr<std::string> Text(uint32_t length, absl::string_view what) {
    BANTAM_ASSIGN_OR_RETURN(const auto raw, Take(length, what));
    return std::string(reinterpret_cast<const char*>(raw.data()), raw.size());
  }

  absl::Status ReadMagic() {
    BANTAM_ASSIGN_OR_RETURN(const std::string magic, Text(4, "the magic"));
    if (magic == "lmgg") {
      format_ = Format::kGgml;
      return absl::OkStatus();
    }
    if (magic != "fmgg" && magic != "tjgg") return Error("is no GGML, GGMF or GGJT file");
    format_ = magic == "fmgg" ? Format::kGgmf : Format::kGgjt;
    BANTAM_ASSIGN_OR_RETURN(version_, Uint("the version"));
    if (version_ < 1 || version_ > (format_ == Format::kGgmf ? 1 : 3)) {
      return Error(absl::StrCat("is of the unknown version ", FormatName()));
    }
    return absl::OkStatus();
  }

  absl::Status ReadVocabulary() {
    vocabulary.model = "llama";
    vocabulary.pre = "default";
    vocabulary.unk = 0;
    vocabulary.bos = 1;
    vocabulary.eos = 2;
    for (uint32_t id = 0; id < header.vocab; ++id) {
      BANTAM_ASSIGN_OR_RETURN(const uint32_t length, Uint("a token"));
      BANTAM_ASSIGN_OR_RETURN(std::string text, Text(length, "a token"));
      // SentencePiece numbers pieces in the order of their scores.
      float score = -static_cast<float>(id);
      if (format_ != Format::kGgml) {
        BANTAM_ASSIGN_OR_RETURN(const auto raw, Take(sizeof(score), "a score"));
        score = gguf::LoadAs<float>(raw.data());
      }
      constexpr uint32_t kFirstByte = 3, kLastByte = 258;
      auto kind = TokenKind::kNormal;
      if (id < 3) {
        constexpr absl::string_view kSpecial[] = {"<unk>", "<s>", "</s>"};
        text = std::string(kSpecial[id]);
        kind = id == 0 ? TokenKind::kUnknown : TokenKind::kControl;
      } else if (text.empty()) {
        kind = TokenKind::kControl;
      } else if (id >= kFirstByte && id <= kLastByte && text.size() == 1) {
        text = absl::StrFormat("<0x%02X>", static_cast<uint8_t>(text[0]));
        kind = TokenKind::kByte;
      } else {
        text = absl::StrReplaceAll(text, {{" ", "\u2581"}});
      }
      BANTAM_RETURN_IF_ERROR(vocabulary.Put(id, std::move(text), kind, score));
    }
    return absl::OkStatus();
  }

  absl::Status ReadTensor() {
    Tensor tensor;
    BANTAM_ASSIGN_OR_RETURN(const uint32_t dims, Uint("a tensor"));
    BANTAM_ASSIGN_OR_RETURN(const uint32_t name_length, Uint("a tensor"));
    BANTAM_ASSIGN_OR_RETURN(const uint32_t type, Uint("a tensor"));
    if (dims < 1 || dims > 2) {
      return Error(
          absl::StrCat("tensor ", tensors.size(), " has ", dims, " dimensions; expected 1 or 2"));
    }
    std::array<int64_t, 4> shape = {1, 1, 1, 1};
    for (uint32_t d = 0; d < dims; ++d) {
      BANTAM_ASSIGN_OR_RETURN(shape[d], Uint("a tensor"));
      tensor.shape.push_back(shape[d]);
    }
    BANTAM_ASSIGN_OR_RETURN(tensor.name, Text(name_length, "a tensor's name"));
    const std::string where = absl::StrCat("tensor ", Printable(tensor.name));
    if (!quant::IsValidType(type)) {
      return Error(absl::StrCat(where, " is of the unknown type ", type));
    }
    tensor.type = static_cast<Type>(type);
    BANTAM_RETURN_IF_ERROR(CheckType(tensor.type, where));
    const auto bytes = gguf::TensorBytes(tensor.type, shape);
    if (!bytes.ok()) return Error(absl::StrCat(where, " ", bytes.status().message()));
    if (format_ == Format::kGgjt) {
      BANTAM_RETURN_IF_ERROR(Take((32 - at_ % 32) % 32, "padding").status());
    }
    BANTAM_ASSIGN_OR_RETURN(tensor.data, Take(*bytes, where));
    if (Find(tensor.name) != nullptr) return Error(absl::StrCat(where, " is there twice"));
    tensors.push_back(std::move(tensor));
    return absl::OkStatus();
  }

  // The 4-bit and 8-bit blocks changed in GGJT v3, all of them in v2.
  absl::Status CheckType(Type type, const std::string& where) const {
    if (!quant::Traits(type).is_quantized) return absl::OkStatus();
    const bool changed_in_3 = type == Type::kQ4_0 || type == Type::kQ4_1 || type == Type::kQ8_0;
    const uint32_t needed = changed_in_3 ? 3 : 2;
    if (format_ == Format::kGgjt && version_ >= needed) return absl::OkStatus();
    return absl::UnimplementedError(absl::StrFormat(
        "%s: %s is %s in the layout of %s, which was replaced in GGJT v%d and cannot be converted; "
        "an F16 or F32 file of the model can, or the original again",
        path_, where, quant::Name(type), FormatName(), needed));
  }

  const std::string& path_;
  std::span<const std::byte> bytes_;
  uint64_t at_ = 0;
  Format format_ = Format::kGgml;
  uint32_t version_ = 1;
};

}  // namespace

bool IsGgml(const std::string& path) {
  const auto file = MappedFile::Open(path);
  if (!file.ok() || (*file)->data().size() < 4) return false;
  const absl::string_view magic(reinterpret_cast<const char*>((*file)->data().data()), 4);
  return magic == "lmgg" || magic == "fmgg" || magic == "tjgg";
}

absl::StatusOr<Report> ConvertGgml(const std::string& path, const std::string& output,
                                   const Options& options, ProgressFn progress) {
  BANTAM_ASSIGN_OR_RETURN(const auto mapped, MappedFile::Open(path));
  std::error_code ignored;
  if (std::filesystem::exists(path + ".1", ignored)) {
    return absl::UnimplementedError(absl::StrCat(path, ": is one of several parts (", path,
                                                 ".1 exists), which cannot be converted"));
  }
  GgmlFile file(path, mapped->data());
  BANTAM_RETURN_IF_ERROR(file.Read());
  const Header& header = file.header;
  const Tensor* gate = file.Find("layers.0.feed_forward.w1.weight");
  const Tensor* key = file.Find("layers.0.attention.wk.weight");
  const int64_t head_length = header.embd / header.head;
  if (gate == nullptr || gate->shape.size() != 2 || key == nullptr || key->shape.size() != 2 ||
      key->shape[1] < head_length || key->shape[1] % head_length != 0) {
    return file.Error("is no llama model: layer 0 lacks feed_forward.w1 or attention.wk");
  }
  gguf::Writer writer;
  const std::string name = std::filesystem::path(path).stem().string();
  const std::string description = absl::StrCat("converted from ", file.FormatName());
  writer.Set("general.architecture", absl::string_view("llama"));
  writer.Set("general.type", absl::string_view("model"));
  writer.Set("general.name", absl::string_view(name));
  writer.Set("general.description", absl::string_view(description));
  writer.Set("general.file_type", header.ftype);
  writer.Set("general.quantization_version", uint32_t{2});
  writer.Set("llama.context_length", static_cast<uint32_t>(options.ggml_context));
  writer.Set("llama.embedding_length", header.embd);
  writer.Set("llama.block_count", header.layer);
  writer.Set("llama.feed_forward_length", static_cast<uint32_t>(gate->shape[1]));
  writer.Set("llama.attention.head_count", header.head);
  writer.Set("llama.attention.head_count_kv", static_cast<uint32_t>(key->shape[1] / head_length));
  writer.Set("llama.attention.layer_norm_rms_epsilon", static_cast<float>(options.ggml_epsilon));
  writer.Set("llama.rope.dimension_count", static_cast<uint32_t>(head_length));
  file.vocabulary.AddTo(writer);
  Report report;
  report.architecture = "llama";
  for (const Tensor& tensor : file.tensors) report.bytes_before += tensor.data.size();
  report.bytes_after = report.bytes_before;
  uint64_t done = 0;
  for (const Tensor& tensor : file.tensors) {
    const std::string target = TargetName(tensor.name);
    if (target.empty()) {
      return file.Error(
          absl::StrCat("tensor ", Printable(tensor.name), " has no place in a llama model"));
    }
    const auto data = [&done, &report, &progress,
                       &tensor]() -> absl::StatusOr<std::span<const std::byte>> {
      done += tensor.data.size();
      if (!progress(done, report.bytes_before)) return absl::AbortedError("stopped");
      return tensor.data;
    };
    BANTAM_RETURN_IF_ERROR(
        writer.AddTensor(target, tensor.type, tensor.shape, gguf::Writer::DataFn(data)));
    ++report.tensors;
  }
  BANTAM_RETURN_IF_ERROR(writer.Write(output));
  return report;
}

}  // namespace bantam::convert
