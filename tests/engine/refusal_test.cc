// Loading while a card refuses memory: whatever it refuses, the model loads, says what moved, and
// computes the same.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>

#include "runtime/base/status.h"
#include "runtime/device/registry.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/steps.h"
#include "runtime/engine/weights.h"
#include "runtime/model/architecture.h"
#include "tests/engine/split_fixture.h"
#include "tests/support/logits.h"

namespace bantam {
namespace {

using ::bantam::testing::capped_memory;
using ::bantam::testing::CappedMemory;
using ::bantam::testing::GoldenModel;
using engine::LoadOptions;
using engine::Session;
using schedule::Part;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class RefusalTest : public testing::SplitFixture {
 protected:
  LoadOptions Options(const std::string& device = "capped,reference") {
    return OptionsFor(device, {.context = 128, .ubatch = 16, .kv_type = quant::Type::kF32});
  }
  std::string WriteDense() {
    const std::string path = dir_.File("dense.gguf");
    testing::WriteTinyLlama(path, {.layers = 4, .tied = false});
    return path;
  }
  static std::vector<float> Run(Session& session) {
    std::vector<int32_t> prompt(53);
    for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i * 37 + 11) % 256;
    EXPECT_TRUE(session.Decode(prompt).ok());
    const int32_t next = 29;
    EXPECT_TRUE(session.Decode({&next, 1}).ok());
    return {session.Logits().begin(), session.Logits().end()};
  }

  using IsOfTheKind = std::function<bool(const schedule::Placement&)>;
  // The least memory, about, with which a placement is of the kind; without any refusal.
  uint64_t CapFor(const std::string& path, const LoadOptions& options, const IsOfTheKind& is) {
    for (uint64_t cap = 20'000; cap < 2'000'000; cap += cap / 10) {
      capped_memory = CappedMemory();
      capped_memory.cap = cap;
      const auto model = engine::Model::Load(path, options);
      if (model.ok() && is((*model)->placement())) return cap;
    }
    ADD_FAILURE() << "there is no such placement";
    return 0;
  }

  // Everything that may need memory of the card is refused once, one after the other. Both devices
  // are the reference: only where experts are split the order of sums differs, by some 1e-7.
  void RefuseEachInTurn(const std::string& path, const LoadOptions& options,
                        const IsOfTheKind& is_of_the_kind) {
    LoadOptions alone = options;
    alone.device = "reference";
    alone.control = {};
    auto reference = Open(path, alone);
    ASSERT_NE(reference, nullptr);
    const std::vector<float> expected = Run(*reference);
    const uint64_t cap = CapFor(path, options, is_of_the_kind);
    int requests = 0;
    for (int refuse_at = -1; refuse_at < requests; ++refuse_at) {
      SCOPED_TRACE(refuse_at);
      notices_.clear();
      capped_memory = CappedMemory();
      capped_memory.cap = cap;
      capped_memory.refuse_at = refuse_at;
      const auto load = [&]() -> absl::StatusOr<std::unique_ptr<Session>> {
        BANTAM_ASSIGN_OR_RETURN(auto model, engine::Model::Load(path, options));
        return Session::Create(std::move(model), options.expected);
      };
      const auto session = load();
      if (refuse_at < 0) {
        ASSERT_TRUE(session.ok()) << session.status();
        requests = capped_memory.requests;
        EXPECT_TRUE(is_of_the_kind((*session)->model().placement()));
        EXPECT_THAT(notices_, IsEmpty());
      }
      ASSERT_TRUE(session.ok()) << session.status();
      if (refuse_at >= 0) {
        EXPECT_THAT(notices_, Not(IsEmpty()));
        EXPECT_THAT(notices_, Each(AllOf(StartsWith("capped "), Not(HasSubstr("\n")))));
      }
      EXPECT_LE(capped_memory.peak, cap);
      EXPECT_EQ((*session)->device_memory().size(), 2);
      capped_memory.refuse_at = -1;
      ASSERT_LT(testing::NormalizedError(Run(**session), expected),
                (*session)->model().placement().hot.size() > 0 ? 1e-5 : 1e-12);
    }
    std::printf("%d requests were refused, one by one\n", requests);
    EXPECT_GT(requests, 20);
  }
  static bool IsOnCard(const schedule::Placement& placement, Part part, int layer) {
    return placement.DeviceOf({part, layer}) == 0;
  }
};

TEST_F(RefusalTest, WholeModel) {
  RefuseEachInTurn(WriteDense(), Options(), [](const auto& placement) {
    return placement.memory[1].weights == 0 && placement.memory[0].kv_cache > 0;
  });
}

// The embedding is there too, and may be moved.
TEST_F(RefusalTest, WholeLayersByHand) {
  LoadOptions options = Options();
  options.control.gpu_layers = "2";
  const auto is_kind = [](const schedule::Placement& placement) {
    return !IsOnCard(placement, Part::kAttention, 1) && IsOnCard(placement, Part::kAttention, 2) &&
           IsOnCard(placement, Part::kEmbedding, -1);
  };
  RefuseEachInTurn(WriteDense(), options, is_kind);
}

TEST_F(RefusalTest, ByGroup) {
  LoadOptions options = Options();
  options.expected.stream_weights = false;
  RefuseEachInTurn(WriteDense(), options, [](const auto& placement) {
    return placement.memory[0].weights > 0 && placement.memory[1].weights > 0;
  });
}

// Weights there are used by steps; the KV cache, which a session could move, is elsewhere.
TEST_F(RefusalTest, WeightsWithoutKv) {
  LoadOptions options = Options();
  options.control.kv_device = "reference";
  RefuseEachInTurn(WriteDense(), options, [](const auto& placement) {
    return placement.memory[0].weights > 0 && placement.memory[0].kv_cache == 0;
  });
}

TEST_F(RefusalTest, OnlyWeightsThatCome) {
  RefuseEachInTurn(WriteDense(), Options(), [](const auto& placement) {
    return placement.memory[0].weights == 0 && placement.memory[0].streamed > 0;
  });
}

TEST_F(RefusalTest, WeightsThatComeBesideOthers) {
  RefuseEachInTurn(WriteDense(), Options(), [](const auto& placement) {
    return placement.memory[0].weights > 0 && placement.memory[0].streamed > 0;
  });
}

TEST_F(RefusalTest, ExpertsOnTheHost) {
  LoadOptions options = Options();
  options.expected.stream_weights = false;
  RefuseEachInTurn(GoldenModel("qwen2moe"), options, [](const auto& placement) {
    return placement.memory[0].weights > 0 && placement.memory[1].weights > 0;
  });
}

TEST_F(RefusalTest, HotExperts) {
  const std::string path = GoldenModel("qwen3moe");
  std::mt19937 random(4);
  LoadOptions options = Options();
  options.profiles[0].transfer_bandwidth = 1e15;
  options.profiles[1].bandwidth = 1e9;
  options.profiles[1].operations = 1e10;
  options.expert_use = RandomUse(path, random);
  for (const bool streams : {false, true}) {
    options.expected.stream_weights = streams;
    RefuseEachInTurn(path, options, [&](const schedule::Placement& placement) {
      return !placement.hot.empty() && (placement.memory[0].streamed > 0) == streams;
    });
  }
}

// A host that would rather have weights in another arrangement than that of the file.
class RepackingHost : public testing::CappedDevice {
 public:
  using CappedDevice::CappedDevice;
  absl::StatusOr<std::unique_ptr<device::Buffer>> WrapHost(
      std::span<const std::byte> data) override {
    return std::make_unique<Wrapped>(data);
  }
  bool Repacks(const graph::Graph&, graph::ValueId) const override { return true; }

 private:
  struct Wrapped : device::Buffer {
    explicit Wrapped(std::span<const std::byte> wrapped) : data(wrapped) {}
    uint64_t size() const override { return data.size(); }
    absl::Status Upload(uint64_t, std::span<const std::byte>) override {
      return absl::FailedPreconditionError("read-only");
    }
    absl::Status Download(uint64_t offset, std::span<std::byte> to) override {
      std::copy_n(data.begin() + static_cast<ptrdiff_t>(offset), to.size(), to.begin());
      return absl::OkStatus();
    }
    std::span<const std::byte> data;
  };
};

TEST_F(RefusalTest, AHostWithoutRoomToRepack) {
  const auto file = gguf::File::Open(WriteDense());
  ASSERT_TRUE(file.ok());
  const auto architecture = model::Open(**file);
  ASSERT_TRUE(architecture.ok());
  const auto graph = engine::BuildStep(**architecture, {.context = 64, .ubatch = 16}, 1, 1);
  ASSERT_TRUE(graph.ok());
  schedule::Placement placement;
  placement.groups = schedule::FindGroups(*graph)->groups;
  placement.device.assign(placement.groups.size(), 0);
  RepackingHost host(*device::OpenDevice("reference", {}));
  for (const bool is_refused : {false, true}) {
    capped_memory.requests = 0;
    capped_memory.refuse_at = is_refused ? 0 : -1;
    const engine::MadeWeights none;
    const auto weights = engine::DeviceWeights::Reserve(
        **file, none, {&*graph, 1}, placement, 0, host,
        {.notice = [this](absl::string_view line) { notices_.emplace_back(line); }});
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_EQ(weights->mapped_bytes() > 0, is_refused);
    EXPECT_EQ(weights->allocated_bytes() > 0, !is_refused);
    EXPECT_EQ(weights->Find("output_norm.weight") != nullptr, is_refused);  // the others are filled
    ASSERT_EQ(notices_.size(), is_refused ? 1 : 0);
  }
  EXPECT_THAT(notices_[0], HasSubstr("has no room for"));
}

// Not even its speeds can be measured.
TEST_F(RefusalTest, Measuring) {
  LoadOptions options = Options();
  options.profiles.clear();
  setenv("XDG_CACHE_HOME", dir_.path().c_str(), 1);  // what is measured is kept there
  capped_memory.refuse_at = 0;
  auto session = Open(WriteDense(), options);
  ASSERT_NE(session, nullptr);
  ASSERT_EQ(notices_.size(), 1);
  EXPECT_THAT(notices_[0], HasSubstr("nothing goes there"));
  EXPECT_EQ(session->model().placement().memory[0].total(), 0);
}

}  // namespace
}  // namespace bantam
