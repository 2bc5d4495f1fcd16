#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/schedule/control.h"

#include <pcre2.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"

namespace bantam::schedule {
namespace {

using graph::Graph;
using graph::Storage;
using graph::Value;
using graph::ValueId;

struct FreePcre {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

// As the user wrote it, where that can be shown.
std::string Shown(const std::string& text) {
  return IsPlainText(text) ? text : Printable(text, 200);
}

// "REGEX=DEVICE"
struct Rule {
  std::string text;
  std::string device;
  std::unique_ptr<pcre2_code, FreePcre> regex;

  bool Matches(absl::string_view name) const {
    const std::unique_ptr<pcre2_match_data, FreePcre> data(pcre2_match_data_create(1, nullptr));
    return pcre2_match(regex.get(), reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0, 0,
                       data.get(), nullptr) >= 0;
  }
};

absl::StatusOr<Rule> ParseRule(const std::string& text) {
  const auto error = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("--place '", Shown(text), "': ", what));
  };
  // Devices have no '=' in their names; expressions may.
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    return error("expected REGEX=DEVICE, such as 'blk\\.1[0-9]\\.ffn_.*=cpu'");
  }
  Rule rule;
  rule.text = text;
  rule.device = text.substr(equals + 1);
  int code = 0;
  PCRE2_SIZE at = 0;
  rule.regex.reset(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), equals, 0, &code, &at, nullptr));
  if (rule.regex == nullptr) {
    char message[256] = "";
    pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof message);
    return error(absl::StrCat(message, " at character ", at + 1));
  }
  return rule;
}

struct Cap {
  std::string device;  // "": every device but the host
  uint64_t bytes = 0;
};

absl::StatusOr<Cap> ParseCap(const std::string& text) {
  Cap cap;
  const size_t equals = text.rfind('=');
  if (equals != std::string::npos) cap.device = text.substr(0, equals);
  auto bytes = ParseByteSize(equals == std::string::npos ? text : text.substr(equals + 1));
  if (!bytes.ok()) return Annotate(bytes.status(), "--vram");
  cap.bytes = *bytes;
  if (equals == 0) return absl::InvalidArgumentError("--vram: no device is named before '='");
  return cap;
}

// -1: auto; otherwise a number of layers.
constexpr int64_t kAuto = -1, kAll = -2;
absl::StatusOr<int64_t> ParseLayers(const std::string& text) {
  int64_t layers = 0;
  if (text == "auto") return kAuto;
  if (text == "all") return kAll;
  if (absl::SimpleAtoi(text, &layers) && layers >= 0) return layers;
  return absl::InvalidArgumentError(absl::StrCat("--gpu-layers: '", Printable(text),
                                                 "' is neither a number of layers, auto nor all"));
}

absl::StatusOr<int> FindDevice(absl::string_view option, const std::string& name,
                               std::span<const DeviceProfile> devices) {
  for (size_t d = 0; d < devices.size(); ++d) {
    if (devices[d].name == name) return static_cast<int>(d);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(option, ": device '", Printable(name), "' is not used; used are ",
                   absl::StrJoin(devices, ", ", [](std::string* out, const DeviceProfile& device) {
                     out->append(device.name);
                   })));
}

// Which devices a group may use, and who said so.
struct Decision {
  int device = -1;
  std::string option;
};

absl::Status Decide(Decision& decision, int device, const std::string& option, const Group& group,
                    std::span<const DeviceProfile> devices) {
  if (decision.device >= 0 && decision.device != device) {
    return absl::InvalidArgumentError(absl::StrCat(
        GroupName(group), " cannot be on two devices: ", decision.option, " puts it on ",
        devices[decision.device].name, ", ", option, " on ", devices[device].name));
  }
  decision = {device, option};
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckControl(const Control& control) {
  BANTAM_RETURN_IF_ERROR(ParseLayers(control.gpu_layers).status());
  for (const std::string& text : control.vram) BANTAM_RETURN_IF_ERROR(ParseCap(text).status());
  for (const std::string& text : control.place) BANTAM_RETURN_IF_ERROR(ParseRule(text).status());
  return absl::OkStatus();
}

absl::Status ApplyCaps(const Control& control, std::span<DeviceProfile> devices) {
  for (const std::string& text : control.vram) {
    BANTAM_ASSIGN_OR_RETURN(const Cap cap, ParseCap(text));
    if (!cap.device.empty()) {
      BANTAM_ASSIGN_OR_RETURN(const int d, FindDevice("--vram", cap.device, devices));
      devices[d].capacity = std::min(devices[d].capacity, cap.bytes);
      continue;
    }
    if (devices.size() < 2) {
      if (cap.bytes == 0) continue;  // none of no GPU's memory: so it is
      return absl::FailedPreconditionError(
          absl::StrCat("--vram ", text, ": only device ", devices[0].name,
                       " is used, so that nothing could go elsewhere; see bantam devices"));
    }
    for (DeviceProfile& device : devices.first(devices.size() - 1)) {
      device.capacity = std::min(device.capacity, cap.bytes);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<bool>>> AllowedDevices(
    const Control& control, const Graph& graph, const Grouping& grouping,
    std::span<const DeviceProfile> devices) {
  BANTAM_ASSIGN_OR_RETURN(const int64_t layers, ParseLayers(control.gpu_layers));
  const size_t host = devices.size() - 1;
  std::vector<std::vector<bool>> allowed(grouping.groups.size(),
                                         std::vector<bool>(devices.size(), true));
  if (layers != kAuto) {
    if (devices.size() < 2 && layers != 0) {
      return absl::FailedPreconditionError(absl::StrCat("--gpu-layers ", control.gpu_layers,
                                                        ": only device ", devices[0].name,
                                                        " is used; see bantam devices"));
    }
    int count = 0;
    for (const Group& group : grouping.groups) count = std::max(count, group.layer + 1);
    for (size_t g = 0; g < allowed.size(); ++g) {
      const int layer = grouping.groups[g].layer;
      const bool is_free = layer < 0 && layers > 0;  // embedding and head, wherever is best
      if (is_free) continue;
      const bool on_gpu = layers == kAll || (layer >= 0 && layer >= count - layers);
      for (size_t d = 0; d < devices.size(); ++d) allowed[g][d] = on_gpu == (d != host);
    }
  }
  std::vector<Decision> decisions(grouping.groups.size());
  if (!control.kv_device.empty()) {
    BANTAM_ASSIGN_OR_RETURN(const int device,
                            FindDevice("--kv-device", control.kv_device, devices));
    for (size_t g = 0; g < decisions.size(); ++g) {
      if (grouping.groups[g].part == Part::kKv) decisions[g] = {device, "--kv-device"};
    }
  }
  for (const std::string& text : control.place) {
    BANTAM_ASSIGN_OR_RETURN(const Rule rule, ParseRule(text));
    BANTAM_ASSIGN_OR_RETURN(const int device, FindDevice("--place", rule.device, devices));
    const std::string option = absl::StrCat("--place '", Shown(text), "'");
    std::vector<bool> matches(graph.values().size(), false);
    for (size_t v = 0; v < matches.size(); ++v) {
      const Value& value = graph.value(static_cast<ValueId>(v));
      const bool is_placed = value.storage == Storage::kWeight || value.storage == Storage::kState;
      matches[v] = is_placed && rule.Matches(value.name);
    }
    bool any = false;
    for (size_t n = 0; n < graph.nodes().size(); ++n) {
      for (ValueId id : graph.nodes()[n].inputs) {
        if (!matches[graph.RootOf(id)]) continue;
        const int g = grouping.of_node[n];
        BANTAM_RETURN_IF_ERROR(Decide(decisions[g], device, option, grouping.groups[g], devices));
        any = true;
      }
    }
    if (!any) {
      return absl::InvalidArgumentError(
          absl::StrCat(option, " matches no tensor of the model; see bantam inspect"));
    }
  }
  for (size_t g = 0; g < decisions.size(); ++g) {
    if (decisions[g].device < 0) continue;
    allowed[g].assign(devices.size(), false);
    allowed[g][decisions[g].device] = true;
  }
  return allowed;
}

}  // namespace bantam::schedule
