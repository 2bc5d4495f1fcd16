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
  second = {};
  unit_buffers = {};
  registrations.clear();
  for (std::vector<Step>* made : {&steps, &all_steps, &verify_steps}) made->clear();
  for (Buffers* buffers : {&inputs, &temp, &all_temp, &verify_temp}) buffers->clear();
  for (std::vector<TempRoom>* of_temps : {&rooms, &all_rooms, &verify_rooms}) of_temps->clear();
  kv.clear();
  streams.clear();
  alignments.clear();
  lost_models.push_back(std::exchange(model, std::move(rest)));
  computed = 0;
  ring = WindowRing();
  const absl::Status status = Prepare();
  return absl::IsUnavailable(status) ? Recover(status) : status;
}

}  // namespace bantam::engine
