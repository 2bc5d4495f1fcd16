#include "runtime/schedule/expert_use.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "runtime/base/atomic_file.h"

namespace bantam::schedule {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;
// Once a layer has so many choices, what comes next halves what was there.
constexpr double kMostChoices = 1 << 22;

std::string PathOf(const std::string& folder, const std::string& key) {
  return absl::StrCat(folder, "/experts/", key, ".json");
}

double Sum(std::span<const double> counts) {
  return std::accumulate(counts.begin(), counts.end(), 0.0);
}

}  // namespace

bool ExpertUse::empty() const { return Choices() <= 0; }

double ExpertUse::Choices() const {
  double most = 0;
  for (const std::vector<double>& layer : counts) most = std::max(most, Sum(layer));
  return most;
}

double ExpertUse::Share(int layer, std::span<const int32_t> experts) const {
  if (layer < 0 || layer >= std::ssize(counts)) return 0;
  const double all = Sum(counts[layer]);
  double some = 0;
  for (const int32_t e : experts) some += counts[layer][e];
  return all > 0 ? some / all : 0;
}

std::vector<int32_t> ExpertUse::Ranked(int layer) const {
  if (layer < 0 || layer >= std::ssize(counts) || Sum(counts[layer]) <= 0) return {};
  std::vector<int32_t> ranked(counts[layer].size());
  std::iota(ranked.begin(), ranked.end(), 0);
  std::stable_sort(ranked.begin(), ranked.end(),
                   [&](int32_t a, int32_t b) { return counts[layer][a] > counts[layer][b]; });
  return ranked;
}

void ExpertUse::Add(const ExpertUse& other) {
  if (counts.size() < other.counts.size()) counts.resize(other.counts.size());
  for (size_t l = 0; l < other.counts.size(); ++l) {
    if (counts[l].size() < other.counts[l].size()) counts[l].resize(other.counts[l].size());
    for (size_t e = 0; e < other.counts[l].size(); ++e) counts[l][e] += other.counts[l][e];
  }
}

std::string ExpertUseKey(const gguf::File& file) {
  const gguf::TensorInfo* router = nullptr;
  int64_t routers = 0;
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    if (!absl::EndsWith(tensor.name, ".ffn_gate_inp.weight")) continue;
    if (router == nullptr) router = &tensor;
    ++routers;
  }
  if (router == nullptr) return "";
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const std::byte b : router->data) {
    hash = (hash ^ std::to_integer<uint64_t>(b)) * 0x100000001b3;
  }
  return absl::StrCat(routers, "x", router->shape[1], "-", absl::Hex(hash, absl::kZeroPad16));
}

ExpertUse ReadExpertUse(const std::string& folder, const std::string& key) {
  ExpertUse use;
  if (folder.empty() || key.empty()) return use;
  std::ifstream in(PathOf(folder, key));
  const json kept = json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!kept.is_object() || kept.value("version", json()) != kVersion) return use;
  const auto layers = kept.find("counts");
  if (layers == kept.end() || !layers->is_array()) return use;
  for (const json& layer : *layers) {
    std::vector<double>& counts = use.counts.emplace_back();
    if (!layer.is_array()) return {};
    for (const json& count : layer) {
      if (!count.is_number()) return {};
      counts.push_back(count.get<double>());
      if (!std::isfinite(counts.back()) || counts.back() < 0) return {};
    }
  }
  return use;
}

void AddExpertUse(const std::string& folder, const std::string& key, const ExpertUse& use) {
  if (folder.empty() || key.empty() || use.empty()) return;
  ExpertUse all = ReadExpertUse(folder, key);
  const double scale = all.Choices() > kMostChoices ? 0.5 : 1;
  for (std::vector<double>& layer : all.counts) {
    for (double& count : layer) count *= scale;
  }
  all.Add(use);
  std::error_code ignored;
  std::filesystem::create_directories(absl::StrCat(folder, "/experts"), ignored);
  auto file = AtomicFile::Create(PathOf(folder, key));
  if (!file.ok()) return;
  const std::string text = json({{"version", kVersion}, {"counts", all.counts}}).dump() + "\n";
  if (!(*file)->Append(std::as_bytes(std::span(text))).ok()) return;
  (*file)->Commit().IgnoreError();
}

}  // namespace bantam::schedule
