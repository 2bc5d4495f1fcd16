// Damaged files by the ten thousand, from a fixed seed: an error of one line or a file that keeps
// its promises, no crash, and no more memory than the file justifies. tests/fuzz searches further.

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>
#include <random>

#include "tests/gguf/builder.h"
#include "tests/gguf/exercise.h"

namespace {
std::atomic<size_t> live_bytes{0};
std::atomic<size_t> peak_bytes{0};
}  // namespace

void* operator new(size_t size) {
  void* p = std::malloc(size);
  if (p == nullptr) std::abort();
  const size_t now = live_bytes += malloc_usable_size(p);
  if (now > peak_bytes) peak_bytes = now;
  return p;
}
void operator delete(void* p) noexcept {
  if (p != nullptr) live_bytes -= malloc_usable_size(p);
  std::free(p);
}
void operator delete(void* p, size_t) noexcept { operator delete(p); }

namespace bantam::gguf {
namespace {

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  const std::filesystem::directory_iterator folder(std::string(BANTAM_GOLDEN_DIR) + "/gguf");
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : folder) {
    if (entry.path().extension() == ".gguf") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    std::ifstream in(path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  // Small and dense: most mutations hit something that matters.
  Bytes b;
  b.Header(3, 2, 4).Key("general.alignment", MetaType::kUint32).U32(8);
  b.Key("a", MetaType::kArray).ArrayOf(MetaType::kArray, 2);
  b.ArrayOf(MetaType::kString, 1).String("x").ArrayOf(MetaType::kBool, 1).Raw("\1");
  b.Key("b", MetaType::kString).String("y").Key("c", MetaType::kFloat32).Put(1.0f);
  b.Tensor("t", {2, 1}, 0, 0).Tensor("u", {}, 24, 8).Pad(8).Raw(std::string(16, '\1'));
  seeds.push_back(b.str());
  return seeds;
}

std::string Mutate(const std::string& seed, const std::string& other, std::mt19937_64& random) {
  std::string bytes = seed;
  const auto below = [&](size_t n) { return n == 0 ? 0 : static_cast<size_t>(random() % n); };
  const int edits = 1 + static_cast<int>(below(4));
  for (int e = 0; e < edits; ++e) {
    const size_t at = below(bytes.size());
    switch (below(8)) {
      case 0:  // one bit
        if (!bytes.empty()) bytes[at] ^= static_cast<char>(1 << below(8));
        break;
      case 1:
        bytes.resize(at);
        break;
      case 2:
        bytes.erase(at, below(20));
        break;
      case 3:
        bytes.insert(at, bytes.substr(below(bytes.size()), below(40)));
        break;
      case 4: {  // continue with another file
        const size_t from = below(other.size());
        bytes = bytes.substr(0, at) + other.substr(from);
        break;
      }
      default: {  // a number where it may be a count, a length, an offset, a type
        const uint64_t near = below(64);
        const uint64_t values[] = {0,
                                   near,
                                   bytes.size() - near,
                                   0x7F,
                                   0xFF,
                                   0x7FFFFFFF,
                                   0xFFFFFFFF,
                                   uint64_t{1} << 32,
                                   uint64_t{1} << 60,
                                   (uint64_t{1} << 61) + near,
                                   (uint64_t{1} << 62) - 8 * near,
                                   ~uint64_t{0} - near,
                                   ~uint64_t{0} >> 1,
                                   random()};
        const uint64_t value = values[below(std::size(values))];
        const size_t width = std::min<size_t>(size_t{1} << below(4), bytes.size() - at);
        std::memcpy(bytes.data() + at, &value, width);
      }
    }
  }
  return bytes;
}

TEST(Mutation, DamagedFilesNeverCrashAndAllocateLittle) {
  const std::vector<std::string> seeds = Seeds();
  std::mt19937_64 random(20240815);
  constexpr int kRounds = 60000;
  int accepted = 0;
  uint64_t sum = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::string bytes =
        Mutate(seeds[random() % seeds.size()], seeds[random() % seeds.size()], random);
    // A copy of exactly this size, so that the address sanitizer guards its end.
    const std::vector<char> guarded(bytes.begin(), bytes.end());
    const size_t before = live_bytes;
    peak_bytes = before;
    const auto file = File::Parse(std::as_bytes(std::span(guarded)), "m.gguf");
    // 16 times what was read is parser.h's promise; the constant covers the file object and an
    // error message.
    ASSERT_LE(peak_bytes - before, 16 * bytes.size() + 8192) << "round " << round;
    if (file.ok()) {
      ++accepted;
      sum += Exercise(**file);
    } else {
      const absl::string_view message = file.status().message();
      ASSERT_EQ(message.substr(0, 8), "m.gguf: ") << "round " << round;
      ASSERT_EQ(message.find('\n'), absl::string_view::npos) << "round " << round;
      ASSERT_LT(message.size(), 500u) << "round " << round;
    }
  }
  EXPECT_NE(sum, 0u);
  // Both outcomes must be common, else the test would exercise one path only.
  EXPECT_GT(accepted, kRounds / 20);
  EXPECT_LT(accepted, kRounds * 19 / 20);
}

// The files that cost the most memory per byte: many tiny entries.
TEST(Mutation, MemoryStaysInProportionForTheWorstFiles) {
  constexpr int kCount = 20000;
  Bytes keys, strings, arrays, tensors;
  keys.Header(3, 0, kCount);
  tensors.Header(3, kCount, 0);
  strings.Header(3, 0, 1).Key("k", MetaType::kArray).ArrayOf(MetaType::kString, kCount);
  arrays.Header(3, 0, 1).Key("k", MetaType::kArray).ArrayOf(MetaType::kArray, kCount);
  for (int i = 0; i < kCount; ++i) {
    const std::string name = std::to_string(i);
    keys.Key(name, MetaType::kUint8).Raw("x");
    strings.String("");
    arrays.ArrayOf(MetaType::kUint8, 0);
    tensors.Tensor(name, {}, 24, 32 * i);
  }
  tensors.Pad().Raw(std::string(32 * kCount, '\0'));
  for (const std::string& bytes : {keys.str(), strings.str(), arrays.str(), tensors.str()}) {
    const size_t before = live_bytes;
    peak_bytes = before;
    const auto file = ParseBytes(bytes);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_LE(peak_bytes - before, 16 * bytes.size() + 8192);
  }
}

}  // namespace
}  // namespace bantam::gguf
