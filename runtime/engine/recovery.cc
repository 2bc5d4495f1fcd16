// Going on after a device was lost: a driver that was reset or updated, a card that fell off the
// bus.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/engine/placing.h"
#include "runtime/engine/session_impl.h"

namespace bantam::engine {
namespace {

// By a buffer that was there before: what is made after may be of a device that was opened anew.
bool IsLost(device::Buffer* buffer) {
  std::byte byte;
  return buffer != nullptr && absl::IsUnavailable(buffer->Download(0, {&byte, 1}));
}

}  // namespace

int Session::Impl::FindLost() const {
  if (lost >= 0) return lost;
  for (size_t d = 0; d < model->devices().size(); ++d) {
    bool is_lost = model->weights()[d].IsLost();
    for (const Buffers* buffers : {&inputs, &temp}) {
      is_lost |= d < buffers->size() && IsLost((*buffers)[d].get());
    }
    is_lost |= d < kv.size() && !kv[d].empty() && IsLost(kv[d][0].get());
    for (const auto& buffer : unit_buffers) {
      is_lost |= static_cast<int>(d) == placement.streaming.device && IsLost(buffer.get());
    }
    if (is_lost) return static_cast<int>(d);
  }
  return -1;
}

absl::Status Session::Impl::Recover(const absl::Status& why) {
  if (model == nullptr) return why;
  const auto& devices = model->devices();
  const int found = FindLost();
  if (found < 0) return why;
  lost = -1;
  const std::string name = devices[found]->name();
  if (!options.recover) {
    return Annotate(why, absl::StrCat(name, " was lost, and going on without it is switched off"));
  }
  if (devices.size() == 1)
    return Annotate(why, absl::StrCat(name, " was lost, and it was the only device"));
  std::vector<std::string> names;
  for (const auto& device : devices) names.push_back(device->name());
  LoadOptions load = WithoutDevice(model->load_options(), names, static_cast<size_t>(found));
  load.notice = options.notice;
  if (options.notice) {
    options.notice(absl::StrCat(name, " was lost (", why.message(),
                                "): the text so far is computed again on ", load.device));
  }
  BANTAM_ASSIGN_OR_RETURN(auto rest, Model::Load(model->file().path(), load));
  logits = {};
  likeliest.clear();
  observed = nullptr;
  DropAll();
  lost_models.push_back(std::exchange(model, std::move(rest)));
  computed = 0;
  ring = WindowRing();
  const absl::Status status = Prepare();
  return absl::IsUnavailable(status) ? Recover(status) : status;
}

// The model is another's too, and stays as it is: what this session needs is loaded beside it, or
// in its place where nobody else holds it.
absl::Status Session::Impl::LoadWithLess(int device, const absl::Status& refusal) {
  const auto& devices = model->devices();
  const bool is_host = device + 1 == static_cast<int>(devices.size());
  LoadOptions load = model->load_options();
  // What was overwritten is not in the file.
  if (device < 0 || is_host || load.writable_weights) return refusal;
  const schedule::Placement before = model->placement();
  const uint64_t placed = before.memory[device].total();
  if (placed == 0) return refusal;
  std::vector<std::string> names;
  for (const auto& one : devices) names.push_back(one->name());
  load.control.vram.push_back(absl::StrCat(names[device], "=", placed - placed / 16 - 1));
  load.notice = options.notice;
  load.expected = options;
  const std::string path = model->file().path();
  DropAll();
  model = nullptr;
  auto loaded = Model::Load(path, load);
  if (!loaded.ok()) return absl::IsResourceExhausted(loaded.status()) ? refusal : loaded.status();
  model = *std::move(loaded);
  if (options.notice) {
    options.notice(absl::StrCat(names[device], " is short of memory: loaded again, and moved ",
                                MovedGroups(before, model->placement(), names)));
  }
  return Prepare();
}

}  // namespace bantam::engine
