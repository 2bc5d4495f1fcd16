#include "runtime/plan/sensitivities.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"
#include "runtime/base/atomic_file.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/status.h"
#include "runtime/plan/budget.h"

namespace bantam::plan {
namespace {

// "blk.3.attn_q.weight" as layer 3 and "attn_q.weight"; -1 and the whole name outside of layers.
std::pair<int64_t, absl::string_view> Parts(absl::string_view name) {
  absl::string_view rest = name;
  int64_t layer = -1;
  if (!absl::ConsumePrefix(&rest, "blk.")) return {-1, name};
  const size_t dot = rest.find('.');
  if (dot == rest.npos || !absl::SimpleAtoi(rest.substr(0, dot), &layer)) return {-1, name};
  return {layer, rest.substr(dot + 1)};
}

// Kinds of tensors by a part of their name, the first that is found. Between what was measured of
// SmolLM2 135M and of Gemma 3 270M, which lie within a factor of three of each other, mostly of
// two: medians over the layers. What feeds the first layer's and the last layer's sums counts for
// more. Of the last four lines nothing was measured.
struct Typical {
  absl::string_view part;
  double sensitivity;
  double at_ends = 1;  // times that in the first and the last layer
};
constexpr Typical kTypical[] = {
    {"output.weight", 8.6}, {"attn_v", 0.45},     {"ffn_down", 0.26, 3}, {"ffn_up", 0.24, 2},
    {"ffn_gate", 0.14, 2},  {"attn_output", 0.1}, {"attn_q.", 0.09},     {"attn_k.", 0.08},
    {"attn_qkv", 0.2},      {"attn_kv_b", 0.45},  {"token_embd", 0.3},   {"", 0.2},
};

}  // namespace

Sensitivities TypicalSensitivities(const gguf::File& file) {
  const bool tied = file.FindTensor("output.weight") == nullptr;
  int64_t last = -1;
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    last = std::max(last, Parts(tensor.name).first);
  }
  Sensitivities result;
  for (const gguf::TensorInfo* tensor : ChangeableTensors(file)) {
    const auto [layer, kind] = Parts(tensor->name);
    absl::string_view part = kind;
    if (layer < 0 && tied && part == "token_embd.weight") part = "output.weight";  // is both
    for (const Typical& typical : kTypical) {
      // A head of its own, not "attn_output.weight".
      const bool found = typical.part == "output.weight" ? part == typical.part
                                                         : absl::StrContains(part, typical.part);
      if (!found) continue;
      result[tensor->name] =
          typical.sensitivity * (layer == 0 || layer == last ? typical.at_ends : 1);
      break;
    }
  }
  return result;
}

std::vector<const gguf::TensorInfo*> TensorsToMeasure(const gguf::File& file, int64_t layers) {
  std::vector<const gguf::TensorInfo*> all = ChangeableTensors(file);
  int64_t last = -1;
  for (const gguf::TensorInfo* tensor : all) last = std::max(last, Parts(tensor->name).first);
  if (layers <= 0 || layers > last) return all;
  // Early layers differ most from their neighbours.
  std::set<int64_t> chosen = {-1, 0, 1, last};
  for (int64_t i = 1; i + 3 < layers; ++i) {
    chosen.insert(1 + (last - 1) * i / std::max<int64_t>(layers - 2, 1));
  }
  std::erase_if(all, [&](const gguf::TensorInfo* tensor) {
    return !chosen.contains(Parts(tensor->name).first);
  });
  return all;
}

Sensitivities SpreadSensitivities(const gguf::File& file, std::span<const Gain> measured) {
  // Logarithms by layer, for each kind.
  std::map<std::string, std::map<int64_t, double>, std::less<>> kinds;
  double least = 1e-12;
  for (const Gain& gain : measured) {
    const auto [layer, kind] = Parts(gain.tensor->name);
    // Too little to be seen above the arithmetic's noise is still more than nothing.
    kinds[std::string(kind)][layer] = std::log(std::max(gain.sensitivity(), least));
  }
  Sensitivities typical = TypicalSensitivities(file), result;
  for (const gguf::TensorInfo* tensor : ChangeableTensors(file)) {
    const auto [layer, kind] = Parts(tensor->name);
    const auto known = kinds.find(kind);
    if (known == kinds.end()) {
      result[tensor->name] = typical[tensor->name];
      continue;
    }
    const std::map<int64_t, double>& by_layer = known->second;
    const auto above = by_layer.lower_bound(layer);
    double value;
    if (above == by_layer.end()) {
      value = std::prev(above)->second;
    } else if (above->first == layer || above == by_layer.begin()) {
      value = above->second;
    } else {
      const auto below = std::prev(above);
      const double share = static_cast<double>(layer - below->first) /
                           static_cast<double>(above->first - below->first);
      value = (1 - share) * below->second + share * above->second;
    }
    result[tensor->name] = std::exp(value);
  }
  return result;
}

absl::Status SaveSensitivities(const Sensitivities& sensitivities, const std::string& path) {
  const std::map<std::string, double> sorted(sensitivities.begin(), sensitivities.end());
  const std::string text = nlohmann::json(sorted).dump(1) + "\n";
  BANTAM_ASSIGN_OR_RETURN(const auto file, AtomicFile::Create(path));
  BANTAM_RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(text))));
  return file->Commit();
}

absl::StatusOr<Sensitivities> ReadSensitivities(const std::string& path, const gguf::File& file) {
  BANTAM_ASSIGN_OR_RETURN(const auto bytes, MappedFile::Open(path));
  const auto* text = reinterpret_cast<const char*>(bytes->data().data());
  const nlohmann::json json = nlohmann::json::parse(text, text + bytes->data().size(), nullptr,
                                                    /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is no file of sensitivities"));
  }
  Sensitivities result;
  for (const gguf::TensorInfo* tensor : ChangeableTensors(file)) {
    const auto found = json.find(std::string(tensor->name));
    const double value = found != json.end() && found->is_number() ? found->get<double>() : -1;
    if (!(value >= 0) || std::isinf(value)) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": says nothing of tensor ", tensor->name, ": it was made for another model"));
    }
    result[tensor->name] = value;
  }
  return result;
}

}  // namespace bantam::plan
