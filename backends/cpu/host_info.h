// What the operating system says about the processor and memory of this machine.
#pragma once

#include <string>
#include <vector>

#include "runtime/device/device.h"

namespace bantam::cpu {

// "AMD EPYC", "Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz"; "CPU" where the system does not say.
std::string CpuModelName();

// Physical memory and what of it could be used now without swapping, both cut to what the control
// group this process runs in (a container) may use.
device::MemoryInfo HostMemory();

// Cores among these processors: hardware threads of one core count once. `topology` is where Linux
// describes processors; one that it does not describe is a core of its own.
int CountCores(const std::vector<int>& processors,
               const std::string& topology = "/sys/devices/system/cpu");

// Cores this process may use: what a program should compute on whose threads never wait.
int UsableCores();

}  // namespace bantam::cpu
