// The plug-in's entry points.

#include "backends/cuda/device.h"

extern "C" int bantam_plugin_abi() { return bantam::device::kPluginAbi; }
extern "C" void bantam_plugin_register() {
  bantam::device::RegisterBackend(bantam::cuda::NewBackend());
}
