// Carries out the AMX instructions of this process where the processor refuses them, so that the
// kernels of the set "amx" can be tested without it: the very machine code runs.
//
// Loading this library is all it takes (linked, or by LD_PRELOAD): it handles SIGILL and tells the
// set that there are tiles (amx::AssumeTiles). A refused instruction that it does not know, or one
// that a processor with AMX would refuse too (tiles not configured, sizes that do not fit), ends
// the process by SIGILL as if the library were not there. Where the processor has AMX the library
// does nothing. Tiles are each thread's own. An instruction takes a few microseconds.
#pragma once

#include <cstdint>

namespace bantam::amx_emulator {

// How many instructions have been carried out here, by all threads.
int64_t Executed();

}  // namespace bantam::amx_emulator
