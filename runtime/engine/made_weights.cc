#include "runtime/engine/made_weights.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace bantam::engine {

std::vector<std::byte> MadeWeights::Entry::Joined() const {
  std::vector<std::byte> joined;
  size_t bytes = 0;
  for (const auto& piece : pieces) bytes += piece.size();
  joined.reserve(bytes);
  for (const auto& piece : pieces) joined.insert(joined.end(), piece.begin(), piece.end());
  return joined;
}

MadeWeights::MadeWeights(const gguf::File& file, std::span<const schedule::HotExperts> hot) {
  for (const schedule::HotExperts& layer : hot) {
    const std::string prefix = absl::StrCat("blk.", layer.layer, ".");
    for (const gguf::TensorInfo& tensor : file.tensors()) {
      if (!absl::StartsWith(tensor.name, prefix) || !absl::StrContains(tensor.name, "_exps.")) {
        continue;
      }
      for (const bool is_hot : {false, true}) {
        if (is_hot || layer.cold_apart) AddSide(tensor, layer, is_hot);
      }
    }
    for (const bool is_hot : {false, true}) {
      const std::vector<int32_t> slots = schedule::Slots(layer, is_hot);
      const std::span<const std::byte> bytes = std::as_bytes(std::span(slots));
      Entry& entry = entries_[schedule::SlotsName(layer.layer, is_hot)];
      entry.type = quant::Type::kI32;
      entry.shape = {layer.count, 1, 1, 1};
      entry.own.assign(bytes.begin(), bytes.end());
      entry.pieces = {entry.own};
    }
  }
}

void MadeWeights::AddSide(const gguf::TensorInfo& tensor, const schedule::HotExperts& layer,
                          bool is_hot) {
  const std::vector<int32_t> experts = schedule::ExpertsOf(layer, is_hot);
  Entry& entry = entries_[schedule::SideName(tensor.name, is_hot)];
  entry.tensor = &tensor;
  entry.type = tensor.type;
  entry.shape = tensor.shape;
  // A matrix to an expert, or a row of a bias.
  entry.shape[tensor.shape[2] == layer.count ? 2 : 1] = std::ssize(experts);
  const size_t bytes = tensor.data.size() / static_cast<size_t>(layer.count);
  for (size_t i = 0; i < experts.size();) {
    size_t count = 1;
    while (i + count < experts.size() && experts[i + count] == experts[i + count - 1] + 1) ++count;
    entry.pieces.push_back(
        tensor.data.subspan(static_cast<size_t>(experts[i]) * bytes, count * bytes));
    i += count;
  }
}

const MadeWeights::Entry* MadeWeights::Find(absl::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

}  // namespace bantam::engine
