// Ops that move rows: gather, dequantize, write to the KV cache, transfer.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/cpu/plan/interleave.h"
#include "backends/cpu/reference/kernels.h"
#include "runtime/quant/decode.h"
#include "runtime/quant/encode_blocks.h"
#include "runtime/quant/float16.h"

namespace bantam::cpu::reference {
namespace {

constexpr int64_t kDecodeCost = 4;  // of one element, in additions

void RunGatherRows(const Step& step, const RunContext& context) {
  const Tensor& table = step.inputs[0];
  const auto* ids = reinterpret_cast<const int32_t*>(step.inputs[1].data);
  const int64_t k = table.shape[0];
  const quant::DecodeFn decode = quant::Decoder(table.type);
  const int64_t interleaved = table.interleaved ? InterleavedRows(table.shape[1]) : 0;
  context.pool.ParallelFor(
      step.output.rows(), Grain(k * kDecodeCost), [&](int64_t begin, int64_t end, int worker) {
        for (int64_t r = begin; r < end; ++r) {
          float* out = step.output.RowAs<float>(r);
          if (ids[r] < 0 || ids[r] >= table.shape[1]) {
            std::memset(out, 0, k * sizeof(float));
          } else if (ids[r] < interleaved) {
            const int64_t in_group = ids[r] % kInterleaved;
            auto* row = reinterpret_cast<std::byte*>(context.Scratch(worker));
            ExtractRow(table.type, k, table.Row(ids[r] - in_group, 0, 0), in_group, row);
            decode(row, out, k);
          } else {
            decode(table.Row(ids[r], 0, 0), out, k);
          }
        }
      });
}

void RunGatherElements(const Step& step, const RunContext& context) {
  const Tensor& x = step.inputs[0];
  const Tensor& ids = step.inputs[1];
  const int64_t k = x.shape[0], m = ids.shape[0];
  context.pool.ParallelFor(ids.rows(), Grain(m), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const auto* from = x.RowAs<const uint32_t>(r);  // f32 or i32
      const auto* id = ids.RowAs<const int32_t>(r);
      auto* out = step.output.RowAs<uint32_t>(r);
      for (int64_t i = 0; i < m; ++i) out[i] = id[i] >= 0 && id[i] < k ? from[id[i]] : 0;
    }
  });
}

void RunDequantize(const Step& step, const RunContext& context) {
  const Tensor& x = step.inputs[0];
  const quant::DecodeFn decode = quant::Decoder(x.type);
  context.pool.ParallelFor(x.rows(), Grain(x.shape[0] * kDecodeCost),
                           [&](int64_t begin, int64_t end, int) {
                             for (int64_t r = begin; r < end; ++r) {
                               decode(x.Row(r), step.output.RowAs<float>(r), x.shape[0]);
                             }
                           });
}

void StoreF32(const float* from, std::byte* to, int64_t n) {
  std::memcpy(to, from, n * sizeof(float));
}

void StoreF16(const float* from, std::byte* to, int64_t n) {
  auto* out = reinterpret_cast<uint16_t*>(to);
  for (int64_t i = 0; i < n; ++i) out[i] = quant::FloatToHalf(from[i]);
}

// Values that are not numbers stay so: they are to be seen in the logits.
template <typename Block>
void StoreBlocks(const float* from, std::byte* to, int64_t n) {
  constexpr uint16_t kNan = 0x7E00;
  for (int64_t i = 0; i < n / Block::kElements; ++i) {
    const float* x = from + i * Block::kElements;
    Block block{};
    if (std::all_of(x, x + Block::kElements, [](float v) { return std::isfinite(v); })) {
      quant::EncodeBlock(x, block);
    } else {
      block.d = kNan;
    }
    std::memcpy(to + i * sizeof(Block), &block, sizeof(Block));
  }
}

template <void (*kStore)(const float*, std::byte*, int64_t)>
void RunKvWrite(const Step& step, const RunContext& context) {
  const Tensor& cache = step.inputs[0];
  const Tensor& x = step.inputs[1];
  const Tensor& slots = step.inputs[2];
  const int64_t d = x.shape[0], heads = x.shape[1], n = x.shape[2];
  // By head, so that two rows for one slot are written in order by one thread.
  context.pool.ParallelFor(heads, Grain(n * d * kDecodeCost), [&](int64_t begin, int64_t end, int) {
    for (int64_t head = begin; head < end; ++head) {
      for (int64_t i = 0; i < n; ++i) {
        const int32_t slot = reinterpret_cast<const int32_t*>(slots.data)[i];
        if (slot < 0 || slot >= cache.shape[2]) continue;
        kStore(reinterpret_cast<const float*>(x.Row(head, i, 0)), cache.Row(head, slot, 0), d);
      }
    }
  });
}

void RunTransfer(const Step& step, const RunContext& context) {
  const Tensor& x = step.inputs[0];
  const int64_t bytes = quant::RowBytes(x.type, x.shape[0]);
  context.pool.ParallelFor(x.rows(), Grain(bytes / 16), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) std::memcpy(step.output.Row(r), x.Row(r), bytes);
  });
}

}  // namespace

void PrepareGatherRows(Step& step) {
  step.run = &RunGatherRows;
  const Tensor& table = step.inputs[0];
  step.kernel = absl::StrCat("gather_rows ", quant::Name(table.type),
                             table.interleaved ? " interleaved" : "");
  // Needed where the table is interleaved, and stated before that is known.
  if (CanInterleave(table.type)) {
    step.worker_scratch = quant::RowBytes(table.type, table.shape[0]);
  }
}

void PrepareGatherElements(Step& step) {
  step.run = &RunGatherElements;
  step.kernel = "gather_elements";
}

void PrepareDequantize(Step& step) {
  step.run = &RunDequantize;
  step.kernel = absl::StrCat("dequantize ", quant::Name(step.inputs[0].type));
}

void PrepareKvWrite(Step& step) {
  const quant::Type type = step.inputs[0].type;
  step.kernel = absl::StrCat("kv_write ", quant::Name(type));
  switch (type) {
    case quant::Type::kQ8_0:
      step.run = &RunKvWrite<&StoreBlocks<quant::BlockQ8_0>>;
      break;
    case quant::Type::kQ4_0:
      step.run = &RunKvWrite<&StoreBlocks<quant::BlockQ4_0>>;
      break;
    case quant::Type::kF16:
      step.run = &RunKvWrite<&StoreF16>;
      break;
    default:  // F32: CheckSupported lets nothing else through
      step.run = &RunKvWrite<&StoreF32>;
  }
}

void PrepareTransfer(Step& step) {
  step.run = &RunTransfer;
  step.kernel = absl::StrCat("copy ", quant::Name(step.inputs[0].type));
}

}  // namespace bantam::cpu::reference
