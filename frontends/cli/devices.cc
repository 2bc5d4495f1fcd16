// bantam devices: what a model can run on here.
#include "absl/strings/str_format.h"
#include "frontends/cli/command.h"
#include "frontends/cli/options.h"
#include "frontends/cli/output.h"
#include "runtime/base/byte_size.h"
#include "runtime/device/features.h"
#include "runtime/device/registry.h"

namespace bantam::cli {
namespace {

std::vector<std::string> FeaturesOf(const device::Device& device) {
  const auto* has = dynamic_cast<const device::HasFeatures*>(&device);
  return has != nullptr ? has->features() : std::vector<std::string>();
}

nlohmann::ordered_json Json(const device::DeviceList& list) {
  nlohmann::ordered_json devices = nlohmann::ordered_json::array();
  for (const auto& device : list.devices) {
    const device::MemoryInfo memory = device->memory();
    devices.push_back({{"name", device->name()},
                       {"description", device->description()},
                       {"kind", std::string(device::KindName(device->kind()))},
                       {"memory_total", memory.total},
                       {"memory_free", memory.free},
                       {"features", FeaturesOf(*device)}});
  }
  return {{"devices", std::move(devices)}, {"problems", list.problems}};
}

std::string Text(const device::DeviceList& list, bool verbose) {
  size_t name_width = 4, kind_width = 4;
  for (const auto& device : list.devices) {
    name_width = std::max(name_width, device->name().size());
    kind_width = std::max(kind_width, device::KindName(device->kind()).size());
  }
  std::string text;
  auto line = [&](absl::string_view name, absl::string_view kind, absl::string_view memory,
                  absl::string_view free, absl::string_view description) {
    absl::StrAppendFormat(&text, "%-*s  %-*s  %10s  %10s  %s\n", name_width, name, kind_width, kind,
                          memory, free, OneLine(description));
  };
  line("NAME", "KIND", "MEMORY", "FREE", "DESCRIPTION");
  for (const auto& device : list.devices) {
    const device::MemoryInfo memory = device->memory();
    line(device->name(), device::KindName(device->kind()), FormatByteSize(memory.total),
         FormatByteSize(memory.free), device->description());
    if (!verbose) continue;
    for (const std::string& feature : FeaturesOf(*device)) {
      absl::StrAppend(&text, "    ", OneLine(feature), "\n");
    }
  }
  return text;
}

}  // namespace

int DevicesMain(int argc, char** argv) {
  Options options;
  CLI::App app("Lists what models can run on: the names --device takes.", argv[0]);
  app.add_flag("--json", options.json, "Print one JSON object on standard output");
  bool verbose = false;
  app.add_flag("-v,--verbose", verbose, "List what each device has and what of it is used");
  if (const auto code = Parse(app, argc, argv)) return *code;
  const device::DeviceList list = device::ListDevices({});
  const absl::Status printed =
      options.json ? WriteJson(Json(list)) : WriteStdout(Text(list, verbose));
  if (!printed.ok()) return Fail(printed);
  // A backend that failed is no failure of this command, which is there to tell.
  for (const std::string& problem : list.problems) {
    WriteStderr(absl::StrFormat("bantam: %s\n", OneLine(problem)));
  }
  return kOk;
}

}  // namespace bantam::cli
