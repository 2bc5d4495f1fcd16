#include "runtime/engine/trace.h"

#include "nlohmann/json.hpp"
#include "runtime/base/atomic_file.h"
#include "runtime/base/status.h"

namespace bantam::engine {

void Trace::Add(const Span& span) {
  std::lock_guard lock(mutex_);
  spans_.push_back(span);
}

std::vector<Trace::Span> Trace::spans() const {
  std::lock_guard lock(mutex_);
  return spans_;
}

int64_t Trace::NextStep() {
  std::lock_guard lock(mutex_);
  return steps_++;
}

absl::Status Trace::Write(const std::string& path, const std::vector<std::string>& devices) const {
  using nlohmann::ordered_json;
  const auto microseconds = [](Clock::duration duration) {
    return std::chrono::duration<double, std::micro>(duration).count();
  };
  ordered_json events = ordered_json::array();
  // A device's lines are 2 d for computing and 2 d + 1 for transfers.
  for (size_t d = 0; d < devices.size(); ++d) {
    for (const bool is_transfer : {false, true}) {
      events.push_back({{"name", "thread_name"},
                        {"ph", "M"},
                        {"pid", 1},
                        {"tid", 2 * d + is_transfer},
                        {"args", {{"name", (is_transfer ? "to " : "") + devices[d]}}}});
    }
  }
  std::lock_guard lock(mutex_);
  for (const Span& span : spans_) {
    ordered_json args = {{"step", span.step}, {"segment", span.segment}};
    if (span.is_transfer) args["bytes"] = span.bytes;
    events.push_back({{"name", span.is_transfer ? "transfer" : "compute"},
                      {"ph", "X"},
                      {"pid", 1},
                      {"tid", 2 * span.device + span.is_transfer},
                      {"ts", microseconds(span.begin - start_)},
                      {"dur", microseconds(span.end - span.begin)},
                      {"args", std::move(args)}});
  }
  const ordered_json whole = {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
  const std::string text =
      whole.dump(-1, ' ', /*ensure_ascii=*/true, ordered_json::error_handler_t::replace) + "\n";
  BANTAM_ASSIGN_OR_RETURN(auto file, AtomicFile::Create(path));
  BANTAM_RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(text))));
  return file->Commit();
}

}  // namespace bantam::engine
