// A plug-in with a backend of two fake devices.

#include "runtime/device/registry.h"

namespace {

using namespace bantam;  // NOLINT: a test's whole file

class FakeDevice : public device::Device {
 public:
  FakeDevice(std::string name, device::Kind kind) : name_(std::move(name)), kind_(kind) {}
  std::string name() const override { return name_; }
  std::string description() const override { return "a device for tests"; }
  device::Kind kind() const override { return kind_; }
  device::MemoryInfo memory() const override { return {1024, 512}; }
  device::Limits limits() const override { return {}; }
  bool Supports(const graph::Graph&, const graph::Node&) const override { return false; }
  absl::StatusOr<std::unique_ptr<device::Buffer>> Allocate(uint64_t) override { return Nothing(); }
  absl::StatusOr<std::unique_ptr<device::Buffer>> WrapHost(std::span<const std::byte>) override {
    return Nothing();
  }
  uint64_t PackedBytes(quant::Type, const graph::Shape&) const override { return 0; }
  absl::Status LoadWeight(quant::Type, const graph::Shape&, std::span<const std::byte>,
                          const device::Binding&) override {
    return Nothing();
  }
  absl::StatusOr<std::unique_ptr<device::Executable>> Compile(const device::CompileArgs&) override {
    return Nothing();
  }
  absl::StatusOr<std::unique_ptr<device::Stream>> NewStream() override { return Nothing(); }

 private:
  static absl::Status Nothing() { return absl::UnimplementedError("a fake"); }
  std::string name_;
  device::Kind kind_;
};

class FakeBackend : public device::Backend {
 public:
  std::string name() const override { return "fake"; }
  absl::StatusOr<std::vector<std::unique_ptr<device::Device>>> Enumerate(
      const device::BackendOptions&) override {
    std::vector<std::unique_ptr<device::Device>> devices;
    devices.push_back(std::make_unique<FakeDevice>("fake:0", device::Kind::kIntegratedGpu));
    devices.push_back(std::make_unique<FakeDevice>("fake:1", device::Kind::kDiscreteGpu));
    return devices;
  }
};

class BrokenBackend : public device::Backend {
 public:
  std::string name() const override { return "broken"; }
  absl::StatusOr<std::vector<std::unique_ptr<device::Device>>> Enumerate(
      const device::BackendOptions&) override {
    return absl::InternalError("the driver does not answer");
  }
};

}  // namespace

extern "C" int bantam_plugin_abi() { return device::kPluginAbi; }
extern "C" void bantam_plugin_register() {
  device::RegisterBackend(std::make_unique<FakeBackend>());
  device::RegisterBackend(std::make_unique<BrokenBackend>());
}
