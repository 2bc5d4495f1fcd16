// A megabyte of text: ids equal to llama.cpp's, by their hash, for every vocabulary.
#include "tests/tokenizer/long_text.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "runtime/tokenizer/tokenizer.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"

namespace bantam::tokenizer {
namespace {

uint64_t Fnv1a(const void* data, size_t size) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (size_t i = 0; i < size; ++i) {
    hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001B3u;
  }
  return hash;
}

TEST(LongText, EqualsLlamaCpp) {
  const std::string text = LongText::Make();
  // For whoever makes the golden file.
  if (const char* path = std::getenv("BANTAM_LONG_TEXT")) {
    std::ofstream(path, std::ios::binary) << text;
  }
  ASSERT_EQ(Fnv1a(text.data(), text.size()), 8933829038879031949u)
      << "the text is not that of the golden ids";
  const std::vector<char> golden = testing::ReadGolden<char>("tokenizer/long.txt");
  std::istringstream lines(std::string(golden.begin(), golden.end()));
  std::string name;
  size_t count = 0;
  uint64_t hash = 0;
  int vocabularies = 0;
  while (lines >> name >> count >> std::hex >> hash >> std::dec) {
    SCOPED_TRACE(name);
    const std::string path = testing::FetchedModel(
        name == "smollm2" ? testing::kSmolLm2 : "vocab/ggml-vocab-" + name + ".gguf");
    if (path.empty()) {
      GTEST_SKIP() << name
                   << " is not there: run tests/models/fetch.sh and tests/models/fetch_vocabs.sh";
    }
    auto file = gguf::File::Open(path);
    ASSERT_TRUE(file.ok()) << file.status();
    auto tokenizer = Tokenizer::FromGguf(**file);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    double best = 1e9;
    std::vector<TokenId> ids;
    for (int run = 0; run < 3; ++run) {
      const auto start = std::chrono::steady_clock::now();
      ids = (*tokenizer)->Encode(text, {false, false});
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      best = std::min(best, seconds.count());
    }
    std::printf("%s: %.1f MB/s\n", name.c_str(), 1e-6 * static_cast<double>(text.size()) / best);
    EXPECT_EQ(ids.size(), count);
    EXPECT_EQ(Fnv1a(ids.data(), ids.size() * sizeof(TokenId)), hash);
    ++vocabularies;
  }
  EXPECT_EQ(vocabularies, 20);
}

}  // namespace
}  // namespace bantam::tokenizer
