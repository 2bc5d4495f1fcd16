// Model files in GGUF from what models are published in, or were.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "runtime/quant/type.h"

namespace bantam::convert {

struct Options {
  // F32, F16 or BF16 for matrices; absent: as they are stored. Vectors become F32.
  std::optional<quant::Type> type;
  std::string pre;  // tokenizer.ggml.pre; "": recognised
  // What GGML files do not say. LLaMA was trained for 2048 tokens, Llama 2 for 4096; their norms
  // add 1e-6 and 1e-5.
  int64_t ggml_context = 2048;
  double ggml_epsilon = 5e-6;
};

struct Report {
  std::string architecture;
  int64_t tensors = 0;
  uint64_t bytes_before = 0;  // of the tensors
  uint64_t bytes_after = 0;
};

// Called with the bytes of source tensors that are done; returns false to stop, which is kAborted.
using ProgressFn = absl::FunctionRef<bool(uint64_t done, uint64_t of)>;

// From a Hugging Face folder: config.json, *.safetensors, tokenizer.json or tokenizer.model. In one
// pass; memory holds at most one tensor. Nothing stands at `output` until it is whole.
//
//   kNotFound         a file that the folder lacks
//   kUnimplemented    an architecture, tokenizer, rope scaling or dtype that is not supported
//   kInvalidArgument  what is wrong with which file, key or tensor; a value that `type` cannot hold
absl::StatusOr<Report> ConvertFolder(const std::string& folder, const std::string& output,
                                     const Options& options, ProgressFn progress);

// From a llama model in one of the formats before GGUF: GGML, GGMF v1, GGJT v1 to v3. Tensors are
// copied as they are; kUnimplemented names a quantized type whose layout has changed since.
absl::StatusOr<Report> ConvertGgml(const std::string& path, const std::string& output,
                                   const Options& options, ProgressFn progress);

// Whether a file starts as those of ConvertGgml do.
bool IsGgml(const std::string& path);

}  // namespace bantam::convert
