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

// How a publisher's files differ from a GGUF file of an architecture.
struct HfStyle {
  std::string model_class = "LlamaForCausalLM";
  // Parts of names in GGUF and there, before those all share; % is the number of an expert.
  std::vector<std::pair<std::string, std::string>> names;
  nlohmann::json config = nlohmann::json::object();  // beside what all have
  bool halves = true;                                // Q and K have the rows of a head by halves
  bool norms_less_one = false;
  bool layer_norm = false;
  bool fused_experts = false;  // as gpt-oss has them
  bool stacked = false;        // experts in one tensor, gate and up one after the other (Granite)
  bool encoder = false;        // BERT; names begin as they are given
};

inline std::string HfName(std::string name, const HfStyle& style = {}) {
  std::vector<std::pair<std::string, std::string>> parts = style.names;
  parts.insert(parts.end(), {{"token_embd.", "model.embed_tokens."},
                             {"output_norm.", "model.norm."},
                             {"attn_norm.", "input_layernorm."},
                             {"ffn_norm.", "post_attention_layernorm."},
                             {"attn_q.", "self_attn.q_proj."},
                             {"attn_k.", "self_attn.k_proj."},
                             {"attn_v.", "self_attn.v_proj."},
                             {"attn_output.", "self_attn.o_proj."},
                             {"ffn_gate.", "mlp.gate_proj."},
                             {"ffn_up.", "mlp.up_proj."},
                             {"ffn_down.", "mlp.down_proj."}});
  if (style.encoder) parts = style.names;
  if (name == "output.weight") return "lm_head.weight";
  for (const auto& [from, to] : parts) {
    if (const size_t at = name.find(from); from != "blk." && at != std::string::npos) {
      name.replace(at, from.size(), to);
      break;
    }
  }
  if (name.rfind("blk.", 0) == 0) {
    // Where the first name says so, layers have another place.
    const bool has_place = !style.names.empty() && style.names[0].first == "blk.";
    name.replace(0, 4, has_place ? style.names[0].second : "model.layers.");
  }
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

// A tensor of F32 as it is published: by the name there, one for each expert.
inline std::map<std::string, HfTensor> HfTensors(const gguf::TensorInfo& t, const HfStyle& style,
                                                 int64_t heads, int64_t heads_kv) {
  HfTensor tensor;
  for (int d = t.n_dims; d-- > 0;) tensor.shape.push_back(t.shape[d]);
  tensor.data.assign(reinterpret_cast<const char*>(t.data.data()), t.data.size());
  const std::string name(t.name), there = HfName(name, style);
  if (style.halves && name.find("attn_q.") != std::string::npos) {
    tensor.data = ToHalves(tensor.data, heads, tensor.shape[0]);
  }
  if (style.halves && name.find("attn_k.") != std::string::npos) {
    tensor.data = ToHalves(tensor.data, heads_kv, tensor.shape[0]);
  }
  if (style.norms_less_one && name.find("norm.weight") != std::string::npos) {
    for (size_t at = 0; at < tensor.data.size(); at += sizeof(float)) {
      float x;
      std::memcpy(&x, tensor.data.data() + at, sizeof(x));
      x -= 1;
      std::memcpy(tensor.data.data() + at, &x, sizeof(x));
    }
  }
  if (name.find("ffn_gate_inp_shexp") != std::string::npos)
    tensor.shape.insert(tensor.shape.begin(), 1);
  if (tensor.shape.size() < 3 || style.stacked) return {{there, tensor}};
  std::map<std::string, HfTensor> experts;
  const size_t bytes = tensor.data.size() / tensor.shape[0];
  for (int64_t i = 0; i < tensor.shape[0]; ++i) {
    std::string of_expert = there;
    of_expert.replace(of_expert.find('%'), 1, std::to_string(i));
    experts[of_expert] = {
        tensor.dtype, {tensor.shape[1], tensor.shape[2]}, tensor.data.substr(i * bytes, bytes)};
  }
  return experts;
}

// The experts of layer `layer` as gpt-oss publishes them: MXFP4 with the scales apart, neighbours
// in one byte, and the rows of gate and up by turns.
inline std::map<std::string, HfTensor> FusedExperts(const gguf::File& source, int64_t layer) {
  const std::string block = "blk." + std::to_string(layer) + ".ffn_";
  const std::string there = "model.layers." + std::to_string(layer) + ".mlp.experts.";
  std::map<std::string, HfTensor> out;
  const auto put = [&](const std::string& name, std::vector<std::string> matrices) {
    const auto turns = static_cast<int64_t>(matrices.size());
    const gguf::TensorInfo* first = source.FindTensor(block + matrices[0] + "_exps.weight");
    const int64_t blocks = first->shape[0] / 32, rows = first->shape[1], experts = first->shape[2];
    HfTensor values{"U8", {experts, turns * rows, blocks, 16}, ""};
    HfTensor scales{"U8", {experts, turns * rows, blocks}, ""};
    HfTensor bias{"F32", {experts, turns * rows}, ""};
    for (int64_t row = 0; row < experts * rows; ++row) {
      for (const std::string& matrix : matrices) {
        const auto weight = source.FindTensor(block + matrix + "_exps.weight")->data;
        const auto of_bias = source.FindTensor(block + matrix + "_exps.bias")->data;
        bias.data.append(reinterpret_cast<const char*>(of_bias.data()) + 4 * row, 4);
        for (int64_t b = row * blocks; b < (row + 1) * blocks; ++b) {
          const auto* bytes = reinterpret_cast<const unsigned char*>(weight.data()) + 17 * b;
          scales.data += static_cast<char>(bytes[0]);
          int codes[32];
          for (int j = 0; j < 16; ++j) {
            codes[j] = bytes[1 + j] % 16;
            codes[16 + j] = bytes[1 + j] / 16;
          }
          for (int j = 0; j < 32; j += 2) {
            values.data += static_cast<char>(codes[j] + 16 * codes[j + 1]);
          }
        }
      }
    }
    out[there + name + "_blocks"] = values;
    out[there + name + "_scales"] = scales;
    out[there + name + "_bias"] = bias;
  };
  put("gate_up_proj", {"gate", "up"});
  put("down_proj", {"down"});
  return out;
}

// Gate and up of all layers as Granite publishes them: for each expert, and for what all share, the
// rows of one after those of the other.
inline std::map<std::string, HfTensor> StackedHalves(const gguf::File& source, int64_t layers) {
  std::map<std::string, HfTensor> out;
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (const auto& [kind, there] :
         {std::pair{"exps", "block_sparse_moe"}, std::pair{"shexp", "shared_mlp"}}) {
      const auto half = [&](const char* matrix) {
        return source.FindTensor("blk." + std::to_string(layer) + ".ffn_" + matrix + "_" + kind +
                                 ".weight");
      };
      const gguf::TensorInfo *gate = half("gate"), *up = half("up");
      HfTensor tensor{"F32", {2 * gate->shape[1], gate->shape[0]}, ""};
      if (gate->n_dims == 3) tensor.shape.insert(tensor.shape.begin(), gate->shape[2]);
      const size_t bytes = gate->data.size() / gate->shape[2];
      for (int64_t expert = 0; expert < gate->shape[2]; ++expert) {
        for (const gguf::TensorInfo* part : {gate, up}) {
          tensor.data.append(reinterpret_cast<const char*>(part->data.data()) + expert * bytes,
                             bytes);
        }
      }
      out["model.layers." + std::to_string(layer) + "." + there + ".input_linear.weight"] = tensor;
    }
  }
  return out;
}

inline void WriteHfTokenizer(const gguf::File& source, const std::string& folder);
inline void WriteWordPiece(const gguf::File& source, const std::string& folder);

// The model `source` (F32) as its publisher would have had it; `shards` files.
inline void WriteHfFolder(const gguf::File& source, const std::string& folder, int shards,
                          const HfStyle& style = {}) {
  std::filesystem::create_directories(folder);
  const std::string architecture(*source.GetString("general.architecture"));
  const auto key = [&](const std::string& name) { return architecture + "." + name; };
  const auto number = [&](const std::string& name) { return *source.GetInt(key(name)); };
  const int64_t heads = number("attention.head_count");
  const int64_t heads_kv = source.GetInt(key("attention.head_count_kv")).value_or(heads);
  std::vector<std::map<std::string, HfTensor>> files(shards);
  nlohmann::json map;
  int next = 0;
  const auto put = [&](std::map<std::string, HfTensor> tensors) {
    for (auto& [name, tensor] : tensors) {
      const int shard = next++ % shards;
      files[shard][name] = std::move(tensor);
      map[name] = "part" + std::to_string(shard) + ".safetensors";
    }
  };
  for (const gguf::TensorInfo& t : source.tensors()) {
    if (t.name.find("rope_f") != t.name.npos) continue;  // in the configuration there
    if (style.fused_experts && t.name.find("_exps.") != t.name.npos) continue;
    const bool is_half = t.name.find("ffn_gate_exps.") != t.name.npos ||
                         t.name.find("ffn_up_exps.") != t.name.npos ||
                         t.name.find("ffn_gate_shexp.") != t.name.npos ||
                         t.name.find("ffn_up_shexp.") != t.name.npos;
    if (style.stacked && is_half) continue;
    put(HfTensors(t, style, heads, heads_kv));
  }
  for (int64_t i = 0; style.fused_experts && i < number("block_count"); ++i) {
    put(FusedExperts(source, i));
  }
  if (style.stacked) put(StackedHalves(source, number("block_count")));
  if (shards == 1) {
    WriteText(folder + "/model.safetensors", SafetensorsBytes(files[0]));
  } else {
    for (int i = 0; i < shards; ++i) {
      WriteText(folder + "/part" + std::to_string(i) + ".safetensors", SafetensorsBytes(files[i]));
    }
    WriteText(folder + "/model.safetensors.index.json", nlohmann::json{{"weight_map", map}}.dump());
  }
  nlohmann::json config = {{"architectures", {style.model_class}},
                           {"max_position_embeddings", number("context_length")},
                           {"hidden_size", number("embedding_length")},
                           {"num_hidden_layers", number("block_count")},
                           {"intermediate_size", number("feed_forward_length")},
                           {"num_attention_heads", heads},
                           {"num_key_value_heads", heads_kv},
                           {style.encoder      ? "layer_norm_eps"
                            : style.layer_norm ? "norm_epsilon"
                                               : "rms_norm_eps",
                            *source.GetFloat(key(style.layer_norm || style.encoder
                                                     ? "attention.layer_norm_epsilon"
                                                     : "attention.layer_norm_rms_epsilon"))},
                           {"tie_word_embeddings", source.FindTensor("output.weight") == nullptr}};
  if (const auto base = source.GetFloat(key("rope.freq_base")); base.ok()) {
    config["rope_theta"] = *base;
  }
  if (source.Find(key("attention.key_length")) != nullptr) {
    config["head_dim"] = number("attention.key_length");
  }
  if (source.Find(key("vocab_size")) != nullptr) config["vocab_size"] = number("vocab_size");
  config.merge_patch(style.config);
  WriteText(folder + "/config.json", config.dump());
  if (!style.encoder) return WriteHfTokenizer(source, folder);
  WriteWordPiece(source, folder);
  const int64_t pooling = number("pooling_type");
  std::filesystem::create_directories(folder + "/1_Pooling");
  WriteText(folder + "/1_Pooling/config.json",
            nlohmann::json{{"pooling_mode_mean_tokens", pooling == 1},
                           {"pooling_mode_cls_token", pooling == 2}}
                .dump());
}

// The vocabulary of `source`, WordPiece, as tokenizer.json: continuations are marked there, the
// beginnings of words here.
inline void WriteWordPiece(const gguf::File& source, const std::string& folder) {
  nlohmann::json vocab = nlohmann::json::object(), added = nlohmann::json::array();
  const auto texts = *source.GetStrings("tokenizer.ggml.tokens");
  const auto kinds = *source.GetInts("tokenizer.ggml.token_type");
  const std::string mark = "\u2581";
  for (size_t id = 0; id < texts.size(); ++id) {
    std::string text(texts[id]);
    if (kinds[id] == 3) {
      added.push_back({{"id", id}, {"content", text}, {"special", true}});
    } else {
      text = text.rfind(mark, 0) == 0 ? text.substr(mark.size()) : "##" + text;
    }
    vocab[text] = id;
  }
  const nlohmann::json tokenizer = {{"model", {{"type", "WordPiece"}, {"vocab", vocab}}},
                                    {"added_tokens", added},
                                    {"normalizer", {{"type", "BertNormalizer"}}}};
  WriteText(folder + "/tokenizer.json", tokenizer.dump());
  WriteText(folder + "/tokenizer_config.json", nlohmann::json{{"unk_token", "[UNK]"},
                                                              {"sep_token", "[SEP]"},
                                                              {"pad_token", "[PAD]"},
                                                              {"cls_token", "[CLS]"},
                                                              {"mask_token", "[MASK]"}}
                                                   .dump());
}

// The vocabulary of `source`, byte-level BPE, as tokenizer.json.
inline void WriteHfTokenizer(const gguf::File& source, const std::string& folder) {
  nlohmann::json vocab = nlohmann::json::object(), added = nlohmann::json::array();
  const auto texts = *source.GetStrings("tokenizer.ggml.tokens");
  const auto kinds = *source.GetInts("tokenizer.ggml.token_type");
  for (size_t id = 0; id < texts.size(); ++id) {
    if (kinds[id] == 3 || kinds[id] == 4) {
      added.push_back(
          {{"id", id}, {"content", std::string(texts[id])}, {"special", kinds[id] == 3}});
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
  nlohmann::json settings = {{"bos_token", text_of("tokenizer.ggml.bos_token_id")},
                             {"eos_token", {{"content", text_of("tokenizer.ggml.eos_token_id")}}},
                             {"add_bos_token", false}};
  if (const auto chat = source.GetString("tokenizer.chat_template"); chat.ok()) {
    settings["chat_template"] = std::string(*chat);
  }
  WriteText(folder + "/tokenizer_config.json", settings.dump());
}

// Fields as protocol buffers encode them, of fewer than 128 bytes.
inline std::string ProtobufField(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(bytes.size()) +
         bytes;
}

// A piece of a SentencePiece model; `type` as tokenizer::TokenKind counts.
inline std::string SentencePiece(const std::string& text, float score, int type) {
  std::string piece = ProtobufField(1, text) + static_cast<char>(2 << 3 | 5);
  piece.append(reinterpret_cast<const char*>(&score), 4);
  if (type != 1) piece += {static_cast<char>(3 << 3), static_cast<char>(type)};
  return ProtobufField(1, piece);
}

}  // namespace bantam::testing
