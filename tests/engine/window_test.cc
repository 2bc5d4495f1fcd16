// Layers with a sliding window keep a ring of cells. Whatever is done to the text, the logits are
// those of a cache that keeps everything.

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string_view>

#include "runtime/engine/engine.h"
#include "runtime/engine/generator.h"
#include "runtime/engine/window_ring.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/logits.h"
#include "tests/support/tiny_model.h"

namespace bantam::engine {
namespace {

using ::bantam::testing::NormalizedError;

constexpr auto kF32 = quant::Type::kF32;
constexpr int64_t kContext = 256;
constexpr int64_t kCells = 64;  // of a ring for steps of up to 32 tokens and windows of 9 and 12

struct Case {
  const char* name;
  int64_t windowed, full;  // layers
};

class Window : public ::testing::TestWithParam<Case> {
 protected:
  // The device cpu rounds what meets MXFP4 experts to int8, where 1e-7 can become 1e-3.
  static bool IsRounded() { return std::string_view(GetParam().name) == "gpt_oss"; }
  void SetUp() override { model_ = Load(IsRounded() ? "reference" : "cpu"); }

  static std::shared_ptr<Model> Load(const std::string& device) {
    auto model = Model::Load(absl::StrCat(BANTAM_GOLDEN_DIR, "/models/", GetParam().name, ".gguf"),
                             {.device = device});
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? *std::move(model) : nullptr;
  }
  std::unique_ptr<Session> Open(SessionOptions options, std::shared_ptr<Model> model = nullptr) {
    options.context = kContext;
    auto session = Session::Create(model == nullptr ? model_ : std::move(model), options);
    EXPECT_TRUE(session.ok()) << session.status();
    return session.ok() ? *std::move(session) : nullptr;
  }
  std::unique_ptr<Session> Ring() { return Open({.ubatch = 8, .kv_type = kF32, .verify_rows = 6}); }
  // A step may be as long as the context, so that all cells are kept.
  std::unique_ptr<Session> Full() { return Open({.ubatch = kContext, .kv_type = kF32}); }

  std::vector<TokenId> Text(int64_t count, uint64_t seed = 1) const {
    std::mt19937_64 random(seed);
    std::vector<TokenId> tokens(count);
    for (TokenId& t : tokens) t = static_cast<TokenId>(random() % 12 + 60);
    return tokens;
  }

  std::shared_ptr<Model> model_;
};

// The same numbers are summed, but the blocks of cells in another order: in f32 that is some 1e-7.
// A token lost, or seen from outside its window, is more than 1e-3.
constexpr double kTolerance = 2e-6;
// What is written to f16 cells may then fall on the other side of a rounding.
constexpr double kToleranceF16 = 1e-3;
constexpr double kToleranceInt8 = 5e-3;

// Both sessions hold the same text: they go on with the same logits.
void ExpectSame(Session& ring, Session& full, absl::string_view what) {
  ASSERT_EQ(ring.position(), full.position()) << what;
  for (TokenId token = 65; token < 68; ++token) {
    ASSERT_TRUE(ring.Decode({&token, 1}).ok()) << what;
    ASSERT_TRUE(full.Decode({&token, 1}).ok()) << what;
    EXPECT_LT(NormalizedError(ring.Logits(), full.Logits()), kTolerance) << what;
  }
}

TEST_P(Window, EveryStepEqualsAFullCache) {
  for (const char* device : {"cpu", "reference"}) {
    const auto model = Load(device);
    for (const quant::Type type : {kF32, quant::Type::kF16}) {
      auto ring = Open({.ubatch = 8, .kv_type = type}, model);
      auto full = Open({.ubatch = kContext, .kv_type = type}, model);
      const std::vector<TokenId> text = Text(kContext);
      std::span<const TokenId> rest(text);
      double worst = 0;
      for (int64_t step = 0; !rest.empty(); ++step) {
        const size_t count = std::min<size_t>(rest.size(), step % 3 == 2 ? 7 : 1);
        ASSERT_TRUE(ring->Decode(rest.first(count), LogitsMode::kAll).ok());
        ASSERT_TRUE(full->Decode(rest.first(count), LogitsMode::kAll).ok());
        for (size_t i = 0; i < count; ++i) {
          const double found = NormalizedError(ring->Logits(i), full->Logits(i));
          const bool is_rounded = IsRounded() && std::string_view(device) == "cpu";
          EXPECT_LT(found, is_rounded     ? kToleranceInt8
                           : type == kF32 ? kTolerance
                                          : kToleranceF16)
              << full->position() - count + i;
          worst = std::max(worst, found);
        }
        rest = rest.subspan(count);
      }
      std::printf("%s on %s, %s: largest difference %.1e\n", GetParam().name, device,
                  std::string(quant::Name(type)).c_str(), worst);
    }
  }
}

TEST_P(Window, TakesTheMemoryOfTheWindow) {
  const auto [name, windowed, full_layers] = GetParam();
  auto ring = Ring();
  auto full = Full();
  const uint64_t layer = full->memory().kv_cache / (windowed + full_layers);  // of kContext tokens
  EXPECT_EQ(ring->memory().kv_cache, layer * full_layers + layer * kCells / kContext * windowed);
  // And this is what is planned with.
  const auto predicted = PredictMemory(model_->architecture(), model_->device().limits(),
                                       {.context = kContext, .ubatch = 8, .kv_type = kF32});
  ASSERT_TRUE(predicted.ok()) << predicted.status();
  EXPECT_EQ(predicted->kv_cache, ring->memory().kv_cache);
}

TEST_P(Window, GoesBack) {
  auto ring = Ring();
  auto full = Full();
  const std::vector<TokenId> text = Text(200);
  // A little, which the ring still holds; again, when it has already lost some; far; to the start.
  for (int64_t back : {1, 20, 30, 45, 120, 0}) {
    for (Session* s : {ring.get(), full.get()}) {
      ASSERT_TRUE(s->Decode(std::span(text).subspan(s->position())).ok());
      ASSERT_TRUE(s->Truncate(back == 0 ? 0 : s->position() - back).ok());
      if (back == 20) {
        ASSERT_TRUE(s->Decode(std::span(text).first(2)).ok());
      }
    }
    // A ring of kCells holds them beside a window of up to 12, or nothing is of use.
    EXPECT_EQ(ring->computed(), back <= kCells - 12 - 2 ? ring->position() : 0) << back;
    EXPECT_EQ(full->computed(), full->position());
    ExpectSame(*ring, *full, absl::StrCat("back ", back));
    for (Session* s : {ring.get(), full.get()}) ASSERT_TRUE(s->Truncate(s->position() - 3).ok());
  }
  for (Session* s : {ring.get(), full.get()}) {
    ASSERT_TRUE(s->Decode(std::span(text).subspan(s->position())).ok());
    ASSERT_TRUE(s->Drop(30, 50).ok());
  }
  ExpectSame(*ring, *full, "dropped");
  // Twice in a row, with nothing computed between.
  for (Session* s : {ring.get(), full.get()}) {
    ASSERT_TRUE(s->Truncate(80).ok());
    ASSERT_TRUE(s->Truncate(70).ok());
  }
  ExpectSame(*ring, *full, "back and back");
}

TEST_P(Window, DraftsAreTakenBack) {
  auto ring = Ring();
  const std::vector<TokenId> prompt = Text(100);
  const auto generate = [&](Session& session, Drafter* drafter) {
    auto sampler = sample::Sampler::Create({.temperature = 0}, model_->config().vocab_size);
    EXPECT_TRUE(session.Truncate(0).ok());
    EXPECT_TRUE(session.Decode(prompt).ok());
    Generator generator(session, **sampler, nullptr, drafter, {.draft_tokens = 5});
    std::vector<TokenId> made;
    while (made.size() < 120) {
      const auto next = generator(1000);
      if (!next.ok()) break;
      made.push_back(next->token);
    }
    EXPECT_TRUE(drafter == nullptr || generator.counts().accepted < generator.counts().drafted);
    return made;
  };
  // Guesses that are mostly wrong.
  class Wrong : public Drafter {
   public:
    absl::StatusOr<std::span<const TokenId>> Draft(std::span<const TokenId>, TokenId,
                                                   int64_t most) override {
      return std::span<const TokenId>(tokens_).first(std::min<int64_t>(most, 5));
    }

   private:
    std::vector<TokenId> tokens_ = {65, 66, 67, 68, 69};
  } wrong;
  auto full = Full();
  const std::vector<TokenId> expected = generate(*full, nullptr);
  EXPECT_EQ(generate(*ring, nullptr), expected);
  EXPECT_EQ(generate(*ring, &wrong), expected);
}

TEST_P(Window, ASavedSessionGoesOn) {
  const testing::TempDir folder;
  const std::string path = folder.File("text.session");
  const std::vector<TokenId> text = Text(150);
  // Between rings of several sizes; "full" has as many cells as tokens.
  for (const auto& [from_ubatch, to_ubatch] :
       {std::pair{8, 8}, {8, 100}, {100, 8}, {8, 256}, {256, 8}}) {
    for (const int64_t back : {0, 1, 90}) {
      SCOPED_TRACE(absl::StrCat(from_ubatch, " to ", to_ubatch, ", back ", back));
      auto full = Full();
      ASSERT_TRUE(full->Decode(std::span(text).first(150 - back)).ok());
      auto from = Open({.ubatch = from_ubatch, .kv_type = kF32});
      ASSERT_TRUE(from->Decode(text).ok());
      ASSERT_TRUE(from->Truncate(150 - back).ok());
      ASSERT_TRUE(from->Save(path).ok());
      auto to = Open({.ubatch = to_ubatch, .kv_type = kF32});
      ASSERT_TRUE(to->Decode(std::span(text).first(77)).ok());
      const auto restored = to->Restore(path);
      ASSERT_TRUE(restored.ok()) << restored.status();
      ExpectSame(*to, *full, "restored");
      for (Session* s : {to.get(), full.get()}) ASSERT_TRUE(s->Truncate(40).ok());
      ExpectSame(*to, *full, "restored, then back");
    }
  }
}

TEST_P(Window, DecodeAllocatesNothing) {
  auto session = Ring();
  const std::vector<TokenId> text = Text(120);
  ASSERT_TRUE(session->Decode(text).ok());
  const int64_t before = testing::allocation_count.load();
  ASSERT_TRUE(session->Truncate(20).ok());
  ASSERT_TRUE(session->Decode(text).ok());
  ASSERT_TRUE(session->Drop(10, 90).ok());
  EXPECT_EQ(testing::allocation_count.load() - before, 0);
}

INSTANTIATE_TEST_SUITE_P(All, Window,
                         ::testing::Values(Case{"gemma2", 2, 2}, Case{"gemma3", 5, 1},
                                           Case{"gpt_oss", 2, 2}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(WindowRing, KnowsWhatItHolds) {
  std::vector<int32_t> cells(2 * 8);
  WindowRing ring(cells, /*window=*/5);
  EXPECT_TRUE(ring.Covers(0));
  for (int p = 0; p < 11; ++p) ring.Add(p);
  EXPECT_EQ(ring.length(), 8);
  EXPECT_EQ(ring.begin(), 3);
  EXPECT_EQ(cells[0], 8);  // position 8 took the place of 0
  EXPECT_EQ(cells[6], 3);
  EXPECT_TRUE(ring.Covers(7));
  EXPECT_FALSE(ring.Covers(6));
  ring.Truncate(9);
  EXPECT_EQ(cells[2 * 1 + 1], -1);  // of 9
  EXPECT_EQ(cells[2 * 0 + 1], 0);   // of 8
  ring.Add(9);
  EXPECT_EQ(ring.begin(), 3);  // 10 had taken the place of 2 all the same
  EXPECT_TRUE(ring.Covers(7));
  ring.Clear(20);
  EXPECT_EQ(ring.begin(), 20);
  EXPECT_FALSE(ring.Covers(20));
}

}  // namespace
}  // namespace bantam::engine
