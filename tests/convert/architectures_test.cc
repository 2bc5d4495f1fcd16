// Folders of every architecture, made from the tiny models of tests/golden/models by a way back of
// the tests' own, become those models again: every tensor, every key, and what they predict.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_format.h"
#include "runtime/convert/convert.h"
#include "runtime/convert/fused_experts.h"
#include "runtime/engine/engine.h"
#include "tests/convert/hugging_face.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using ::testing::HasSubstr;
using testing::HfStyle;

bool GoOn(uint64_t, uint64_t) { return true; }

struct Case {
  std::string model;  // of tests/golden/models
  HfStyle style;
  // Keys that the golden file has and config.json does not say, for what they say is the default.
  std::vector<std::string> unsaid;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.model; }

// In GGUF and in the checkpoints of Qwen; the names of a shared expert first, for the others are
// parts of them.
const std::vector<std::pair<std::string, std::string>> kQwenExperts = {
    {"ffn_gate_inp_shexp.", "mlp.shared_expert_gate."},
    {"ffn_gate_shexp.", "mlp.shared_expert.gate_proj."},
    {"ffn_up_shexp.", "mlp.shared_expert.up_proj."},
    {"ffn_down_shexp.", "mlp.shared_expert.down_proj."},
    {"ffn_gate_inp.", "mlp.gate."},
    {"ffn_gate_exps.", "mlp.experts.%.gate_proj."},
    {"ffn_up_exps.", "mlp.experts.%.up_proj."},
    {"ffn_down_exps.", "mlp.experts.%.down_proj."},
    {"attn_q_norm.", "self_attn.q_norm."},
    {"attn_k_norm.", "self_attn.k_norm."}};
const std::vector<std::pair<std::string, std::string>> kGemma = {
    {"attn_q_norm.", "self_attn.q_norm."},
    {"attn_k_norm.", "self_attn.k_norm."},
    {"post_attention_norm.", "post_attention_layernorm."},
    {"post_ffw_norm.", "post_feedforward_layernorm."},
    {"ffn_norm.", "pre_feedforward_layernorm."}};
const std::vector<std::pair<std::string, std::string>> kPhi3 = {
    {"attn_qkv.", "self_attn.qkv_proj."}, {"ffn_up.", "mlp.gate_up_proj."}};

// `count` numbers from `first` to `last`, evenly spaced, in the precision of a file of F32.
nlohmann::json Line(double first, double last, int count) {
  nlohmann::json list;
  for (int i = 0; i < count; ++i) {
    list.push_back(static_cast<float>(first + (last - first) * i / (count - 1)));
  }
  return list;
}

// What generate.py's VARIANTS say, in the words of config.json.
std::vector<Case> Cases() {
  const auto longrope = [](int pairs, double sharpened) -> nlohmann::json {
    return {{"type", "longrope"},
            {"attention_factor", sharpened},
            {"long_factor", Line(1, 4, pairs)},
            {"short_factor", Line(1, 1.5, pairs)}};
  };
  return {
      {"mixtral",
       {.model_class = "MixtralForCausalLM",
        .names = {{"ffn_gate_inp.", "block_sparse_moe.gate."},
                  {"ffn_gate_exps.", "block_sparse_moe.experts.%.w1."},
                  {"ffn_down_exps.", "block_sparse_moe.experts.%.w2."},
                  {"ffn_up_exps.", "block_sparse_moe.experts.%.w3."}},
        .config = {{"num_local_experts", 4}, {"num_experts_per_tok", 2}}}},
      {"qwen2", {.model_class = "Qwen2ForCausalLM", .halves = false}},
      {"qwen3", {.model_class = "Qwen3ForCausalLM", .names = kQwenExperts, .halves = false}},
      {"qwen2moe",
       {.model_class = "Qwen2MoeForCausalLM",
        .names = kQwenExperts,
        .config = {{"num_experts", 6},
                   {"num_experts_per_tok", 3},
                   {"moe_intermediate_size", 16},
                   {"shared_expert_intermediate_size", 24},
                   {"norm_topk_prob", false},
                   {"mlp_only_layers", nlohmann::json::array()},
                   {"decoder_sparse_step", 1}},
        .halves = false}},
      {"qwen3moe",
       {.model_class = "Qwen3MoeForCausalLM",
        .names = kQwenExperts,
        .config = {{"num_experts", 8},
                   {"num_experts_per_tok", 3},
                   {"moe_intermediate_size", 16},
                   {"norm_topk_prob", true}},
        .halves = false}},
      {"gemma", {.model_class = "GemmaForCausalLM", .halves = false, .norms_less_one = true}},
      {"gemma2",
       {.model_class = "Gemma2ForCausalLM",
        .names = kGemma,
        .config = {{"sliding_window", 12},
                   {"query_pre_attn_scalar", 16},
                   {"attn_logit_softcapping", 5.0},
                   {"final_logit_softcapping", 3.0}},
        .halves = false,
        .norms_less_one = true}},
      {"gemma3",
       {.model_class = "Gemma3ForCausalLM",
        .names = kGemma,
        .config = {{"sliding_window", 9},
                   {"sliding_window_pattern", 6},
                   {"rope_local_base_freq", 10000.0},
                   {"query_pre_attn_scalar", 16},
                   {"final_logit_softcapping", nullptr}},
        .halves = false,
        .norms_less_one = true}},
      {"gemma3_linear",
       {.model_class = "Gemma3ForCausalLM",
        .names = kGemma,
        .config = {{"sliding_window", 9},
                   {"layer_types",
                    {"sliding_attention", "full_attention", "sliding_attention", "full_attention"}},
                   {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}},
        .halves = false,
        .norms_less_one = true},
       {"gemma3.attention.sliding_window_pattern"}},  // a period there, a list here
      {"phi3", {.model_class = "Phi3ForCausalLM", .names = kPhi3, .halves = false}},
      {"phi3_short",
       {.model_class = "Phi3ForCausalLM",
        .names = kPhi3,
        .config = {{"original_max_position_embeddings", 4096}, {"rope_scaling", longrope(4, 1.25)}},
        .halves = false}},
      {"phi3_long",
       {.model_class = "Phi3ForCausalLM",
        .names = kPhi3,
        .config = {{"original_max_position_embeddings", 64},
                   {"partial_rotary_factor", 0.75},
                   {"rope_scaling", longrope(3, 1.19)}},
        .halves = false}},
      {"gpt_oss",
       {.model_class = "GptOssForCausalLM",
        .names = {{"attn_sinks.weight", "self_attn.sinks"},
                  {"ffn_gate_inp.", "mlp.router."},
                  {"post_attention_norm.", "post_attention_layernorm."}},
        .config =
            {{"num_local_experts", 4},
             {"num_experts_per_tok", 2},
             {"intermediate_size", 32},
             {"sliding_window", 12},
             {"rope_scaling",
              {{"rope_type", "yarn"}, {"factor", 8.0}, {"original_max_position_embeddings", 64}}}},
        .halves = false,
        .fused_experts = true},
       {"gpt-oss.feed_forward_length"}},  // of dense layers, which it has not
      {"granite",
       {.model_class = "GraniteForCausalLM",
        .config = {{"logits_scaling", 4.0},
                   {"residual_multiplier", 0.25},
                   {"embedding_multiplier", 6.0},
                   {"attention_multiplier", 0.2}}}},
      {"granitemoe",
       {.model_class = "GraniteMoeSharedForCausalLM",
        .names = {{"ffn_gate_inp.", "block_sparse_moe.router.layer."},
                  {"ffn_down_exps.", "block_sparse_moe.output_linear."},
                  {"ffn_down_shexp.", "shared_mlp.output_linear."}},
        .config = {{"logits_scaling", 4.0},
                   {"residual_multiplier", 0.5},
                   {"embedding_multiplier", 6.0},
                   {"attention_multiplier", 0.2},
                   {"num_local_experts", 4},
                   {"num_experts_per_tok", 2},
                   {"shared_intermediate_size", 16}},
        .stacked = true}},
      {"starcoder2",
       {.model_class = "Starcoder2ForCausalLM",
        .names = {{"ffn_up.", "mlp.c_fc."}, {"ffn_down.", "mlp.c_proj."}},
        .halves = false,
        .layer_norm = true}},
  };
}

// Encoders. The names that begin a layer's first.
std::vector<Case> Encoders() {
  const std::vector<std::pair<std::string, std::string>> bert = {
      {"blk.", "bert.encoder.layer."},
      {"token_embd_norm.", "bert.embeddings.LayerNorm."},
      {"token_embd.", "bert.embeddings.word_embeddings."},
      {"position_embd.", "bert.embeddings.position_embeddings."},
      {"token_types.", "bert.embeddings.token_type_embeddings."},
      {"attn_q.", "attention.self.query."},
      {"attn_k.", "attention.self.key."},
      {"attn_v.", "attention.self.value."},
      {"attn_output_norm.", "attention.output.LayerNorm."},
      {"layer_output_norm.", "output.LayerNorm."},
      {"attn_output.", "attention.output.dense."},
      {"ffn_up.", "intermediate.dense."},
      {"ffn_down.", "output.dense."}};
  const std::vector<std::pair<std::string, std::string>> nomic = {
      {"blk.", "encoder.layers."},
      {"token_embd_norm.", "emb_ln."},
      {"token_embd.", "embeddings.word_embeddings."},
      {"token_types.", "embeddings.token_type_embeddings."},
      {"attn_qkv.", "attn.Wqkv."},
      {"attn_output_norm.", "norm1."},
      {"layer_output_norm.", "norm2."},
      {"attn_output.", "attn.out_proj."},
      {"ffn_up.", "mlp.fc11."},
      {"ffn_gate.", "mlp.fc12."},
      {"ffn_down.", "mlp.fc2."}};
  // What this publisher says in other words; null: not in those that all have.
  const nlohmann::json own_words = {{"max_position_embeddings", nullptr},
                                    {"hidden_size", nullptr},
                                    {"num_hidden_layers", nullptr},
                                    {"intermediate_size", nullptr},
                                    {"num_attention_heads", nullptr},
                                    {"num_key_value_heads", nullptr},
                                    {"layer_norm_eps", nullptr},
                                    {"rope_theta", nullptr},
                                    {"n_positions", 256},
                                    {"n_embd", 32},
                                    {"n_layer", 2},
                                    {"n_inner", 40},
                                    {"n_head", 4},
                                    {"layer_norm_epsilon", 1e-5f},
                                    {"rotary_emb_base", 10000},
                                    {"rotary_emb_fraction", 1.0}};
  const HfStyle of_bert = {
      .model_class = "BertModel", .names = bert, .halves = false, .encoder = true};
  return {{"bert_cls", of_bert},
          {"bert_mean", of_bert},
          {"nomic_bert",
           {.model_class = "NomicBertModel",
            .names = nomic,
            .config = own_words,
            .halves = false,
            .encoder = true}}};
}

std::unique_ptr<gguf::File> Open(const std::string& path) {
  auto file = gguf::File::Open(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : nullptr;
}

// All logits of a short text.
std::vector<float> Predict(const std::string& path) {
  const auto model = engine::Model::Load(path, {});
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return {};
  engine::SessionOptions options;
  options.context = 64;
  const auto session = engine::Session::Create(*model, options);
  EXPECT_TRUE(session.ok()) << session.status();
  if (!session.ok()) return {};
  const auto tokens = (*model)->tokenizer().Encode("the thing in there, 12 times", {});
  EXPECT_GT(tokens.size(), 16u);
  std::vector<float> logits;
  EXPECT_EQ((*session)->Decode(tokens, engine::LogitsMode::kAll), absl::OkStatus());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto row = (*session)->Logits(i);
    logits.insert(logits.end(), row.begin(), row.end());
  }
  return logits;
}

class Architectures : public ::testing::TestWithParam<Case> {
 protected:
  absl::StatusOr<convert::Report> Convert() {
    return convert::ConvertFolder(folder_.File("hf"), folder_.File("out.gguf"), {}, GoOn);
  }
  // Every tensor, and every key of the architecture but those unsaid.
  void ExpectSame(const gguf::File& source, const gguf::File& out) {
    EXPECT_EQ(out.tensors().size(), source.tensors().size());
    for (const gguf::TensorInfo& tensor : source.tensors()) {
      const gguf::TensorInfo* same = out.FindTensor(tensor.name);
      ASSERT_NE(same, nullptr) << tensor.name;
      EXPECT_EQ(same->shape, tensor.shape) << tensor.name;
      EXPECT_EQ(same->type, tensor.type) << tensor.name;
      EXPECT_TRUE(std::ranges::equal(same->data, tensor.data)) << tensor.name;
    }
    const std::string prefix = std::string(*source.GetString("general.architecture")) + ".";
    for (const gguf::KeyValue& kv : source.metadata()) {
      const auto& unsaid = GetParam().unsaid;
      if (kv.key.rfind(prefix, 0) != 0) continue;
      if (std::find(unsaid.begin(), unsaid.end(), kv.key) != unsaid.end()) continue;
      const gguf::MetaValue* value = out.Find(kv.key);
      ASSERT_NE(value, nullptr) << kv.key;
      EXPECT_EQ(*value, kv.value) << kv.key;
    }
  }
  const std::string golden_ =
      std::string(BANTAM_GOLDEN_DIR) + "/models/" + GetParam().model + ".gguf";
  testing::TempDir folder_;
};

TEST_P(Architectures, GiveBackTheModel) {
  const auto source = Open(golden_);
  ASSERT_NE(source, nullptr);
  testing::WriteHfFolder(*source, folder_.File("hf"), 2, GetParam().style);
  const auto report = Convert();
  ASSERT_TRUE(report.ok()) << report.status();
  ExpectSame(*source, *Open(folder_.File("out.gguf")));
}

TEST_P(Architectures, Predict) {
  const auto source = Open(golden_);
  ASSERT_NE(source, nullptr);
  testing::WriteHfFolder(*source, folder_.File("hf"), 1, GetParam().style);
  const auto report = Convert();
  ASSERT_TRUE(report.ok()) << report.status();
  const std::vector<float> expected = Predict(golden_), found = Predict(folder_.File("out.gguf"));
  ASSERT_EQ(found.size(), expected.size());
  ASSERT_FALSE(expected.empty());
  EXPECT_EQ(found, expected);
}

INSTANTIATE_TEST_SUITE_P(All, Architectures, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.model; });

using EncoderArchitectures = Architectures;

TEST_P(EncoderArchitectures, GiveBackTheModelAndItsVocabulary) {
  const auto source = Open(golden_);
  ASSERT_NE(source, nullptr);
  testing::WriteHfFolder(*source, folder_.File("hf"), 2, GetParam().style);
  const auto report = Convert();
  ASSERT_TRUE(report.ok()) << report.status();
  ExpectSame(*source, *Open(folder_.File("out.gguf")));
  std::vector<std::vector<tokenizer::TokenId>> ids;
  for (const std::string& path : {golden_, folder_.File("out.gguf")}) {
    const auto model = engine::Model::Load(path, {});
    ASSERT_TRUE(model.ok()) << model.status();
    ids.push_back((*model)->tokenizer().Encode("The thing in there, 12 times!", {}));
  }
  EXPECT_GT(ids[0].size(), 5u);
  EXPECT_EQ(ids[0], ids[1]);
}

INSTANTIATE_TEST_SUITE_P(All, EncoderArchitectures, ::testing::ValuesIn(Encoders()),
                         [](const auto& info) { return info.param.model; });

class Changed : public ::testing::Test {
 protected:
  void Make(const std::string& model) {
    for (const Case& c : Cases()) {
      if (c.model == model) style_ = c.style;
    }
    source_ = Open(std::string(BANTAM_GOLDEN_DIR) + "/models/" + model + ".gguf");
  }
  // The message about the folder with these changes to config.json.
  std::string With(const nlohmann::json& patch) {
    HfStyle style = style_;
    style.config.merge_patch(patch);
    testing::WriteHfFolder(*source_, folder_.File("hf"), 1, style);
    return std::string(
        convert::ConvertFolder(folder_.File("hf"), folder_.File("out.gguf"), {}, GoOn)
            .status()
            .message());
  }
  HfStyle style_;
  std::unique_ptr<gguf::File> source_;
  testing::TempDir folder_;
};

TEST_F(Changed, ExpertsThatDoNotFit) {
  Make("qwen3moe");
  EXPECT_EQ(With(nlohmann::json::object()), "");
  EXPECT_THAT(With({{"num_experts", 9}}), HasSubstr("expert 8 of the tensor that becomes blk."));
  EXPECT_THAT(With({{"num_experts", 7}}), HasSubstr("past the 7"));
  EXPECT_THAT(With({{"num_experts", nullptr}}), HasSubstr("num_experts is missing"));
  EXPECT_THAT(With({{"norm_topk_prob", false}}), HasSubstr("norm_topk_prob"));
  EXPECT_THAT(With({{"mlp_only_layers", {0}}}), HasSubstr("mlp_only_layers"));
  EXPECT_THAT(With({{"use_sliding_window", true}}), HasSubstr("use_sliding_window"));
}

TEST_F(Changed, ExpertsInOneTensor) {
  Make("gpt_oss");
  EXPECT_EQ(With(nlohmann::json::object()), "");
  EXPECT_THAT(With({{"num_local_experts", 5}}), HasSubstr("of 4 experts, config.json says 5"));
  const gguf::File& source = *source_;
  const auto checkpoint = [&](const char* name, const testing::HfTensor& tensor) {
    auto experts = testing::FusedExperts(source, 0);
    experts[std::string("model.layers.0.mlp.experts.") + name] = tensor;
    std::filesystem::create_directories(folder_.File("parts"));
    testing::WriteText(folder_.File("parts/model.safetensors"), testing::SafetensorsBytes(experts));
    const auto opened = convert::Checkpoint::Open(folder_.File("parts"));
    EXPECT_TRUE(opened.ok()) << opened.status();
    const auto* blocks = (*opened)->Find("model.layers.0.mlp.experts.down_proj_blocks");
    return convert::PartsOf(**opened, *blocks).status();
  };
  EXPECT_EQ(checkpoint("other", {"F32", {1}, "abcd"}), absl::OkStatus());
  EXPECT_FALSE(checkpoint("down_proj_scales", {"U8", {4, 1, 1}, "abcd"}).ok());
  EXPECT_FALSE(checkpoint("down_proj_blocks", {"U8", {4, 1}, "abcd"}).ok());
}

TEST_F(Changed, ExpertsStacked) {
  Make("granitemoe");
  EXPECT_EQ(With(nlohmann::json::object()), "");
  EXPECT_THAT(With({{"num_local_experts", 5}}), HasSubstr("of 4 experts, config.json says 5"));
}

TEST_F(Changed, WindowsAndRotations) {
  Make("gemma3");
  EXPECT_THAT(With({{"layer_types", {"full_attention"}}}), HasSubstr("layer_types"));
  EXPECT_THAT(With({{"layer_types", {"a", "b", "c", "d", "e", "f"}}}), HasSubstr("layer_types"));
  EXPECT_THAT(With({{"sliding_window_pattern", 0}}), HasSubstr("sliding_window_pattern"));
  EXPECT_THAT(With({{"query_pre_attn_scalar", -1}}), HasSubstr("query_pre_attn_scalar"));
  Make("phi3_long");
  EXPECT_THAT(With({{"rope_scaling", {{"long_factor", {1, 2}}}}}), HasSubstr("long_factor"));
  EXPECT_THAT(With({{"original_max_position_embeddings", nullptr}}),
              HasSubstr("original_max_position_embeddings"));
  EXPECT_THAT(With({{"partial_rotary_factor", 0.4}}), HasSubstr("partial_rotary_factor"));
}

// By hand: four times the context that the model was made for, 64 tokens, sharpens the attention by
// the root of 1 + ln 4 / ln 64 = 1 + 1/3.
TEST_F(Changed, SharpeningThatFollowsFromTheContext) {
  Make("phi3_long");
  EXPECT_EQ(With({{"rope_scaling", {{"attention_factor", nullptr}}}}), "");
  const auto out = Open(folder_.File("out.gguf"));
  EXPECT_NEAR(*out->GetFloat("phi3.rope.scaling.attn_factor"), std::sqrt(4.0 / 3), 1e-6);
}

// Which layers have windows, where no period says it.
TEST_F(Changed, WindowsWithoutAPeriod) {
  Make("gemma3");
  const std::string full = "full_attention", part = "sliding_attention";
  EXPECT_EQ(With({{"layer_types", {part, part, full, full, part, full}}}), "");
  const auto out = Open(folder_.File("out.gguf"));
  const auto flags = out->GetInts("gemma3.attention.sliding_window_pattern");
  ASSERT_TRUE(flags.ok()) << flags.status();
  EXPECT_THAT(*flags, ::testing::ElementsAre(1, 1, 0, 0, 1, 0));
}

// A SentencePiece model in place of tokenizer.json: three control pieces, all bytes, and five more.
std::string Pieces(bool space_in_front) {
  std::string model = testing::SentencePiece("<unk>", 0, 2) + testing::SentencePiece("<s>", 0, 3) +
                      testing::SentencePiece("</s>", 0, 3);
  for (int byte = 0; byte < 256; ++byte) {
    model += testing::SentencePiece(absl::StrFormat("<0x%02X>", byte), 0, 6);
  }
  float score = 0;
  for (const char* piece : {"\u2581", "a", "b", "ab", "\u2581ab"}) {
    model += testing::SentencePiece(piece, score--, 1);
  }
  const std::string prefix = {static_cast<char>(3 << 3), static_cast<char>(space_in_front)};
  return model + testing::ProtobufField(3, prefix);
}

TEST_F(Changed, VocabularyOfPieces) {
  Make("gemma");
  EXPECT_EQ(With(nlohmann::json::object()), "");
  std::filesystem::remove(folder_.File("hf/tokenizer.json"));
  testing::WriteText(folder_.File("hf/tokenizer_config.json"),
                     R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true})");
  const std::string out = folder_.File("out.gguf");
  for (const bool space : {false, true}) {
    testing::WriteText(folder_.File("hf/tokenizer.model"), Pieces(space));
    const auto report = convert::ConvertFolder(folder_.File("hf"), out, {}, GoOn);
    ASSERT_TRUE(report.ok()) << report.status();
    const auto model = engine::Model::Load(out, {});
    ASSERT_TRUE(model.ok()) << model.status();
    const auto tokens = (*model)->tokenizer().Encode("abA", {});
    // BOS, the piece with or without a space, the byte A.
    EXPECT_THAT(tokens, ::testing::ElementsAre(1, space ? 263 : 262, 3 + 'A'));
    EXPECT_EQ((*model)->tokenizer().Decode(tokens), space ? " abA" : "abA");
  }
  std::filesystem::remove(folder_.File("hf/tokenizer.model"));
  EXPECT_THAT(
      std::string(convert::ConvertFolder(folder_.File("hf"), out, {}, GoOn).status().message()),
      HasSubstr("neither tokenizer.json nor tokenizer.model"));
}

}  // namespace
}  // namespace bantam
