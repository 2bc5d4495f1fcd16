#include "runtime/device/registry.h"

#include <algorithm>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/base/status.h"

namespace bantam::device {
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<std::unique_ptr<Backend>> backends;  // by name; never removed
  std::vector<std::string> problems;               // of registering
};

// Filled by static initialisers in other files, so it must be made on first use; never destroyed,
// because plug-ins' code may be gone by then.
Registry& TheRegistry() {
  static auto* registry = new Registry;
  return *registry;
}

struct Found {
  std::string backend;
  std::unique_ptr<Device> device;
};

struct FoundList {
  std::vector<Found> devices;
  std::vector<std::string> problems;
};

int Rank(Kind kind) {
  switch (kind) {
    case Kind::kDiscreteGpu:
      return 0;
    case Kind::kIntegratedGpu:
      return 1;
    case Kind::kCpu:
      return 2;
  }
  return 3;
}

// The devices of every backend, or of the one named `only`.
FoundList Enumerate(const BackendOptions& options, absl::string_view only) {
  FoundList list;
  static const auto* plugin_problems =
      new std::vector<std::string>(LoadPlugins(DefaultPluginFolder()));
  list.problems = *plugin_problems;
  Registry& registry = TheRegistry();
  std::vector<Backend*> backends;
  {
    std::lock_guard lock(registry.mutex);
    for (const auto& backend : registry.backends) backends.push_back(backend.get());
    list.problems.insert(list.problems.end(), registry.problems.begin(), registry.problems.end());
  }
  for (Backend* backend : backends) {
    if (!only.empty() && backend->name() != only) continue;
    auto devices = backend->Enumerate(options);
    if (!devices.ok()) {
      list.problems.push_back(absl::StrCat(backend->name(), ": ", devices.status().message()));
      continue;
    }
    for (auto& device : *devices) {
      // Behind those of the same rank: the order within a kind is that of the backends.
      const auto at =
          std::upper_bound(list.devices.begin(), list.devices.end(), Rank(device->kind()),
                           [](int rank, const Found& f) { return rank < Rank(f.device->kind()); });
      list.devices.insert(at, {backend->name(), std::move(device)});
    }
  }
  return list;
}

std::unique_ptr<Device> Take(FoundList& list, absl::string_view name) {
  for (Found& found : list.devices) {
    if (name == "auto" || found.device->name() == name) return std::move(found.device);
  }
  for (Found& found : list.devices) {
    if (found.backend == name) return std::move(found.device);
  }
  return nullptr;
}

}  // namespace

void RegisterBackend(std::unique_ptr<Backend> backend) {
  Registry& registry = TheRegistry();
  std::lock_guard lock(registry.mutex);
  // Kept by name: the order of static initialisers must not decide what "auto" means.
  const std::string name = backend->name();
  auto at = std::lower_bound(registry.backends.begin(), registry.backends.end(), name,
                             [](const auto& b, const std::string& n) { return b->name() < n; });
  if (at != registry.backends.end() && (*at)->name() == name) {
    registry.problems.push_back(
        absl::StrCat(name, ": a backend of this name is already there; the second is not used"));
    return;
  }
  registry.backends.insert(at, std::move(backend));
}

DeviceList ListDevices(const BackendOptions& options) {
  FoundList found = Enumerate(options, "");
  DeviceList list;
  for (Found& f : found.devices) list.devices.push_back(std::move(f.device));
  list.problems = std::move(found.problems);
  return list;
}

std::vector<std::unique_ptr<Device>> Distinct(std::vector<std::unique_ptr<Device>> devices) {
  std::vector<std::unique_ptr<Device>> distinct;
  for (auto& device : devices) {
    const std::string id = device->hardware_id();
    const bool is_there =
        !id.empty() && std::any_of(distinct.begin(), distinct.end(),
                                   [&](const auto& d) { return d->hardware_id() == id; });
    if (!is_there) distinct.push_back(std::move(device));
  }
  return distinct;
}

absl::StatusOr<std::unique_ptr<Device>> OpenDevice(absl::string_view name,
                                                   const BackendOptions& options) {
  // Asking only the backend meant spares starting the drivers of the others.
  const absl::string_view backend = name.substr(0, name.find(':'));
  if (backend != "auto") {
    FoundList one = Enumerate(options, backend);
    if (auto device = Take(one, name)) return device;
  }
  FoundList all = Enumerate(options, "");
  if (auto device = Take(all, name)) return device;
  std::string there = absl::StrJoin(
      all.devices, ", ", [](std::string* out, const Found& f) { out->append(f.device->name()); });
  std::string message =
      absl::StrCat("no device '", name, "'; there is: ", there.empty() ? "none" : there);
  if (!all.problems.empty()) {
    absl::StrAppend(&message, " (", absl::StrJoin(all.problems, "; "), ")");
  }
  return absl::NotFoundError(message);
}

}  // namespace bantam::device
