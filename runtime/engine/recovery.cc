// Going on after a device was lost: a driver that was reset or updated, a card that fell off the
// bus.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/base/status.h"
#include "runtime/engine/session_impl.h"

namespace bantam::engine {
namespace {

// By a buffer that was there before: what is made after may be of a device that was opened anew.
bool IsLost(device::Buffer* inputs) {
  const std::byte byte{0};
  return inputs != nullptr && absl::IsUnavailable(inputs->Upload(0, {&byte, 1}));
}

// What can still be obeyed without the device.
LoadOptions Without(const Model& model, size_t lost) {
  LoadOptions options = model.load_options();
  const std::string name = model.devices()[lost]->name();
  std::vector<std::string> names;
  for (const auto& device : model.devices()) {
    if (device->name() != name) names.push_back(device->name());
  }
  options.device = absl::StrJoin(names, ",");
  if (lost < options.profiles.size()) options.profiles.erase(options.profiles.begin() + lost);
  schedule::Control& control = options.control;
  const auto drop = [](std::vector<std::string>& rules, const auto& names_it) {
    rules.erase(std::remove_if(rules.begin(), rules.end(), names_it), rules.end());
  };
  drop(control.place,
       [&](const std::string& rule) { return absl::EndsWith(rule, absl::StrCat("=", name)); });
  drop(control.vram,
       [&](const std::string& cap) { return absl::StartsWith(cap, absl::StrCat(name, "=")); });
  if (control.kv_device == name) control.kv_device.clear();
  // So many layers on a card: without one there is nothing to ask for.
  if (names.size() == 1) control = schedule::Control();
  return options;
}

}  // namespace

absl::Status Session::Impl::Recover(const absl::Status& why) {
  const auto& devices = model->devices();
  const auto found = std::find_if(inputs.begin(), inputs.end(),
                                  [](const auto& buffer) { return IsLost(buffer.get()); });
  if (found == inputs.end()) return why;
  const size_t lost = found - inputs.begin();
  const std::string name = devices[lost]->name();
  if (!options.recover) {
    return Annotate(why, absl::StrCat(name, " was lost, and going on without it is switched off"));
  }
  if (devices.size() == 1)
    return Annotate(why, absl::StrCat(name, " was lost, and it was the only device"));
  const LoadOptions load = Without(*model, lost);
  if (options.notice) {
    options.notice(absl::StrCat(name, " was lost (", why.message(),
                                "): the text so far is computed again on ", load.device));
  }
  BANTAM_ASSIGN_OR_RETURN(auto rest, Model::Load(model->file().path(), load));
  logits = {};
  likeliest.clear();
  observed = nullptr;
  second = {};
  unit_buffers = {};
  for (std::vector<Step>* made : {&steps, &all_steps, &verify_steps}) made->clear();
  for (Buffers* buffers : {&inputs, &temp, &all_temp, &verify_temp}) buffers->clear();
  kv.clear();
  streams.clear();
  alignments.clear();
  lost_models.push_back(std::exchange(model, std::move(rest)));
  computed = 0;
  return Prepare();
}

}  // namespace bantam::engine
