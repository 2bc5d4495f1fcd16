#include "backends/cpu/amx/kernels.h"
#include "backends/cpu/amx/tiles.h"

BANTAM_AMX_BEGIN

namespace bantam::cpu::amx {

int64_t Int8Dots(int64_t iterations) {
  constexpr int64_t kSums = 6;  // one is ready after 52 cycles, and one is begun each 16
  Configure();                  // zeroes all tiles
  for (int64_t i = 0; i < iterations; ++i) {
    AddByteDots<0, 6, 7>();
    AddByteDots<1, 6, 7>();
    AddByteDots<2, 6, 7>();
    AddByteDots<3, 6, 7>();
    AddByteDots<4, 6, 7>();
    AddByteDots<5, 6, 7>();
  }
  Release();
  return iterations * kSums * kTileRows * 16 * 64 * 2;
}

}  // namespace bantam::cpu::amx

BANTAM_AMX_END
