// What a library that is opened at run time, as the stand-in for cuBLAS is, sees of a stream of the
// emulated driver: the stream's address is that of a pointer to this.
#pragma once

#include <cstdint>
#include <functional>

namespace bantam::cuda::emulator {

struct LibraryStream {
  // Runs `work` now, or makes it a node of the graph where the stream is captured.
  void (*submit)(void* stream, std::function<void()> work);
  // Whether memory is of one allocation.
  bool (*owns)(const void* memory, uint64_t bytes);
};
extern const LibraryStream kLibraryStream;

}  // namespace bantam::cuda::emulator
