#include "backends/cpu/avx512/codebooks.h"

#include "runtime/quant/codebooks.h"

namespace bantam::cpu::avx512 {
namespace {

template <int kPoints>
Codebook<kPoints> Split(uint16_t (*code)(int index)) {
  Codebook<kPoints> book;
  for (int i = 0; i < kPoints; ++i) {
    book.low[i] = static_cast<uint8_t>(code(i));
    book.high[i] = static_cast<uint8_t>(code(i) >> 8);
  }
  return book;
}

SignTable AllSigns() {
  SignTable table;
  for (uint32_t i = 0; i < 128; ++i) table.signs[i] = quant::CompleteSigns(i);
  return table;
}

}  // namespace

const Codebook<256> kCodesIQ2_XXS = Split<256>(&quant::CodeIQ2_XXS);
const Codebook<512> kCodesIQ2_XS = Split<512>(&quant::CodeIQ2_XS);
const Codebook<1024> kCodesIQ2_S = Split<1024>(&quant::CodeIQ2_S);
const Codebook<256> kCodesIQ3_XXS = Split<256>(&quant::CodeIQ3_XXS);
const Codebook<512> kCodesIQ3_S = Split<512>(&quant::CodeIQ3_S);
const Codebook<2048> kCodesIQ1 = Split<2048>(&quant::CodeIQ1);
const SignTable kSigns = AllSigns();

}  // namespace bantam::cpu::avx512
