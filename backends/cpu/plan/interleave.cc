#include "backends/cpu/plan/interleave.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/cpu/host_buffer.h"
#include "runtime/device/plain_weights.h"

namespace bantam::cpu {
namespace {

struct Layout {
  int64_t elements = 0, bytes = 0;  // of a block; 0: not interleaved
  int odd_at = 0, odd_bytes = 0;
};
using Layouts = std::array<Layout, quant::kTypeIdLimit>;

template <typename... Blocks>
constexpr Layouts LayoutsOf(quant::BlockList<Blocks...>) {
  Layouts layouts{};
  ((layouts[static_cast<size_t>(Blocks::kType)] = {Blocks::kElements, sizeof(Blocks),
                                                   OddPiece<Blocks>::kAt,
                                                   OddPiece<Blocks>::kBytes}),
   ...);
  return layouts;
}
constexpr Layouts kLayouts = LayoutsOf(InterleavedBlocks{});

const Layout& LayoutOf(quant::Type type) { return kLayouts[static_cast<size_t>(type)]; }

// Calls f(offset, bytes) for each piece of a block.
template <typename F>
inline void ForEachPiece(const Layout& layout, const F& f) {
  for (int64_t at = 0; at < layout.bytes;) {
    if (layout.odd_bytes != 0 && at == layout.odd_at) {
      f(at, layout.odd_bytes);
      at += layout.odd_bytes;
    } else {
      f(at, 4);
      at += 4;
    }
  }
}

}  // namespace

bool CanInterleave(quant::Type type) { return LayoutOf(type).bytes != 0; }

void InterleaveGroup(quant::Type type, int64_t k, const std::byte* rows, std::byte* group) {
  const Layout& layout = LayoutOf(type);
  const int64_t blocks = k / layout.elements, row_bytes = blocks * layout.bytes;
  for (int64_t b = 0; b < blocks; ++b) {
    const std::byte* from = rows + b * layout.bytes;
    ForEachPiece(layout, [&](int64_t at, int bytes) {
      for (int64_t r = 0; r < kInterleaved; ++r) {
        // Sizes the compiler knows.
        if (bytes == 4) {
          std::memcpy(group + 4 * r, from + r * row_bytes + at, 4);
        } else if (bytes == 2) {
          std::memcpy(group + 2 * r, from + r * row_bytes + at, 2);
        } else {
          group[r] = from[r * row_bytes + at];
        }
      }
      group += kInterleaved * bytes;
    });
  }
}

void ExtractRow(quant::Type type, int64_t k, const std::byte* group, int64_t row, std::byte* out) {
  const Layout& layout = LayoutOf(type);
  const int64_t blocks = k / layout.elements;
  for (int64_t b = 0; b < blocks; ++b) {
    ForEachPiece(layout, [&](int64_t, int bytes) {
      std::memcpy(out, group + row * bytes, static_cast<size_t>(bytes));
      out += bytes;
      group += kInterleaved * bytes;
    });
  }
}

absl::Status LoadInterleaved(quant::Type type, const graph::Shape& shape,
                             std::span<const std::byte> data, const device::Binding& where,
                             ThreadPool& pool) {
  const uint64_t bytes = device::PlainWeightBytes(type, shape);
  auto* const buffer = dynamic_cast<HostBuffer*>(where.buffer);
  if (data.size() != bytes || !CanInterleave(type)) {
    return absl::InvalidArgumentError(absl::StrCat("a weight to interleave is ", quant::Name(type),
                                                   " and has ", data.size(), " bytes; expected ",
                                                   bytes));
  }
  if (buffer == nullptr || !buffer->writable() || where.offset > buffer->size() ||
      bytes > buffer->size() - where.offset) {
    return absl::InvalidArgumentError(
        absl::StrCat("no room for a weight of ", bytes, " bytes at ", where.offset));
  }
  const int64_t rows = shape[1], matrices = graph::RowCount(shape) / std::max<int64_t>(1, rows);
  const int64_t row_bytes = quant::RowBytes(type, shape[0]);
  std::byte* const to = buffer->host().data() + where.offset;
  // A task is 16 rows, or those that are left.
  const int64_t groups = InterleavedRows(rows) / kInterleaved;
  const int64_t tasks = groups + (groups * kInterleaved < rows ? 1 : 0);
  pool.ParallelFor(matrices * tasks, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % tasks * kInterleaved;
      const int64_t at = (task / tasks * rows + first) * row_bytes;
      if (task % tasks < groups) {
        InterleaveGroup(type, shape[0], data.data() + at, to + at);
      } else {
        std::memcpy(to + at, data.data() + at, static_cast<size_t>((rows - first) * row_bytes));
      }
    }
  });
  buffer->SetInterleaved(where.offset);
  return absl::OkStatus();
}

}  // namespace bantam::cpu
