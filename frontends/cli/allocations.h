// How often this program has asked for heap memory, its library included.
#pragma once

#include <cstdint>

namespace bantam::cli {

int64_t AllocationCount();

}  // namespace bantam::cli
