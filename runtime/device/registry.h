// Which backends there are: linked in, or opened at run time as plug-ins.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/device/device.h"

namespace bantam::device {

// A factory of devices. Enumerate returns no device, not an error, on a machine that simply has
// none; a driver that is there but broken is an error.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;  // "cpu", "cuda"
  virtual absl::StatusOr<std::vector<std::unique_ptr<Device>>> Enumerate(
      const BackendOptions& options) = 0;
};

// Adds a backend. Thread-safe; usually called by a static BackendRegistration or by a plug-in's
// entry point.
void RegisterBackend(std::unique_ptr<Backend> backend);

struct BackendRegistration {
  explicit BackendRegistration(std::unique_ptr<Backend> backend) {
    RegisterBackend(std::move(backend));
  }
};

// A plug-in is a shared library bantam_backend_<name>.so with this C entry point. It returns the
// kPluginAbi it was built with; any other than the host's is refused before Register is called.
inline constexpr int kPluginAbi = 5;
inline constexpr char kPluginAbiSymbol[] = "bantam_plugin_abi";            // int ()
inline constexpr char kPluginRegisterSymbol[] = "bantam_plugin_register";  // void ()

// Opens every plug-in in `folder` once. What could not be opened, and why, is in the returned
// lines; a missing folder is no problem.
std::vector<std::string> LoadPlugins(const std::string& folder);
// Where plug-ins are looked for: $BANTAM_PLUGIN_PATH if set, else the folder `bantam` beside the
// library.
std::string DefaultPluginFolder();

struct DeviceList {
  std::vector<std::unique_ptr<Device>> devices;  // GPUs before CPUs
  std::vector<std::string> problems;             // one line for each backend that failed
};
// Loads the default plug-ins (once) and asks every backend.
DeviceList ListDevices(const BackendOptions& options);
// Without those that are the same hardware as an earlier one: of an NVIDIA card `cuda:0` stays, and
// `vulkan:0` goes.
std::vector<std::unique_ptr<Device>> Distinct(std::vector<std::unique_ptr<Device>> devices);

// The device of that name ("cpu", "vulkan:0"; a backend's name alone means its first device; "auto"
// the first listed). kNotFound lists the names there are.
absl::StatusOr<std::unique_ptr<Device>> OpenDevice(absl::string_view name,
                                                   const BackendOptions& options);

}  // namespace bantam::device
