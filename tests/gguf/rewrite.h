// A file's contents, written again.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "runtime/gguf/writer.h"

namespace bantam::gguf {

inline absl::StatusOr<std::string> Rewrite(const File& file) {
  Writer writer;
  for (const KeyValue& kv : file.metadata()) writer.Set(kv.key, kv.value);
  for (const TensorInfo& t : file.tensors()) {
    BANTAM_RETURN_IF_ERROR(
        writer.AddTensor(t.name, t.type, std::span(t.shape.data(), t.n_dims), t.data));
  }
  return writer.Serialize();
}

}  // namespace bantam::gguf
