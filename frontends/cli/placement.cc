#include "frontends/cli/placement.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/base/byte_size.h"

namespace bantam::cli {
namespace {

using schedule::DeviceMemory;
using schedule::Part;
using schedule::Placement;

// "0-3, 7"
std::string Ranges(const std::vector<int>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    absl::StrAppend(&text, text.empty() ? "" : ", ", numbers[i]);
    if (end > i + 1) absl::StrAppend(&text, "-", numbers[end - 1]);
    i = end;
  }
  return text;
}

// "embedding; attention 0-11; KV 0-11; output head", of the groups that `is_named` says.
std::string Groups(const Placement& placement, absl::FunctionRef<bool(size_t)> is_named) {
  std::map<Part, std::vector<int>> layers;
  for (size_t g = 0; g < placement.groups.size(); ++g) {
    if (!is_named(g)) continue;
    std::vector<int>& of_part = layers[placement.groups[g].part];
    if (placement.groups[g].layer >= 0) of_part.push_back(placement.groups[g].layer);
  }
  std::string text;
  for (auto& [part, numbers] : layers) {
    std::sort(numbers.begin(), numbers.end());
    absl::StrAppend(&text, text.empty() ? "" : "; ", schedule::PartName(part),
                    numbers.empty() ? "" : " ", Ranges(numbers));
  }
  return text.empty() ? "nothing" : text;
}

// Beside weights and KV cache.
uint64_t ComputeBytes(const DeviceMemory& memory) {
  return memory.inputs + memory.compute + memory.scratch + memory.streamed;
}

// What is used of all there is: weights #, KV cache =, the rest +, free .
std::string Bar(const DeviceMemory& memory, uint64_t all) {
  constexpr int kWidth = 30;
  std::string bar;
  const auto add = [&](uint64_t bytes, char mark) {
    const double share = all == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(all);
    const int count = bytes == 0 ? 0 : std::max(1, static_cast<int>(share * kWidth + 0.5));
    bar.append(std::min<size_t>(count, kWidth - bar.size()), mark);
  };
  add(memory.weights, '#');
  add(memory.kv_cache, '=');
  add(ComputeBytes(memory), '+');
  bar.resize(kWidth, '.');
  return bar;
}

// Why no layer's experts are on two devices, where some are not on a card.
std::string WhyNotSplit(const engine::Model& model) {
  const Placement& placement = model.placement();
  const int host = static_cast<int>(model.devices().size()) - 1;
  bool in_ram = false;
  for (size_t g = 0; g < placement.groups.size(); ++g) {
    in_ram |= placement.groups[g].part == Part::kExperts && placement.device[g] == host;
  }
  if (!in_ram || !placement.hot.empty()) return "";
  return model.expert_use().empty()
             ? "a layer's experts stay together: which are used most was not counted yet\n"
             : "a layer's experts stay together: nothing is gained by splitting them\n";
}

std::string Predicted(double tokens, double seconds) {
  return seconds > 0 ? absl::StrFormat(" (predicted %.1f)", tokens / seconds) : "";
}

}  // namespace

std::string PlacementTable(const Placement& placement, std::span<const DeviceUse> uses) {
  std::string text = "placement # weights, = KV, + compute, . free\n";
  for (size_t d = 0; d < uses.size(); ++d) {
    const DeviceMemory& memory = uses[d].memory;
    absl::StrAppendFormat(
        &text, "  %-10s [%s] weights %s, KV %s, compute %s, free %s\n             %s\n",
        uses[d].name, Bar(memory, memory.total() + uses[d].free), FormatByteSize(memory.weights),
        FormatByteSize(memory.kv_cache), FormatByteSize(ComputeBytes(memory)),
        FormatByteSize(uses[d].free),
        Groups(placement, [&](size_t g) { return placement.device[g] == static_cast<int>(d); }));
  }
  for (const schedule::HotExperts& hot : placement.hot) {
    absl::StrAppendFormat(&text, "  blk.%d experts %d of %d on %s (%.0f %% of use)\n", hot.layer,
                          hot.experts.size(), hot.count, uses[hot.device].name, 100 * hot.share);
  }
  const schedule::Streaming& streaming = placement.streaming;
  if (streaming.rows > 0) {
    absl::StrAppendFormat(&text, "  in steps of %d tokens or more weights are brought to %s: %s\n",
                          streaming.rows, uses[streaming.device].name,
                          Groups(placement, [&](size_t g) { return streaming.is_streamed[g]; }));
  }
  return text;
}

std::string DescribePlacement(const engine::Session& session) {
  const engine::Model& model = session.model();
  if (model.devices().size() < 2) return "";
  const Placement& placement = model.placement();
  const std::vector<DeviceMemory> allocated = session.device_memory();
  std::vector<DeviceUse> uses;
  for (size_t d = 0; d < allocated.size(); ++d) {
    uses.push_back({model.devices()[d]->name(), allocated[d], model.devices()[d]->memory().free});
    uses.back().memory.weights += model.weights()[d].mapped_bytes();
  }
  return absl::StrCat(
      PlacementTable(placement, uses), WhyNotSplit(model),
      absl::StrFormat("predicted prompt %.1f tok/s, generate %.1f tok/s\n",
                      static_cast<double>(placement.prompt_rows) / placement.prompt_seconds,
                      1 / placement.decode_seconds));
}

std::string PredictedPromptSpeed(const engine::Model& model) {
  const Placement& placement = model.placement();
  return Predicted(static_cast<double>(placement.prompt_rows), placement.prompt_seconds);
}

std::string PredictedGenerateSpeed(const engine::Model& model) {
  return Predicted(1, model.placement().decode_seconds);
}

}  // namespace bantam::cli
