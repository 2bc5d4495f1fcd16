// Reading and writing importance matrices as llama.cpp's tools do.
//
// The GGUF form (2025) has for each weight NAME two F32 tensors, NAME.in_sum2 {columns, matrices},
// the sums of squares, and NAME.counts {1, matrices}, the rows summed; metadata general.type =
// "imatrix", imatrix.datasets (strings), imatrix.chunk_count and imatrix.chunk_size (u32).
//
// The binary form before it, little-endian and without magic or padding:
//
//   i32 entries; for each: i32 length, name; i32 calls; i32 values, f32 [values] = mean square *
//   calls then, in newer files: i32 chunks; i32 length, name of the text
//
// Counts by expert are lost in it: what it says of an expert that was never reached is 1 * calls.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "runtime/eval/imatrix.h"

namespace bantam::eval {

// Either form. Errors name the file and what was found; nothing in it is trusted.
absl::StatusOr<Imatrix> ReadImatrix(const std::string& path);

enum class ImatrixFormat : uint8_t { kGguf, kBinary };
// kInvalidArgument for one without entries. The file appears when it is whole.
absl::Status WriteImatrix(const std::string& path, const Imatrix& imatrix, ImatrixFormat format);

}  // namespace bantam::eval
