// The plug-in's entry points.

#include "backends/vulkan/device.h"

extern "C" int bantam_plugin_abi() { return bantam::device::kPluginAbi; }
extern "C" void bantam_plugin_register() {
  bantam::device::RegisterBackend(bantam::vulkan::NewBackend());
}
