#include "runtime/convert/fused_experts.h"

#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/base/status.h"
#include "runtime/quant/decode.h"

namespace bantam::convert {
namespace {

constexpr absl::string_view kExperts = ".mlp.experts.";
constexpr int64_t kBlock = 32, kBytes = 16;

struct Name {
  std::string layer;
  absl::string_view matrix, kind;  // "gate_up" or "down"; "blocks", "scales" or "bias"
};

std::optional<Name> Parse(absl::string_view source) {
  absl::string_view rest = source;
  Name name;
  if (!absl::ConsumePrefix(&rest, "model.layers.")) return std::nullopt;
  const size_t at = rest.find(kExperts);
  int layer = 0;
  if (at == rest.npos || !absl::SimpleAtoi(rest.substr(0, at), &layer) || layer < 0) {
    return std::nullopt;
  }
  name.layer = absl::StrCat(layer);
  rest.remove_prefix(at + kExperts.size());
  for (absl::string_view matrix : {"gate_up", "down"}) {
    for (absl::string_view kind : {"blocks", "scales", "bias"}) {
      if (rest != absl::StrCat(matrix, "_proj_", kind)) continue;
      name.matrix = matrix;
      name.kind = kind;
      return name;
    }
  }
  return std::nullopt;
}

}  // namespace

bool IsFused(absl::string_view source) { return Parse(source).has_value(); }

absl::StatusOr<std::vector<FusedPart>> PartsOf(const Checkpoint& checkpoint,
                                               const SourceTensor& source) {
  const std::optional<Name> name = Parse(source.name);
  std::vector<FusedPart> parts;
  if (!name || name->kind == "scales") return parts;
  const auto failed = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", source.name, " ", what));
  };
  FusedPart part;
  part.values = &source;
  const bool blocks = name->kind == "blocks";
  if (blocks) {
    const bool fits = source.dtype == "U8" && source.shape.size() == 4 && source.shape[3] == kBytes;
    if (!fits) return failed("is not made of blocks of 16 bytes");
    std::string of_scales = source.name;
    of_scales.replace(of_scales.size() - name->kind.size(), name->kind.size(), "scales");
    part.scales = checkpoint.Find(of_scales);
    const bool scaled =
        part.scales != nullptr && part.scales->dtype == "U8" &&
        part.scales->shape == std::vector<int64_t>(source.shape.begin(), source.shape.end() - 1);
    if (!scaled) return failed("has no scales of its shape");
    part.shape = {source.shape[2] * kBlock, source.shape[1], source.shape[0]};
  } else {
    const auto type = source.type();
    const bool fits = source.shape.size() == 2 && type.has_value() &&
                      !quant::Traits(*type).is_quantized && *type != quant::Type::kF64;
    if (!fits) return failed("is no bias of F32, F16 or BF16 for each expert");
    part.shape = {source.shape[1], source.shape[0]};
  }
  const absl::string_view suffix = blocks ? ".weight" : ".bias";
  const auto named = [&](absl::string_view matrix) {
    return absl::StrCat("blk.", name->layer, ".ffn_", matrix, "_exps", suffix);
  };
  if (name->matrix == "down") {
    part.name = named("down");
    parts.push_back(part);
    return parts;
  }
  int64_t& rows = part.shape[blocks ? 1 : 0];
  if (rows % 2 != 0) return failed("has an odd number of rows");
  rows /= 2;
  part.step = 2;
  for (absl::string_view matrix : {"gate", "up"}) {
    part.name = named(matrix);
    parts.push_back(part);
    part.first = 1;
  }
  return parts;
}

absl::Status WritePart(const FusedPart& part, int64_t expert, std::vector<std::byte>& out) {
  const int64_t rows = part.shape[part.scales != nullptr ? 1 : 0];
  const int64_t all_rows = rows * part.step;
  if (part.scales == nullptr) {
    const quant::Type type = *part.values->type();
    const int64_t bytes = quant::Traits(type).block_bytes;
    std::vector<float> values(all_rows);
    quant::DecodeRow(type, part.values->data.data() + expert * all_rows * bytes, values.data(),
                     all_rows);
    out.resize(rows * sizeof(float));
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(out.data() + row * sizeof(float), &values[part.first + row * part.step],
                  sizeof(float));
    }
    return absl::OkStatus();
  }
  const int64_t blocks = part.shape[0] / kBlock;
  out.resize(rows * blocks * (kBytes + 1));
  std::byte* to = out.data();
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t first = (expert * all_rows + part.first + row * part.step) * blocks;
    for (int64_t block = first; block < first + blocks; ++block) {
      const std::byte* from = part.values->data.data() + block * kBytes;
      const auto quant = [from](int64_t i) {
        return i % 2 == 0 ? from[i / 2] & std::byte{15} : from[i / 2] >> 4;
      };
      *to++ = part.scales->data[block];
      for (int64_t j = 0; j < kBytes; ++j) *to++ = quant(j) | quant(j + kBytes) << 4;
    }
  }
  return absl::OkStatus();
}

}  // namespace bantam::convert
