#include "runtime/tokenizer/partition.h"

#include <algorithm>
#include <functional>
#include <set>

namespace bantam::tokenizer {
namespace {

constexpr size_t kSpaces = 6;
constexpr char kSpace[kSpaces + 1] = " \t\n\v\f\r";

size_t PairIndex(char a, char b) {
  return static_cast<size_t>(static_cast<unsigned char>(a)) << 8 | static_cast<unsigned char>(b);
}

size_t EndOfSpaces(absl::string_view text, size_t from, size_t end) {
  const size_t stop = text.find_first_not_of(absl::string_view(kSpace, kSpaces), from);
  return std::min(stop, end);
}

}  // namespace

SpecialPartition::SpecialPartition(const Vocabulary& v, bool strip_after) {
  std::set<size_t, std::greater<>> lengths;
  for (TokenId id = 0; id < v.size(); ++id) {
    const absl::string_view text = v.texts[id];
    const TokenKind kind = v.kinds[id];
    const bool only_on_request = kind == TokenKind::kControl || kind == TokenKind::kUnknown;
    if (text.empty() || !(only_on_request || kind == TokenKind::kUserDefined)) continue;
    // Phi-3's tokenizer strips after all but these.
    const bool strip = strip_after && text != "<unk>" && text != "<s>" && text != "<|endoftext|>";
    specials_.emplace(text, Special{id, only_on_request, strip});
    lengths.insert(text.size());
    first_.set(static_cast<unsigned char>(text[0]));
    for (size_t b = 0; b < 256; ++b) {
      if (text.size() == 1 || b == static_cast<unsigned char>(text[1])) {
        pairs_.set(PairIndex(text[0], static_cast<char>(b)));
      }
    }
  }
  lengths_.assign(lengths.begin(), lengths.end());
}

std::vector<Fragment> SpecialPartition::Split(absl::string_view text, bool parse_special) const {
  if (text.empty()) return {};
  std::vector<size_t> candidates;  // where a special may start
  if (!specials_.empty()) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (!first_[static_cast<unsigned char>(text[i])]) continue;
      // The last byte stands alone: only specials of one byte fit, and their length is checked.
      if (i + 1 == text.size() || pairs_[PairIndex(text[i], text[i + 1])]) candidates.push_back(i);
    }
  }
  if (candidates.empty()) return {{text, kNoToken}};

  struct Cut {
    size_t begin, end;  // end includes spaces stripped
    TokenId token;
  };
  std::vector<Cut> cuts;  // in order of position
  std::vector<Cut> found;
  for (const size_t length : lengths_) {
    found.clear();
    // Both candidates and cuts are sorted, so one walk sees which candidates are still free.
    size_t next_cut = 0;
    size_t free_from = 0;
    size_t kept = 0;
    for (const size_t i : candidates) {
      while (next_cut < cuts.size() && cuts[next_cut].begin <= i) {
        free_from = std::max(free_from, cuts[next_cut++].end);
      }
      if (i < free_from) continue;  // taken, for good
      candidates[kept++] = i;
      const size_t limit = next_cut < cuts.size() ? cuts[next_cut].begin : text.size();
      if (limit - i < length) continue;
      const auto it = specials_.find(text.substr(i, length));
      if (it == specials_.end() || (it->second.only_on_request && !parse_special)) continue;
      size_t end = i + length;
      if (it->second.strip_after) end = EndOfSpaces(text, end, limit);
      found.push_back({i, end, it->second.id});
      free_from = end;
      --kept;
    }
    candidates.resize(kept);
    if (found.empty()) continue;
    const size_t middle = cuts.size();
    cuts.insert(cuts.end(), found.begin(), found.end());
    std::inplace_merge(cuts.begin(), cuts.begin() + static_cast<ptrdiff_t>(middle), cuts.end(),
                       [](const Cut& a, const Cut& b) { return a.begin < b.begin; });
  }

  std::vector<Fragment> fragments;
  fragments.reserve(2 * cuts.size() + 1);
  size_t position = 0;
  for (const Cut& cut : cuts) {
    if (cut.begin > position) {
      fragments.push_back({text.substr(position, cut.begin - position), kNoToken});
    }
    fragments.push_back({{}, cut.token});
    position = cut.end;
  }
  if (position < text.size()) fragments.push_back({text.substr(position), kNoToken});
  return fragments;
}

}  // namespace bantam::tokenizer
