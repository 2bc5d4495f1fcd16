// Damaged model files, all the way from the file to logits: an error or an answer, never a crash.
// Run under the sanitizers by tests/run.sh.

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "runtime/engine/engine.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), bytes.size());
}

// Loads, and if that works runs a prompt and a chat; whatever comes must be a Status.
bool LoadAndRun(const std::string& path) {
  auto model = engine::Model::Load(path, {.device = "cpu", .threads = 1});
  if (!model.ok()) {
    EXPECT_EQ(model.status().message().find('\n'), absl::string_view::npos) << model.status();
    return false;
  }
  auto session = engine::Session::Create(*model, {.context = 8, .ubatch = 4});
  if (!session.ok()) return false;
  const auto& tokenizer = (*model)->tokenizer();
  std::string text = "the end";
  if (auto chat = (*model)->FormatChat({{"user", "hi"}}, true); chat.ok()) text = *chat;
  std::vector<int32_t> ids = tokenizer.Encode(text, {.parse_special = true});
  if (ids.size() > 6) ids.resize(6);
  tokenizer.Decode(ids, true);
  return (*session)->Decode(ids).ok();
}

TEST(Mutation, DamagedModelsNeverCrash) {
  testing::TempDir dir;
  const std::string path = dir.File("m.gguf");
  testing::WriteTinyLlama(
      path, {.embedding = 32, .heads = 2, .heads_kv = 1, .feed_forward = 32, .biases = true});
  const std::string original = ReadFile(path);
  ASSERT_TRUE(LoadAndRun(path));
  // Everything before the tensors' data is metadata and tensor descriptions: mutations there reach
  // the most code. The tensors themselves may hold any bits.
  const size_t data = (*gguf::File::Open(path))->tensors()[0].offset;
  std::mt19937_64 random(20240607);
  int accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = original;
    const int edits = 1 + static_cast<int>(random() % 3);
    for (int e = 0; e < edits; ++e) {
      const size_t at = random() % (round % 8 == 0 ? bytes.size() : data);
      const uint64_t interesting[] = {0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, ~0ull, random()};
      const uint64_t value = interesting[random() % std::size(interesting)];
      const size_t width = std::min<size_t>(size_t{1} << (random() % 4), bytes.size() - at);
      std::memcpy(bytes.data() + at, &value, width);
    }
    if (round % 50 == 0) bytes.resize(random() % bytes.size());
    WriteFile(path, bytes);
    accepted += LoadAndRun(path);
  }
  // Damage to names of unused keys and to weights is harmless; all refused would mean that the
  // test never got past the header.
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 2900);
}

}  // namespace
}  // namespace bantam
