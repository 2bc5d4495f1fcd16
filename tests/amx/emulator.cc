#include "tests/amx/emulator.h"

#include <immintrin.h>
#include <signal.h>
#include <ucontext.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>

#include "backends/cpu/amx/kernels.h"
#include "tests/amx/decode.h"

namespace bantam::amx_emulator {
namespace {

constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;

// As in memory.
struct Configuration {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(Configuration) == 64);

struct alignas(64) Tile {
  uint8_t row[kRows][kRowBytes];
};

struct State {
  Configuration configuration;
  Tile tiles[kTiles];
};
// With this model no memory is allocated on a thread's first use.
[[gnu::tls_model("initial-exec")]] thread_local State state;

std::atomic<int64_t> executed{0};

// Whether the tile is configured, and has some elements.
bool IsUsable(int tile) {
  const Configuration& c = state.configuration;
  return c.palette == 1 && c.rows[tile] != 0 && c.row_bytes[tile] != 0;
}

bool IsValid(const Configuration& c) {
  if (c.palette != 1) return false;
  for (uint8_t byte : c.reserved) {
    if (byte != 0) return false;
  }
  for (int i = 0; i < 16; ++i) {
    if (i >= kTiles && (c.rows[i] != 0 || c.row_bytes[i] != 0)) return false;
    if (c.rows[i] > kRows || c.row_bytes[i] > kRowBytes) return false;
    if ((c.rows[i] == 0) != (c.row_bytes[i] == 0)) return false;
  }
  return c.start_row == 0;  // others only where a load was interrupted
}

bool LoadConfiguration(const Instruction& in) {
  Configuration c;
  std::memcpy(&c, reinterpret_cast<const void*>(in.address), sizeof(c));
  if (c.palette != 0 && !IsValid(c)) return false;
  state = {};
  if (c.palette != 0) state.configuration = c;
  return true;
}

// A tile's rows past the last and bytes past a row's are zero at all times.
bool Load(const Instruction& in) {
  if (!IsUsable(in.tile)) return false;
  Tile& tile = state.tiles[in.tile];
  tile = {};
  for (int r = 0; r < state.configuration.rows[in.tile]; ++r) {
    std::memcpy(tile.row[r], reinterpret_cast<const void*>(in.address + r * in.stride),
                state.configuration.row_bytes[in.tile]);
  }
  return true;
}
bool Store(const Instruction& in) {
  if (!IsUsable(in.tile)) return false;
  for (int r = 0; r < state.configuration.rows[in.tile]; ++r) {
    std::memcpy(reinterpret_cast<void*>(in.address + r * in.stride), state.tiles[in.tile].row[r],
                state.configuration.row_bytes[in.tile]);
  }
  return true;
}

// The rows of the sums are those of a, their columns b's, and four bytes of a meet a row of b.
bool Fits(const Instruction& in) {
  const Configuration& c = state.configuration;
  return IsUsable(in.tile) && IsUsable(in.a) && IsUsable(in.b) && c.rows[in.tile] == c.rows[in.a] &&
         c.row_bytes[in.tile] == c.row_bytes[in.b] && c.row_bytes[in.a] == 4 * c.rows[in.b] &&
         c.row_bytes[in.tile] % 4 == 0;
}

// Rows `c` += rows of `a` times `b`: the products of even elements are summed in order by fused
// multiply-adds, those of odd ones too, then both are joined and added to what was there. Columns
// past the last were and stay zero: so are b's.
[[gnu::target("avx512f"), gnu::noinline]] void AddBf16(const Tile& a, const Tile& b, Tile& c,
                                                       int rows, int pairs) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000));
  for (int m = 0; m < rows; ++m) {
    __m512 even = _mm512_setzero_ps(), odd = even;
    for (int p = 0; p < pairs; ++p) {
      int32_t pair;
      std::memcpy(&pair, a.row[m] + 4 * p, sizeof(pair));
      const __m512i x = _mm512_set1_epi32(pair), y = _mm512_load_si512(b.row[p]);
      even = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
                             _mm512_castsi512_ps(_mm512_slli_epi32(y, 16)), even);
      odd = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(x, upper)),
                            _mm512_castsi512_ps(_mm512_and_si512(y, upper)), odd);
    }
    _mm512_store_ps(c.row[m], _mm512_add_ps(_mm512_load_ps(c.row[m]), _mm512_add_ps(even, odd)));
  }
}
bool DotBf16(const Instruction& in) {
  if (!Fits(in)) return false;
  // To nearest even, no exceptions, and denormal numbers count as zeros and become such.
  constexpr unsigned kMode = 0x1F80 | 0x8040;
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(kMode);
  AddBf16(state.tiles[in.a], state.tiles[in.b], state.tiles[in.tile],
          state.configuration.rows[in.tile], state.configuration.rows[in.b]);
  _mm_setcsr(mode);
  return true;
}

// Sums wrap around.
bool DotBytes(const Instruction& in) {
  if (!Fits(in)) return false;
  const bool a_signed = in.op == Op::kDotSS || in.op == Op::kDotSU;
  const bool b_signed = in.op == Op::kDotSS || in.op == Op::kDotUS;
  const int rows = state.configuration.rows[in.tile], fours = state.configuration.rows[in.b];
  auto number = [](uint8_t byte, bool is_signed) {
    return is_signed ? static_cast<int32_t>(static_cast<int8_t>(byte)) : int32_t{byte};
  };
  for (int m = 0; m < rows; ++m) {
    uint32_t c[16];
    std::memcpy(c, state.tiles[in.tile].row[m], sizeof(c));
    for (int p = 0; p < fours; ++p) {
      for (int n = 0; n < 16; ++n) {
        for (int i = 0; i < 4; ++i) {
          c[n] += static_cast<uint32_t>(number(state.tiles[in.a].row[m][4 * p + i], a_signed) *
                                        number(state.tiles[in.b].row[p][4 * n + i], b_signed));
        }
      }
    }
    std::memcpy(state.tiles[in.tile].row[m], c, sizeof(c));
  }
  return true;
}

bool Execute(const Instruction& in) {
  switch (in.op) {
    case Op::kLoadConfig:
      return LoadConfiguration(in);
    case Op::kStoreConfig:
      std::memcpy(reinterpret_cast<void*>(in.address), &state.configuration,
                  sizeof(state.configuration));
      return true;
    case Op::kRelease:
      state = {};
      return true;
    case Op::kZero:
      if (!IsUsable(in.tile)) return false;
      state.tiles[in.tile] = {};
      return true;
    case Op::kLoad:
      return Load(in);
    case Op::kStore:
      return Store(in);
    case Op::kDotBf16:
      return DotBf16(in);
    default:
      return DotBytes(in);
  }
}

void HandleIllegalInstruction(int, siginfo_t*, void* context) {
  auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
  constexpr int kOrder[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                            REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  std::array<uint64_t, 16> registers;
  for (int i = 0; i < 16; ++i) registers[i] = static_cast<uint64_t>(machine.gregs[kOrder[i]]);
  const auto* code = reinterpret_cast<const uint8_t*>(machine.gregs[REG_RIP]);
  const auto instruction = Decode(code, registers);
  if (instruction && Execute(*instruction)) {
    machine.gregs[REG_RIP] += instruction->length;
    executed.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  // It is refused once more, and ends the process.
  signal(SIGILL, SIG_DFL);
}

// Tests that are to be skipped are told by these lines.
[[maybe_unused]] const bool kInstalled = [] {
  if (cpu::amx::Kernels().runs_here()) {
    std::fprintf(stderr, "amx emulator: not needed, this processor has tiles\n");
    return false;
  }
  struct sigaction action = {};
  action.sa_sigaction = &HandleIllegalInstruction;
  action.sa_flags = SA_SIGINFO;
  if (sigaction(SIGILL, &action, nullptr) != 0) return false;
  cpu::amx::AssumeTiles();
  if (!cpu::amx::Kernels().runs_here()) {
    std::fprintf(stderr,
                 "amx emulator: not possible, this processor lacks the AVX-512 of the set\n");
  }
  return true;
}();

}  // namespace

int64_t Executed() { return executed.load(std::memory_order_relaxed); }

}  // namespace bantam::amx_emulator
