// The experts of gpt-oss: one tensor for all of a layer, gate and up in alternating rows, in MXFP4
// with the scales apart.
//
// Source: openai/gpt-oss on Hugging Face and the reference code (gpt_oss/torch/weights.py):
//
//   mlp.experts.gate_up_proj_blocks  U8 [experts, 2 ffn, width / 32, 16]  element 2 i in the low
//   half
//                                    of byte i, 2 i + 1 in the high half
//   mlp.experts.gate_up_proj_scales  U8 [experts, 2 ffn, width / 32]      exponents plus 127
//   mlp.experts.gate_up_proj_bias       [experts, 2 ffn]
//   mlp.experts.down_proj_blocks, _scales, _bias: the same, of [experts, width, ffn / 32, 16]
//
// GGUF has gate and up apart, each block behind its scale, and element j beside j + 16
// (BlockMXFP4).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/convert/safetensors.h"
#include "runtime/quant/type.h"

namespace bantam::convert {

// One tensor of GGUF that is made of such tensors.
struct FusedPart {
  std::string name;                      // "blk.3.ffn_up_exps.weight"
  const SourceTensor* values = nullptr;  // blocks, or a bias
  const SourceTensor* scales = nullptr;  // of blocks
  std::vector<int64_t> shape;            // innermost first
  int64_t first = 0, step = 1;           // which rows (of a bias: elements) are taken

  quant::Type type() const { return scales != nullptr ? quant::Type::kMXFP4 : quant::Type::kF32; }
};

// Whether the tensor is one of these.
bool IsFused(absl::string_view source);

// The parts that the blocks or biases of `source` become; none for scales, which go with blocks.
// kInvalidArgument when shapes do not fit each other or scales are missing.
absl::StatusOr<std::vector<FusedPart>> PartsOf(const Checkpoint& checkpoint,
                                               const SourceTensor& source);

// Expert `expert` of the part, as GGUF has it.
absl::Status WritePart(const FusedPart& part, int64_t expert, std::vector<std::byte>& out);

}  // namespace bantam::convert
