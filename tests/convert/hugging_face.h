// A Hugging Face folder made from a GGUF file, for tests: the way back of bantam convert.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "runtime/gguf/file.h"

namespace bantam::testing {

inline void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

struct HfTensor {
  std::string dtype = "F32";
  std::vector<int64_t> shape;  // outermost first
  std::string data;
};

// u64 header length, header, data, as the specification has it.
inline std::string SafetensorsBytes(const std::map<std::string, HfTensor>& tensors) {
  nlohmann::ordered_json header;
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    header[name] = {{"dtype", tensor.dtype},
                    {"shape", tensor.shape},
                    {"data_offsets", {data.size(), data.size() + tensor.data.size()}}};
    data += tensor.data;
  }
  std::string json = header.dump();
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const uint64_t size = json.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + json + data;
}

inline std::string HfName(std::string name) {
  const std::pair<const char*, const char*> parts[] = {
      {"token_embd.", "model.embed_tokens."}, {"output_norm.", "model.norm."},
      {"attn_norm.", "input_layernorm."},     {"ffn_norm.", "post_attention_layernorm."},
      {"attn_q.", "self_attn.q_proj."},       {"attn_k.", "self_attn.k_proj."},
      {"attn_v.", "self_attn.v_proj."},       {"attn_output.", "self_attn.o_proj."},
      {"ffn_gate.", "mlp.gate_proj."},        {"ffn_up.", "mlp.up_proj."},
      {"ffn_down.", "mlp.down_proj."},
  };
  if (name == "output.weight") return "lm_head.weight";
  for (const auto& [from, to] : parts) {
    if (const size_t at = name.find(from); at != std::string::npos) {
      name.replace(at, std::strlen(from), to);
      break;
    }
  }
  if (name.rfind("blk.", 0) == 0) name.replace(0, 4, "model.layers.");
  return name;
}

// Rows of each head from neighbours (2i, 2i + 1) to halves (i, i + d/2): the pairs that
// transformers' rotate_half turns.
inline std::string ToHalves(const std::string& data, int64_t heads, int64_t rows) {
  const size_t row_bytes = data.size() / rows;
  const int64_t d = rows / heads;
  std::string out(data.size(), '\0');
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t i = 0; i < d / 2; ++i) {
      for (int64_t j : {0, 1}) {
        out.replace((head * d + i + j * (d / 2)) * row_bytes, row_bytes, data,
                    (head * d + 2 * i + j) * row_bytes, row_bytes);
      }
    }
  }
  return out;
}

// The model `source` (architecture llama, F32) as its publisher would have had it; `shards` files.
inline void WriteHfFolder(const gguf::File& source, const std::string& folder, int shards) {
  std::filesystem::create_directories(folder);
  const auto number = [&](const std::string& key) { return *source.GetInt("llama." + key); };
  const int64_t heads = number("attention.head_count");
  const int64_t heads_kv = number("attention.head_count_kv");
  std::vector<std::map<std::string, HfTensor>> files(shards);
  nlohmann::json map;
  int next = 0;
  for (const gguf::TensorInfo& t : source.tensors()) {
    HfTensor tensor;
    for (int d = t.n_dims; d-- > 0;) tensor.shape.push_back(t.shape[d]);
    tensor.data.assign(reinterpret_cast<const char*>(t.data.data()), t.data.size());
    const std::string name(t.name);
    if (name.find("attn_q.") != std::string::npos) {
      tensor.data = ToHalves(tensor.data, heads, tensor.shape[0]);
    }
    if (name.find("attn_k.") != std::string::npos) {
      tensor.data = ToHalves(tensor.data, heads_kv, tensor.shape[0]);
    }
    const int shard = next++ % shards;
    files[shard][HfName(name)] = tensor;
    map[HfName(name)] = "part" + std::to_string(shard) + ".safetensors";
  }
  if (shards == 1) {
    WriteText(folder + "/model.safetensors", SafetensorsBytes(files[0]));
  } else {
    for (int i = 0; i < shards; ++i) {
      WriteText(folder + "/part" + std::to_string(i) + ".safetensors", SafetensorsBytes(files[i]));
    }
    WriteText(folder + "/model.safetensors.index.json", nlohmann::json{{"weight_map", map}}.dump());
  }
  const nlohmann::json config = {
      {"architectures", {"LlamaForCausalLM"}},
      {"max_position_embeddings", number("context_length")},
      {"hidden_size", number("embedding_length")},
      {"num_hidden_layers", number("block_count")},
      {"intermediate_size", number("feed_forward_length")},
      {"num_attention_heads", heads},
      {"num_key_value_heads", heads_kv},
      {"rms_norm_eps", *source.GetFloat("llama.attention.layer_norm_rms_epsilon")},
      {"rope_theta", *source.GetFloat("llama.rope.freq_base")},
      {"tie_word_embeddings", source.FindTensor("output.weight") == nullptr}};
  WriteText(folder + "/config.json", config.dump());

  nlohmann::json vocab = nlohmann::json::object(), added = nlohmann::json::array();
  const auto texts = *source.GetStrings("tokenizer.ggml.tokens");
  const auto kinds = *source.GetInts("tokenizer.ggml.token_type");
  for (size_t id = 0; id < texts.size(); ++id) {
    if (kinds[id] == 3) {
      added.push_back({{"id", id}, {"content", std::string(texts[id])}, {"special", true}});
    } else {
      vocab[std::string(texts[id])] = id;
    }
  }
  const auto merge_texts = *source.GetStrings("tokenizer.ggml.merges");
  std::vector<std::string> merges(merge_texts.begin(), merge_texts.end());
  const nlohmann::json tokenizer = {
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}},
      {"added_tokens", added},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"use_regex", true}}}};
  WriteText(folder + "/tokenizer.json", tokenizer.dump());
  const auto text_of = [&](const char* key) { return std::string(texts[*source.GetInt(key)]); };
  const nlohmann::json settings = {
      {"bos_token", text_of("tokenizer.ggml.bos_token_id")},
      {"eos_token", {{"content", text_of("tokenizer.ggml.eos_token_id")}}},
      {"add_bos_token", false},
      {"chat_template", std::string(*source.GetString("tokenizer.chat_template"))}};
  WriteText(folder + "/tokenizer_config.json", settings.dump());
}

}  // namespace bantam::testing
