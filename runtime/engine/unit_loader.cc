#include "runtime/engine/unit_loader.h"

#include <system_error>

#include "absl/strings/str_cat.h"

namespace bantam::engine {

UnitLoader::UnitLoader(int64_t count, const std::function<absl::Status(int64_t unit)>& load)
    : count_(count), load_(load) {
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error& error) {
    status_ =
        absl::ResourceExhaustedError(absl::StrCat("no thread could be started: ", error.what()));
  }
}

UnitLoader::~UnitLoader() {
  {
    std::lock_guard lock(mutex_);
    stops_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void UnitLoader::Run() {
  for (int64_t unit = 0; unit < count_; ++unit) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stops_ || let_go_ >= unit - 1; });
      if (stops_) return;
    }
    absl::Status status = load_(unit);
    std::lock_guard lock(mutex_);
    const bool failed = !status.ok();
    status_ = std::move(status);
    if (!failed) loaded_ = unit + 1;
    changed_.notify_all();
    if (failed) return;
  }
}

absl::Status UnitLoader::WaitFor(int64_t unit) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !status_.ok() || loaded_ > unit; });
  return loaded_ > unit ? absl::OkStatus() : status_;
}

void UnitLoader::LetGo(int64_t unit) {
  std::lock_guard lock(mutex_);
  let_go_ = unit + 1;
  changed_.notify_all();
}

}  // namespace bantam::engine
