#include "runtime/device/device.h"

namespace bantam::device {

absl::string_view KindName(Kind kind) {
  switch (kind) {
    case Kind::kCpu:
      return "CPU";
    case Kind::kIntegratedGpu:
      return "integrated GPU";
    case Kind::kDiscreteGpu:
      return "discrete GPU";
  }
  return "unknown";
}

}  // namespace bantam::device
