// Source: the "pre_tokenizer" sections of the tokenizer.json that is published with each model.
// Expressions are written so that matching takes linear time and \p classes come after ASCII.
#include "runtime/tokenizer/pre_tokenizers.h"

#include <algorithm>

namespace bantam::tokenizer {
namespace {

using Patterns = const absl::string_view[];

// Any case, ASCII only.
#define CONTRACTION "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"
// Words with at most one sign or space before them, then the rest: signs with line ends, runs of
// spaces. NUMBER is what counts as one piece of a number.
#define WORDS_AND_NUMBERS(NUMBER)         \
  "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" NUMBER \
  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
// Words split where lower case is followed by upper case.
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED_WORDS(SUFFIX, NUMBER)                                                             \
  "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER \
  "*" SUFFIX "|" NUMBER "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

constexpr Patterns kGpt2 = {GPT2};
constexpr Patterns kDigitsGpt2 = {"\\p{N}", GPT2};
constexpr Patterns kLlama3 = {CONTRACTION "|" WORDS_AND_NUMBERS("\\p{N}{1,3}")};
constexpr Patterns kQwen2 = {CONTRACTION "|" WORDS_AND_NUMBERS("\\p{N}")};
constexpr Patterns kQwen35 = {
    CONTRACTION
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};
constexpr Patterns kMiniCpm5 = {"\\p{N}{1,3}", CONTRACTION "|" WORDS_AND_NUMBERS("\\p{N}+")};
constexpr Patterns kUfakZeka = {WORDS_AND_NUMBERS("\\p{N}")};
constexpr Patterns kGpt4o = {CASED_WORDS("(?:" CONTRACTION ")?", "\\p{N}{1,3}")};
constexpr Patterns kTekken = {CASED_WORDS("", "\\p{N}")};
constexpr Patterns kDefault = {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"};
constexpr Patterns kFalcon = {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"};
constexpr Patterns kPoro = {" ?[^(\\s|.,!?…。，、।۔،)]+"};
constexpr Patterns kViking = {" ?[^(\\s|.,!?…。，、।۔،)]+", "\\p{N}"};
constexpr Patterns kBailing = {
    CONTRACTION
    "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]"
    "|\\s+(?!\\S)|\\s+"};
constexpr Patterns kSeedCoder = {
    CONTRACTION
    "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+"
    "|\\s+(?!\\S)|\\s+"};
constexpr Patterns kDeepseekCoder = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
                                     "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+",
                                     "\\p{N}"};
constexpr Patterns kDeepseekV3 = {
    "\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+"
    "|\\s+(?!\\S)|\\s+"};
// The letters of the cased scripts, as DeepSeek's tokenizer lists them.
constexpr Patterns kDeepseekLlm = {
    "[\\r\\n]",
    "\\s?[A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"
    "\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}"
    "\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}"
    "\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}"
    "\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}"
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}"
    "\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}"
    "\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}"
    "\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}"
    "\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}"
    "\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}"
    "\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}"
    "\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}"
    "\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}"
    "\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}]+",
    "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
    "\\s+\\z",
    "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+",
    "\\p{N}+"};

struct Row {
  absl::string_view names;  // separated by spaces
  PreTokenizer pre_tokenizer;
};
constexpr Row kRows[] = {
    {"gpt-2 phi-2 gigachat a.x-4.0 mellum exaone4 mpt olmo jais trillion granite-docling", {kGpt2}},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2", {kLlama3, true, true}},
    {"glm4 glm5", {kLlama3, true}},
    {"dbrx smaug-bpe chatglm-bpe", {kLlama3}},
    {"qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", {kQwen2}},
    {"qwen35", {kQwen35}},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", {kDigitsGpt2}},
    {"default", {kDefault}},
    {"falcon", {kFalcon}},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", {kGpt4o}},
    {"tekken", {kTekken, true, true}},
    {"deepseek-llm", {kDeepseekLlm}},
    {"deepseek-coder", {kDeepseekCoder}},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4", {kDeepseekV3}},
    {"poro-chat bloom gpt3-finnish", {kPoro}},
    {"viking", {kViking}},
    {"bailingmoe bailingmoe2 llada-moe", {kBailing}},
    {"seed-coder", {kSeedCoder}},
    {"minicpm5", {kMiniCpm5, true}},
    {"ufakzeka", {kUfakZeka}},
};

bool HasName(absl::string_view names, absl::string_view name) {
  while (!names.empty()) {
    const size_t space = std::min(names.find(' '), names.size());
    if (names.substr(0, space) == name) return true;
    names.remove_prefix(std::min(space + 1, names.size()));
  }
  return false;
}

}  // namespace

const PreTokenizer* FindPreTokenizer(absl::string_view name) {
  if (name.empty()) name = "default";
  for (const Row& row : kRows) {
    if (HasName(row.names, name)) return &row.pre_tokenizer;
  }
  return nullptr;
}

}  // namespace bantam::tokenizer
