// What architecture "llama" refuses, and the graph it builds.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/gguf/writer.h"
#include "runtime/graph/graph.h"
#include "runtime/model/architecture.h"
#include "tests/support/tiny_model.h"

namespace bantam::model {
namespace {

using ::bantam::testing::TempDir;
using ::bantam::testing::TinyLlamaOptions;
using ::testing::HasSubstr;

class LlamaTest : public ::testing::Test {
 protected:
  std::unique_ptr<gguf::File> Write(const TinyLlamaOptions& options) {
    bantam::testing::WriteTinyLlama(dir_.File("m.gguf"), options);
    auto file = gguf::File::Open(dir_.File("m.gguf"));
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }

  // The tiny model with one metadata value replaced or one tensor left out.
  absl::Status OpenChanged(absl::string_view key, gguf::MetaValue value,
                           absl::string_view left_out = "") {
    auto file = Write({});
    gguf::Writer writer;
    for (const gguf::KeyValue& kv : file->metadata()) writer.Set(kv.key, kv.value);
    if (!key.empty()) writer.Set(key, value);
    for (const gguf::TensorInfo& t : file->tensors()) {
      if (t.name == left_out) continue;
      EXPECT_TRUE(
          writer
              .AddTensor(t.name, t.type, std::span<const int64_t>(t.shape.data(), t.n_dims), t.data)
              .ok());
    }
    EXPECT_TRUE(writer.Write(dir_.File("changed.gguf")).ok());
    changed_ = *gguf::File::Open(dir_.File("changed.gguf"));
    return Open(*changed_).status();
  }

  TempDir dir_;
  std::unique_ptr<gguf::File> changed_;
};

TEST_F(LlamaTest, GraphHasTheNamedInputsAndLogits) {
  auto file = Write({});
  auto model = Open(*file);
  ASSERT_TRUE(model.ok()) << model.status();
  auto graph = (*model)->BuildGraph({.rows = 5, .output_rows = 2, .context = 64});
  ASSERT_TRUE(graph.ok()) << graph.status();
  for (const char* name : {kInputTokens, kInputPositions, kInputSlots, kInputQueryCells,
                           kInputKvCells, kInputKvLength, kInputOutputRows}) {
    const graph::ValueId id = graph->Find(name);
    ASSERT_NE(id, graph::kNone) << name;
    EXPECT_EQ(graph->value(id).storage, graph::Storage::kInput);
  }
  const graph::Value& logits = graph->value(graph->Find(kOutputLogits));
  EXPECT_EQ(logits.shape, (graph::Shape{264, 2, 1, 1}));
  const graph::Value& cache = graph->value(graph->Find("blk.1.kv_cache.k"));
  EXPECT_EQ(cache.shape, (graph::Shape{16, 2, 64, 1}));
  EXPECT_EQ(cache.type, quant::Type::kF16);
}

TEST_F(LlamaTest, UnknownArchitectureListsKnownOnes) {
  auto file = Write({.architecture = "mamba"});
  const absl::Status status = Open(*file).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'mamba' is not supported; supported:"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("llama"));
}

TEST_F(LlamaTest, MissingTensorIsNamed) {
  const absl::Status status = OpenChanged("", uint32_t{0}, "blk.1.ffn_down.weight");
  EXPECT_THAT(std::string(status.message()), HasSubstr("blk.1.ffn_down.weight is missing"));
}

TEST_F(LlamaTest, WrongShapeIsNamed) {
  const absl::Status status = OpenChanged("llama.feed_forward_length", uint32_t{128});
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("blk.0.ffn_gate.weight has shape [64, 96]; expected [64, 128]"));
}

TEST_F(LlamaTest, ImpossibleHyperParametersAreRefused) {
  const std::pair<const char*, gguf::MetaValue> cases[] = {
      {"llama.block_count", uint32_t{0}},
      {"llama.block_count", uint32_t{4000000000}},
      {"llama.attention.head_count", uint32_t{0}},
      {"llama.attention.head_count", uint32_t{1000}},
      {"llama.attention.head_count_kv", uint32_t{3}},
      {"llama.context_length", uint64_t{1} << 62},
      {"llama.embedding_length", int32_t{-64}},
      {"llama.embedding_length", absl::string_view("many")},
      {"llama.rope.dimension_count", uint32_t{7}},
      {"llama.rope.dimension_count", uint32_t{64}},
      {"llama.rope.freq_base", -1.0f},
      {"llama.rope.scaling.type", absl::string_view("novel")},
      {"llama.attention.layer_norm_rms_epsilon", -1.0f},
      {"llama.expert_count", uint32_t{8}},
  };
  for (const auto& [key, value] : cases) {
    const absl::Status status = OpenChanged(key, value);
    EXPECT_FALSE(status.ok()) << key;
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
  }
}

TEST_F(LlamaTest, NumbersByLayer) {
  const auto status_of = [&](const char* key, std::vector<int32_t> numbers) {
    gguf::MetaArray array;
    array.element = gguf::MetaType::kInt32;
    array.count = numbers.size();
    array.raw = std::as_bytes(std::span(numbers));
    return OpenChanged(absl::StrCat("llama.", key), std::make_shared<const gguf::MetaArray>(array));
  };
  const char* kv = "attention.head_count_kv";
  EXPECT_TRUE(status_of(kv, {2, 2}).ok());
  EXPECT_TRUE(status_of(kv, {2, 2, 1}).ok());  // some files have more than there are layers
  const struct {
    const char* key;
    std::vector<int32_t> numbers;
    absl::StatusCode code;
    const char* message;
  } cases[] = {
      {kv, {2, 1}, absl::StatusCode::kInvalidArgument, "blk.1.attn_k.weight has shape [64, 32]"},
      {kv, {2}, absl::StatusCode::kInvalidArgument, "has 1 entries"},
      {kv, {2, 3}, absl::StatusCode::kInvalidArgument, "is 3; expected a divisor"},
      {kv, {2, -1}, absl::StatusCode::kInvalidArgument, "is -1 in layer 1"},
      {kv, {2, 0}, absl::StatusCode::kUnimplemented, "is 0 in layer 1"},
      {"feed_forward_length", {96, 0}, absl::StatusCode::kUnimplemented, "is 0 in layer 1"},
      {"feed_forward_length", {96, 64}, absl::StatusCode::kInvalidArgument, "blk.1.ffn_gate"},
      {"attention.head_count",
       {4, 2},
       absl::StatusCode::kInvalidArgument,
       "key_length is missing, and the number of heads differs"},
  };
  for (const auto& c : cases) {
    const absl::Status status = status_of(c.key, c.numbers);
    EXPECT_EQ(status.code(), c.code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace bantam::model
