#include "runtime/convert/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "runtime/convert/safetensors.h"
#include "runtime/convert/vocabulary.h"
#include "runtime/quant/decode.h"
#include "runtime/quant/float16.h"
#include "tests/convert/hugging_face.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using ::testing::HasSubstr;

bool GoOn(uint64_t, uint64_t) { return true; }

std::unique_ptr<gguf::File> Open(const std::string& path) {
  auto file = gguf::File::Open(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : nullptr;
}

std::vector<float> Values(const gguf::TensorInfo& tensor) {
  std::vector<float> values(tensor.elements());
  quant::DecodeRow(tensor.type, tensor.data.data(), values.data(), tensor.elements());
  return values;
}

class Convert : public ::testing::Test {
 protected:
  void Make(const testing::TinyLlamaOptions& options, int shards = 1) {
    testing::WriteTinyLlama(folder_.File("tiny.gguf"), options);
    source_ = Open(folder_.File("tiny.gguf"));
    hf_ = folder_.File("tiny");
    testing::WriteHfFolder(*source_, hf_, shards);
  }
  absl::Status Run(const convert::Options& options = {}) {
    return convert::ConvertFolder(hf_, out_, options, GoOn).status();
  }
  std::string EditConfig(const nlohmann::json& patch) {
    std::ifstream in(hf_ + "/config.json");
    auto config = nlohmann::json::parse(in);
    config.merge_patch(patch);
    testing::WriteText(hf_ + "/config.json", config.dump());
    return std::string(Run().message());
  }

  testing::TempDir folder_;
  std::unique_ptr<gguf::File> source_;
  std::string hf_;
  std::string out_ = folder_.File("out.gguf");
};

TEST_F(Convert, GivesBackTheModel) {
  for (const int shards : {1, 3}) {
    for (const bool tied : {true, false}) {
      Make({.heads = 4, .heads_kv = 2, .tied = tied, .biases = true}, shards);
      ASSERT_EQ(Run(), absl::OkStatus());
      const auto out = Open(out_);
      ASSERT_NE(out, nullptr);
      EXPECT_EQ(out->tensors().size(), source_->tensors().size());
      for (const gguf::TensorInfo& tensor : source_->tensors()) {
        const gguf::TensorInfo* same = out->FindTensor(tensor.name);
        ASSERT_NE(same, nullptr) << tensor.name;
        EXPECT_EQ(same->shape, tensor.shape);
        EXPECT_TRUE(std::ranges::equal(same->data, tensor.data)) << tensor.name;
      }
      for (const gguf::KeyValue& kv : source_->metadata()) {
        const gguf::MetaValue* value = out->Find(kv.key);
        ASSERT_NE(value, nullptr) << kv.key;
        const auto* array = std::get_if<std::shared_ptr<const gguf::MetaArray>>(&kv.value);
        if (array == nullptr) {
          EXPECT_EQ(*value, kv.value) << kv.key;
        } else {
          const auto same = std::get<std::shared_ptr<const gguf::MetaArray>>(*value);
          EXPECT_EQ(same->strings, (*array)->strings) << kv.key;
          EXPECT_TRUE(std::ranges::equal(same->raw, (*array)->raw)) << kv.key;
        }
      }
    }
  }
}

TEST_F(Convert, OtherTypes) {
  Make({});
  for (const quant::Type type : {quant::Type::kF16, quant::Type::kBF16}) {
    ASSERT_EQ(Run({.type = type}), absl::OkStatus());
    const auto out = Open(out_);
    const gguf::TensorInfo* matrix = out->FindTensor("blk.1.attn_k.weight");
    EXPECT_EQ(matrix->type, type);
    EXPECT_EQ(out->FindTensor("blk.1.attn_norm.weight")->type, quant::Type::kF32);
    const auto exact = Values(*source_->FindTensor("blk.1.attn_k.weight"));
    const auto stored = Values(*matrix);
    const bool half = type == quant::Type::kF16;
    for (size_t i = 0; i < exact.size(); ++i) {
      const float nearest = half ? quant::HalfToFloat(quant::FloatToHalf(exact[i]))
                                 : quant::BFloat16ToFloat(quant::FloatToBFloat16(exact[i]));
      ASSERT_EQ(stored[i], nearest);
    }
  }
}

TEST_F(Convert, FrequencyFactorsOfLlama3) {
  Make({});
  EXPECT_EQ(EditConfig({{"rope_scaling",
                         {{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 64}}}}),
            "");
  const auto out = Open(out_);
  const gguf::TensorInfo* factors = out->FindTensor("rope_freqs.weight");
  ASSERT_NE(factors, nullptr);
  const auto values = Values(*factors);
  ASSERT_EQ(values.size(), 8);  // half a head of 16
  // By hand: a frequency f turns 64 f / 2 pi times in the original context. Frequency 0 is 1:
  // 10.19 turns, above 4, kept. 1 is 10^-0.5: 3.221 turns, smoothed by (3.221 - 1) / 3 = 0.7404:
  // 1 / (0.2596 / 8 + 0.7404) = 1.2940. 2 is 0.1: 1.0186 turns, 0.0062: 7.667. 3 is below 1: 8.
  EXPECT_FLOAT_EQ(values[0], 1);
  EXPECT_NEAR(values[1], 1.2940, 2e-4);
  EXPECT_NEAR(values[2], 7.667, 2e-3);
  EXPECT_FLOAT_EQ(values[3], 8);
}

TEST_F(Convert, WhatIsWrongIsNamed) {
  Make({});
  EXPECT_THAT(EditConfig({{"architectures", {"GPT9ForCausalLM"}}}), HasSubstr("GPT9ForCausalLM"));
  EXPECT_THAT(EditConfig({{"architectures", {"LlamaForCausalLM"}}, {"hidden_size", nullptr}}),
              HasSubstr("hidden_size"));
  EXPECT_THAT(EditConfig({{"hidden_size", "big"}}), HasSubstr("hidden_size"));
  EXPECT_THAT(EditConfig({{"hidden_size", 64}, {"num_hidden_layers", 3}}), HasSubstr("blk.2."));
  EXPECT_THAT(EditConfig({{"num_hidden_layers", 1}}), HasSubstr("past the 1"));
  EXPECT_THAT(
      EditConfig({{"num_hidden_layers", 2}, {"rope_scaling", {{"type", "odd"}, {"factor", 2}}}}),
      HasSubstr("'odd'"));
  EXPECT_EQ(EditConfig({{"rope_scaling", nullptr}}), "");
  std::filesystem::remove(out_);
  EXPECT_EQ(convert::ConvertFolder(hf_, out_, {}, [](uint64_t, uint64_t) { return false; })
                .status()
                .code(),
            absl::StatusCode::kAborted);
  EXPECT_FALSE(std::filesystem::exists(out_));
  testing::WriteText(hf_ + "/tokenizer.json",
                     R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
                         "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[xyz]+"}}})");
  EXPECT_THAT(std::string(Run().message()), HasSubstr("[xyz]+"));
  EXPECT_EQ(Run({.pre = "smollm"}), absl::OkStatus());
  std::filesystem::remove(hf_ + "/tokenizer.json");
  EXPECT_TRUE(absl::IsNotFound(Run()));
  std::filesystem::remove(hf_ + "/model.safetensors");
  EXPECT_TRUE(absl::IsNotFound(Run()));
}

TEST_F(Convert, TooLargeForHalf) {
  Make({});
  std::string bytes;
  {
    std::ifstream in(hf_ + "/model.safetensors", std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  const float large = 1e6f;  // the last element of the last tensor: the norm comes after the layers
  const size_t at = bytes.size() - 4;
  bytes.replace(at, 4, reinterpret_cast<const char*>(&large), 4);
  testing::WriteText(hf_ + "/model.safetensors", bytes);
  EXPECT_EQ(Run({.type = quant::Type::kF16}), absl::OkStatus());  // vectors become F32
  bytes.replace(bytes.size() - 64 * 4 - 4, 4, reinterpret_cast<const char*>(&large), 4);
  testing::WriteText(hf_ + "/model.safetensors", bytes);
  EXPECT_THAT(std::string(Run({.type = quant::Type::kF16}).message()),
              HasSubstr("F16 cannot hold"));
}

TEST(Safetensors, NothingMalformedIsTaken) {
  const std::string good = testing::SafetensorsBytes({{"a", {"F32", {2, 3}, std::string(24, 'a')}},
                                                      {"b", {"BF16", {5}, std::string(10, 'b')}},
                                                      {"c", {"U8", {}, "c"}}});
  const auto parse = [](const std::string& bytes) {
    return convert::Safetensors::Parse(std::as_bytes(std::span(bytes)), "x").status();
  };
  ASSERT_EQ(parse(good), absl::OkStatus());
  for (size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(parse(good.substr(0, size)).ok());
  EXPECT_FALSE(parse(good + "x").ok());
  const auto with_header = [](const std::string& header, size_t data) {
    const uint64_t size = header.size();
    return std::string(reinterpret_cast<const char*>(&size), 8) + header + std::string(data, '\0');
  };
  const auto entry = [&](const std::string& shape, const std::string& offsets, size_t data,
                         const std::string& dtype = "F32") {
    return parse(with_header("{\"t\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
                                 ",\"data_offsets\":" + offsets + "}}",
                             data));
  };
  EXPECT_EQ(entry("[2]", "[0,8]", 8), absl::OkStatus());
  EXPECT_EQ(entry("[0,7]", "[0,0]", 0), absl::OkStatus());
  EXPECT_FALSE(entry("[2]", "[0,8]", 8, "F31").ok());
  EXPECT_FALSE(entry("[2]", "[8,0]", 8).ok());
  EXPECT_FALSE(entry("[2]", "[0,9]", 9).ok());
  EXPECT_FALSE(entry("[2]", "[-8,0]", 8).ok());
  EXPECT_FALSE(entry("[2]", "[0,1e1]", 8).ok());
  EXPECT_FALSE(entry("[-2]", "[0,8]", 8).ok());
  EXPECT_FALSE(entry("[4294967296,4294967296]", "[0,0]", 0).ok());
  EXPECT_FALSE(entry("[2]", "[0,18446744073709551615]", 8).ok());
  EXPECT_FALSE(entry("\"2\"", "[0,8]", 8).ok());
  const std::string two = R"("shape":[1],"dtype":"F32","data_offsets":)";
  EXPECT_FALSE(parse(with_header("{\"a\":{" + two + "[0,4]},\"b\":{" + two + "[0,4]}}", 4)).ok());
  EXPECT_FALSE(parse(with_header("{\"a\":{" + two + "[0,4]},\"b\":{" + two + "[8,12]}}", 12)).ok());
  EXPECT_FALSE(parse(with_header(std::string(100000, '['), 0)).ok());
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string mutated = good;
    for (int k = 0; k < 2; ++k) mutated[random() % good.size()] = static_cast<char>(random());
    (void)parse(mutated);  // under the sanitizers
  }
}

TEST(SentencePiece, PiecesAreRead) {
  const std::string model =
      testing::SentencePiece("<unk>", 0, 2) + testing::SentencePiece("<s>", 0, 3) +
      testing::SentencePiece("<0x41>", 0, 6) + testing::ProtobufField(2, "trainer") +
      testing::SentencePiece("\u2581the", -3.5f, 1);
  convert::Vocabulary v;
  ASSERT_EQ(convert::ReadSentencePiece(std::as_bytes(std::span(model)), "m", v), absl::OkStatus());
  EXPECT_EQ(v.model, "llama");
  EXPECT_THAT(v.tokens, ::testing::ElementsAre("<unk>", "<s>", "<0x41>", "\u2581the"));
  EXPECT_THAT(v.kinds, ::testing::ElementsAre(2, 3, 6, 1));
  EXPECT_EQ(v.scores[3], -3.5f);
  std::mt19937 random(2);
  for (int i = 0; i < 3000; ++i) {
    std::string mutated = model.substr(0, random() % (model.size() + 1));
    if (!mutated.empty()) mutated[random() % mutated.size()] = static_cast<char>(random());
    convert::Vocabulary any;
    (void)convert::ReadSentencePiece(std::as_bytes(std::span(mutated)), "m", any);
  }
}

// A llama model in GGJT and its predecessors, by the layout in ggml.cc.
std::string GgmlBytes(const gguf::File& source, const std::string& magic, uint32_t version,
                      std::optional<uint32_t> type_id = std::nullopt) {
  std::string out = magic;
  const auto put = [&](auto value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  const auto texts = *source.GetStrings("tokenizer.ggml.tokens");
  if (magic != "lmgg") put(version);
  for (const uint32_t value : {static_cast<uint32_t>(texts.size()), 64u, 256u, 4u, 2u, 16u, 0u}) {
    put(value);
  }
  for (size_t id = 0; id < texts.size(); ++id) {
    const std::string text = id < 3      ? ""
                             : id == 3   ? "\n"
                             : id == 260 ? " the"
                                         : std::string(texts[id]);
    put(static_cast<uint32_t>(text.size()));
    out += text;
    if (magic != "lmgg") put(-0.5f * static_cast<float>(id));
  }
  const std::pair<const char*, const char*> names[] = {
      {"token_embd", "tok_embeddings"}, {"output_norm", "norm"},
      {"attn_norm", "attention_norm"},  {"attn_q", "attention.wq"},
      {"attn_k", "attention.wk"},       {"attn_v", "attention.wv"},
      {"attn_output", "attention.wo"},  {"ffn_gate", "feed_forward.w1"},
      {"ffn_down", "feed_forward.w2"},  {"ffn_up", "feed_forward.w3"}};
  for (const gguf::TensorInfo& tensor : source.tensors()) {
    std::string name(tensor.name);
    for (const auto& [from, to] : names) {
      const size_t at = name.find(std::string(from) + ".");
      if (at != std::string::npos) name.replace(at, std::strlen(from), to);
    }
    if (name.rfind("blk.", 0) == 0) name.replace(0, 3, "layers");
    put(static_cast<uint32_t>(tensor.n_dims));
    put(static_cast<uint32_t>(name.size()));
    put(tensor.n_dims == 2 ? type_id.value_or(0) : 0u);
    for (int d = 0; d < tensor.n_dims; ++d) put(static_cast<uint32_t>(tensor.shape[d]));
    out += name;
    if (magic == "tjgg") out.resize((out.size() + 31) / 32 * 32);
    out.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  return out;
}

TEST_F(Convert, FormatsBeforeGguf) {
  Make({.heads = 4, .heads_kv = 2, .tied = false});
  const std::string path = folder_.File("old.bin");
  const std::pair<const char*, uint32_t> formats[] = {
      {"lmgg", 0}, {"fmgg", 1}, {"tjgg", 1}, {"tjgg", 2}, {"tjgg", 3}};
  for (const auto& [magic, version] : formats) {
    testing::WriteText(path, GgmlBytes(*source_, magic, version));
    ASSERT_TRUE(convert::IsGgml(path));
    const auto report = convert::ConvertGgml(path, out_, {.ggml_context = 77}, GoOn);
    ASSERT_TRUE(report.ok()) << report.status();
    const auto out = Open(out_);
    ASSERT_NE(out, nullptr);
    EXPECT_EQ(out->tensors().size(), source_->tensors().size());
    for (const gguf::TensorInfo& tensor : source_->tensors()) {
      const gguf::TensorInfo* same = out->FindTensor(tensor.name);
      ASSERT_NE(same, nullptr) << tensor.name;
      EXPECT_EQ(same->shape, tensor.shape);
      EXPECT_TRUE(std::ranges::equal(same->data, tensor.data)) << tensor.name;
    }
    EXPECT_EQ(*out->GetUint("llama.context_length"), 77);
    EXPECT_EQ(*out->GetUint("llama.attention.head_count_kv"), 2);
    EXPECT_EQ(*out->GetUint("llama.feed_forward_length"), 96);
    const auto tokens = *out->GetStrings("tokenizer.ggml.tokens");
    EXPECT_EQ(tokens[1], "<s>");
    EXPECT_EQ(tokens[3], "<0x0A>");
    EXPECT_EQ(tokens[260], "\u2581the");
    EXPECT_EQ((*out->GetInts("tokenizer.ggml.token_type"))[3], 6);
  }
  // Blocks of 4 bits changed in version 3.
  testing::WriteText(path, GgmlBytes(*source_, "tjgg", 2, 2));
  const auto refused = convert::ConvertGgml(path, folder_.File("never"), {}, GoOn).status();
  EXPECT_TRUE(absl::IsUnimplemented(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("Q4_0"));
  EXPECT_FALSE(std::filesystem::exists(folder_.File("never")));
}

TEST_F(Convert, DamagedOldFiles) {
  Make({});
  const std::string path = folder_.File("old.bin");
  const std::string good = GgmlBytes(*source_, "tjgg", 3);
  std::mt19937 random(4);
  for (int i = 0; i < 200; ++i) {
    std::string bytes = i % 2 == 0 ? good.substr(0, random() % good.size()) : good;
    // Mostly where the structure is.
    if (!bytes.empty()) {
      bytes[random() % std::min<size_t>(bytes.size(), 4000)] = static_cast<char>(random());
    }
    testing::WriteText(path, bytes);
    (void)convert::ConvertGgml(path, out_, {}, GoOn);  // under the sanitizers
  }
  testing::WriteText(path, good.substr(0, good.size() - 1));
  EXPECT_FALSE(convert::ConvertGgml(path, out_, {}, GoOn).ok());
}

}  // namespace
}  // namespace bantam
