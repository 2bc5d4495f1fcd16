// Speculation, context shift, saved sessions and quantized KV caches on tiny models.

#include "runtime/engine/generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "runtime/engine/session_file.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/logits.h"
#include "tests/support/tiny_model.h"

namespace bantam::engine {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

class GeneratorTest : public ::testing::Test {
 protected:
  std::shared_ptr<const Model> Load(testing::TinyLlamaOptions options = {}) {
    const std::string path = folder_.File("model" + std::to_string(++models_) + ".gguf");
    options.tied = false;  // with random weights a tied model says its last token again
    testing::WriteTinyLlama(path, options);
    auto model = Model::Load(path, {.device = "cpu"});
    EXPECT_TRUE(model.ok()) << model.status();
    return *std::move(model);
  }
  static std::unique_ptr<Session> Open(std::shared_ptr<const Model> model,
                                       const SessionOptions& options = {}) {
    auto session = Session::Create(std::move(model), options);
    EXPECT_TRUE(session.ok()) << session.status();
    return *std::move(session);
  }

  testing::TempDir folder_;
  int models_ = 0;
};

std::vector<TokenId> Prompt(uint64_t seed, int n = 24) {
  std::mt19937_64 random(seed);
  std::vector<TokenId> tokens(n);
  for (TokenId& t : tokens) t = static_cast<TokenId>(random() % 12 + 60);  // repeats itself
  return tokens;
}

// Draws guesses from what the target would say, some of them wrong.
class Oracle : public Drafter {
 public:
  explicit Oracle(std::vector<TokenId> text) : text_(std::move(text)) {}
  absl::StatusOr<std::span<const TokenId>> Draft(std::span<const TokenId> text, TokenId,
                                                 int64_t most) override {
    draft_.clear();
    for (size_t i = text.size() + 1; i < text_.size() && std::ssize(draft_) < most; ++i) {
      draft_.push_back(i % 7 == 0 ? 5 : text_[i]);
    }
    return draft_;
  }

 private:
  std::vector<TokenId> text_, draft_;
};

struct Made {
  std::vector<TokenId> text;  // with the prompt
  GeneratorCounts counts;
};

Made Generate(Session& session, const std::vector<TokenId>& prompt, const sample::Params& params,
              Drafter* drafter, int64_t draft_tokens, int count = 60) {
  auto sampler = sample::Sampler::Create(params, session.model().config().vocab_size, 512);
  EXPECT_TRUE(session.Truncate(0).ok());
  EXPECT_TRUE(session.Decode(prompt).ok());
  for (TokenId t : prompt) (*sampler)->Accept(t);
  Generator generator(session, **sampler, nullptr, drafter, {.draft_tokens = draft_tokens});
  Made made{prompt, {}};
  for (int i = 0; i < count; ++i) {
    const auto next = generator(count - i);
    EXPECT_TRUE(next.ok()) << next.status();
    if (!next.ok() || next->stop != Generator::Stop::kNone) break;
    made.text.push_back(next->token);
  }
  EXPECT_TRUE(generator.Settle(true).ok());
  made.counts = generator.counts();
  const auto held = session.tokens();
  EXPECT_TRUE(std::equal(made.text.begin(), made.text.end(), held.begin()));
  return made;
}

const sample::Params kGreedy = {.temperature = 0};
const sample::Params kWarm = {.temperature = 0.5f, .top_k = 20, .repeat_penalty = 1.1f};

TEST_F(GeneratorTest, SpeculationChangesNoToken) {
  const auto target = Load({.seed = 1});
  // The same architecture with other weights: a bad guesser; the target itself: a perfect one.
  const auto other = Load({.layers = 1, .seed = 9});
  auto plain = Open(target);
  auto session = Open(target, {.verify_rows = 6});
  std::vector<std::unique_ptr<Drafter>> drafters;
  for (const auto& model : {other, target}) {
    auto drafter = Drafter::FromModel(model, *session, {});
    ASSERT_TRUE(drafter.ok()) << drafter.status();
    drafters.push_back(*std::move(drafter));
  }
  drafters.push_back(Drafter::LookUp());
  int64_t accepted = 0, rejected = 0;
  for (int p = 0; p < 20; ++p) {
    for (const sample::Params& params : {kGreedy, kWarm}) {
      sample::Params seeded = params;
      seeded.seed = p;
      const Made expected = Generate(*plain, Prompt(p), seeded, nullptr, 0);
      drafters.push_back(std::make_unique<Oracle>(expected.text));
      for (const auto& drafter : drafters) {
        const Made made = Generate(*session, Prompt(p), seeded, drafter.get(), 5);
        ASSERT_EQ(made.text, expected.text) << "prompt " << p;
        accepted += made.counts.accepted;
        rejected += made.counts.drafted - made.counts.accepted;
        EXPECT_LE(made.counts.steps + made.counts.accepted, 61);
      }
      drafters.pop_back();
    }
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(rejected, 100);
}

TEST_F(GeneratorTest, ThePerfectDrafterSavesSteps) {
  const auto target = Load();
  auto session = Open(target, {.verify_rows = 5});
  auto drafter = Drafter::FromModel(target, *session, {});
  const Made made = Generate(*session, Prompt(3), kGreedy, drafter->get(), 4, 63);
  // It stops where it is unsure, so not all steps are full.
  EXPECT_GT(made.counts.accepted, made.counts.drafted * 9 / 10);
  EXPECT_EQ(made.counts.drafted > 0, made.counts.accepted > 0);
}

// Logits never leave the device; the text is the same, on devices whose logits differ too.
TEST_F(GeneratorTest, TheLikeliestTokenFoundOnTheDevice) {
  const std::string path = folder_.File("greedy.gguf");
  testing::WriteTinyLlama(path, {.tied = false});
  for (const char* device : {"reference", "cpu"}) {
    auto target = Model::Load(path, {.device = device});
    ASSERT_TRUE(target.ok()) << target.status();
    auto plain = Open(*target);
    auto session = Open(*target, {.likeliest = true, .verify_rows = 6});
    for (int p = 0; p < 10; ++p) {
      const Made expected = Generate(*plain, Prompt(p), kGreedy, nullptr, 0);
      Oracle oracle(expected.text);
      for (Drafter* drafter : {static_cast<Drafter*>(nullptr), static_cast<Drafter*>(&oracle)}) {
        EXPECT_EQ(Generate(*session, Prompt(p), kGreedy, drafter, 5).text, expected.text);
        EXPECT_TRUE(session->Logits().empty());
      }
    }
    // All rows of a prompt, by steps compiled on first use.
    ASSERT_TRUE(plain->Truncate(0).ok() && session->Truncate(0).ok());
    ASSERT_TRUE(plain->Decode(Prompt(1), LogitsMode::kAll).ok());
    ASSERT_TRUE(session->Decode(Prompt(1), LogitsMode::kAll).ok());
    for (int64_t row = 0; row < 24; ++row) {
      EXPECT_EQ(session->Likeliest(row), testing::Likeliest(plain->Logits(row))) << row;
    }
    EXPECT_EQ(session->Likeliest(24), tokenizer::kNoToken);
    EXPECT_EQ(plain->Likeliest(0), tokenizer::kNoToken);
  }
}

TEST_F(GeneratorTest, OnlyAGreedySamplerTakesTheLikeliest) {
  auto session = Open(Load(), {.likeliest = true});
  ASSERT_TRUE(session->Decode(Prompt(1)).ok());
  auto sampler = sample::Sampler::Create(kWarm, session->model().config().vocab_size, 512);
  Generator generator(*session, **sampler, nullptr, nullptr, {});
  EXPECT_THAT(std::string(generator(1).status().message()), HasSubstr("got 0 logits"));
}

TEST_F(GeneratorTest, StepsWithDraftsAllocateNothing) {
  const auto target = Load();
  for (bool likeliest : {false, true}) {
    auto session = Open(target, {.likeliest = likeliest, .verify_rows = 5});
    const std::vector<TokenId> tokens = Prompt(1, 40);
    ASSERT_TRUE(session->Decode(tokens).ok());
    const int64_t before = testing::allocation_count.load();
    for (int n = 1; n <= 5; ++n) {
      ASSERT_TRUE(session->Decode(std::span(tokens).first(n), LogitsMode::kAll).ok());
      ASSERT_TRUE(session->Truncate(40).ok());
    }
    ASSERT_TRUE(session->Drop(3, 20).ok());
    EXPECT_EQ(testing::allocation_count.load() - before, 0);
  }
}

TEST_F(GeneratorTest, ADrafterOfAnotherVocabularyIsRefused) {
  const auto target = Load();
  auto session = Open(target);
  // The tiny models differ in nothing but weights: change a token's text in the file.
  const std::string path = folder_.File("model1.gguf");
  std::ifstream in(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  const size_t at = bytes.find("<|im_end|>");
  ASSERT_NE(at, std::string::npos);
  bytes[at + 2] = 'I';
  const std::string changed = folder_.File("changed.gguf");
  std::ofstream(changed, std::ios::binary) << bytes;
  auto other = Model::Load(changed, {.device = "cpu"});
  ASSERT_TRUE(other.ok()) << other.status();
  const auto drafter = Drafter::FromModel(*other, *session, {});
  EXPECT_THAT(std::string(drafter.status().message()), HasSubstr("cannot draft"));
}

TEST_F(GeneratorTest, DroppedTokensWereNeverThere) {
  const auto model = Load();
  auto session = Open(model, {.context = 64});
  auto fresh = Open(model, {.context = 64});
  const std::vector<TokenId> text = Prompt(5, 64);
  ASSERT_TRUE(session->Decode(text).ok());
  ASSERT_TRUE(session->Drop(4, 30).ok());
  std::vector<TokenId> rest(text.begin(), text.begin() + 4);
  rest.insert(rest.end(), text.begin() + 34, text.end());
  ASSERT_TRUE(fresh->Decode(rest).ok());
  EXPECT_EQ(session->position(), 34);
  const TokenId next = 65;
  ASSERT_TRUE(session->Decode({&next, 1}).ok());
  ASSERT_TRUE(fresh->Decode({&next, 1}).ok());
  EXPECT_TRUE(
      std::equal(session->Logits().begin(), session->Logits().end(), fresh->Logits().begin()));
  EXPECT_EQ(session->Drop(30, 10).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(session->Drop(-1, 2).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(session->position(), 35);
}

TEST_F(GeneratorTest, AContextShiftGoesOnAndKeepsTheStart) {
  const auto model = Load();
  auto session = Open(model, {.context = 32, .verify_rows = 4});
  const std::vector<TokenId> prompt = Prompt(2, 10);
  for (const bool shift : {false, true}) {
    auto sampler = sample::Sampler::Create(kGreedy, model->config().vocab_size);
    ASSERT_TRUE(session->Truncate(0).ok());
    ASSERT_TRUE(session->Decode(prompt).ok());
    const auto drafter = Drafter::LookUp();
    Generator generator(*session, **sampler, nullptr, drafter.get(),
                        {.context_shift = shift, .keep = 5, .draft_tokens = 3});
    int made = 0;
    while (made < 200) {
      const auto next = generator(200);
      ASSERT_TRUE(next.ok()) << next.status();
      if (next->stop == Generator::Stop::kContextFull) break;
      ++made;
    }
    EXPECT_EQ(made, shift ? 200 : 23);  // 22 in the context and one to come
    if (shift) {
      EXPECT_GT(generator.counts().shifts, 10);
      EXPECT_TRUE(std::equal(prompt.begin(), prompt.begin() + 5, session->tokens().begin()));
    }
  }
}

TEST_F(GeneratorTest, QuantizedCaches) {
  // Heads of 32 elements, as blocks have.
  const auto model = Load({.heads = 2, .heads_kv = 1});
  const std::vector<TokenId> text = Prompt(8, 100);
  auto exact = Open(model, {.kv_type = quant::Type::kF32});
  ASSERT_TRUE(exact->Decode(text).ok());
  const struct {
    quant::Type type;
    double error;         // of logits of about 10
    int64_t block_bytes;  // of 32 elements
  } cases[] = {{quant::Type::kQ8_0, 0.2, 34}, {quant::Type::kQ4_0, 3, 18}};
  for (const char* device : {"cpu", "reference"}) {
    for (const auto& c : cases) {
      auto loaded = Model::Load(folder_.File("model1.gguf"), {.device = device});
      auto session = Open(*loaded, {.kv_type = c.type});
      EXPECT_EQ(session->memory().kv_cache,
                static_cast<uint64_t>(2 * 2 * session->context() * c.block_bytes));
      ASSERT_TRUE(session->Decode(text).ok());
      double worst = 0;
      for (size_t i = 0; i < exact->Logits().size(); ++i) {
        worst = std::max(worst, std::abs(double{exact->Logits()[i]} - session->Logits()[i]));
      }
      EXPECT_LT(worst, c.error) << device;
      EXPECT_GT(worst, 0) << device;
    }
  }
  const absl::Status refused =
      Session::Create(Load(), {.kv_type = quant::Type::kQ8_0}).status();  // heads of 16
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("have 16"));
}

TEST_F(GeneratorTest, ASavedSessionGoesOn) {
  const auto model = Load({.heads = 2, .heads_kv = 1});
  const std::vector<TokenId> text = Prompt(4, 50);
  const std::string path = folder_.File("text.session");
  for (const quant::Type type : {quant::Type::kF16, quant::Type::kF32, quant::Type::kQ8_0}) {
    auto session = Open(model, {.kv_type = type});
    ASSERT_TRUE(session->Decode(text).ok());
    ASSERT_TRUE(session->Save(path, "a note\n").ok());
    auto other = Open(model, {.context = 64, .kv_type = type});  // of another size
    const auto note = other->Restore(path);
    ASSERT_TRUE(note.ok()) << note.status();
    EXPECT_EQ(*note, "a note\n");
    EXPECT_TRUE(
        std::equal(text.begin(), text.end(), other->tokens().begin(), other->tokens().end()));
    EXPECT_TRUE(other->Logits().empty());
    const TokenId next = 70;
    ASSERT_TRUE(session->Decode({&next, 1}).ok());
    ASSERT_TRUE(other->Decode({&next, 1}).ok());
    EXPECT_TRUE(
        std::equal(session->Logits().begin(), session->Logits().end(), other->Logits().begin()));
  }
  auto empty = Open(model);
  ASSERT_TRUE(empty->Save(path).ok());
  EXPECT_TRUE(Open(model)->Restore(path).ok());
}

TEST_F(GeneratorTest, ASessionOfAnotherKindIsRefused) {
  const auto model = Load();
  const std::string path = folder_.File("text.session");
  auto session = Open(model);
  ASSERT_TRUE(session->Decode(Prompt(4, 50)).ok());
  ASSERT_TRUE(session->Save(path).ok());
  auto reason = [&](std::unique_ptr<Session> into) {
    EXPECT_TRUE(into->Decode(Prompt(1, 5)).ok());
    const auto restored = into->Restore(path);
    EXPECT_FALSE(restored.ok());
    EXPECT_EQ(into->position(), 5);
    EXPECT_EQ(restored.status().message().find('\n'), absl::string_view::npos);
    return std::string(restored.status().message());
  };
  EXPECT_THAT(reason(Open(Load({.seed = 2}))), HasSubstr("another model"));
  EXPECT_THAT(reason(Open(Load({.layers = 3}))), HasSubstr("another model"));
  EXPECT_THAT(reason(Open(model, {.kv_type = quant::Type::kF32})), HasSubstr("type F16"));
  EXPECT_THAT(reason(Open(model, {.context = 40})), HasSubstr("only room for 40"));
  EXPECT_EQ(Open(model)->Restore(folder_.File("none")).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(session->Save(folder_.File("no/such/folder")).ok());
}

TEST_F(GeneratorTest, DamagedSessionFilesAreRefused) {
  const auto model = Load({.layers = 1, .embedding = 32, .heads = 2, .heads_kv = 1});
  const std::string path = folder_.File("text.session");
  auto session = Open(model, {.context = 32});
  ASSERT_TRUE(session->Decode(Prompt(4, 6)).ok());
  ASSERT_TRUE(session->Save(path, "note").ok());
  std::ifstream in(path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  auto refused = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    const absl::Status status = session->Restore(path).status();
    EXPECT_EQ(session->position(), 6);
    EXPECT_THAT(status.code(),
                AnyOf(absl::StatusCode::kDataLoss, absl::StatusCode::kFailedPrecondition,
                      absl::StatusCode::kInvalidArgument))  // an empty file
        << status;
    return !status.ok();
  };
  for (size_t n = 0; n < good.size(); n += n < 80 ? 1 : 13) {
    ASSERT_TRUE(refused(good.substr(0, n))) << n;
  }
  std::mt19937_64 random(1);
  for (size_t n = 0; n < good.size(); n += n < 80 ? 1 : 7) {
    std::string bytes = good;
    bytes[n] = static_cast<char>(bytes[n] ^ (1 << random() % 8));
    ASSERT_TRUE(refused(bytes)) << n;
  }
  for (size_t field = 16; field < 64; field += 8) {
    for (const uint64_t value : {uint64_t{0}, uint64_t{1} << 31, uint64_t{1} << 62, ~uint64_t{0}}) {
      std::string bytes = good;
      bytes.replace(field, 8, reinterpret_cast<const char*>(&value), 8);
      if (bytes == good) continue;  // no layer has a window
      ASSERT_TRUE(refused(bytes)) << field;
    }
  }
  ASSERT_TRUE(refused(good + "x"));
  std::ofstream(path, std::ios::binary) << good;
  EXPECT_TRUE(session->Restore(path).ok());
}

TEST(Checksum, DoesNotDependOnHowTheTextIsCut) {
  std::mt19937_64 random(6);
  std::string text(1000, 0);
  for (char& c : text) c = static_cast<char>(random());
  Checksum whole;
  whole.Add(absl::string_view(text));
  Checksum cut;
  for (absl::string_view rest = text; !rest.empty();) {
    const size_t n = std::min<size_t>(random() % 20, rest.size());
    cut.Add(rest.substr(0, n));
    rest.remove_prefix(n);
  }
  EXPECT_EQ(whole.value(), cut.value());
}

}  // namespace
}  // namespace bantam::engine
