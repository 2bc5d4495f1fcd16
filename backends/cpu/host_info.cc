#include "backends/cpu/host_info.h"

#include <sched.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/base/thread_pool.h"

namespace bantam::cpu {
namespace {

// The number that follows `key` at the start of a line.
std::optional<uint64_t> NumberAfter(const std::string& path, absl::string_view key) {
  std::ifstream in(path);
  std::string line;
  while (std::getline(in, line)) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, key)) continue;
    rest = absl::StripAsciiWhitespace(rest);
    absl::ConsumeSuffix(&rest, " kB");
    uint64_t number;
    if (absl::SimpleAtoi(rest, &number)) return number;
  }
  return std::nullopt;
}

// The control group's limit and what it has in use, version 2 or 1; nothing where unlimited.
std::optional<device::MemoryInfo> ControlGroupMemory() {
  struct Layout {
    const char *limit, *used, *stat;
  };
  static constexpr Layout kLayouts[] = {
      {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"},
      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
       "/sys/fs/cgroup/memory/memory.stat"}};
  for (const Layout& layout : kLayouts) {
    const auto limit = NumberAfter(layout.limit, "");
    const auto used = NumberAfter(layout.used, "");
    if (!limit || !used) continue;
    // File pages count as used but are given up on demand.
    const uint64_t files = NumberAfter(layout.stat, "inactive_file ").value_or(0) +
                           NumberAfter(layout.stat, "active_file ").value_or(0);
    const uint64_t held = *used - std::min(*used, files);
    return device::MemoryInfo{*limit, *limit - std::min(*limit, held)};
  }
  return std::nullopt;
}

}  // namespace

std::string CpuModelName() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line)) {
    absl::string_view rest = line;
    // x86 and others, then some Arm boards.
    if (!absl::ConsumePrefix(&rest, "model name") && !absl::ConsumePrefix(&rest, "Hardware")) {
      continue;
    }
    rest = absl::StripLeadingAsciiWhitespace(rest);
    if (!absl::ConsumePrefix(&rest, ":")) continue;
    rest = absl::StripAsciiWhitespace(rest);
    if (!rest.empty()) return std::string(rest);
  }
  return "CPU";
}

device::MemoryInfo HostMemory() {
  device::MemoryInfo info;
  struct sysinfo system;
  if (sysinfo(&system) == 0) {
    info.total = uint64_t{system.totalram} * system.mem_unit;
    info.free = uint64_t{system.freeram} * system.mem_unit;
  }
  if (const auto available = NumberAfter("/proc/meminfo", "MemAvailable:")) {
    info.free = *available * 1024;
  }
  if (const auto group = ControlGroupMemory()) {
    info.total = std::min(info.total, group->total);
    info.free = std::min(info.free, group->free);
  }
  return info;
}

int CountCores(const std::vector<int>& processors, const std::string& topology) {
  std::set<std::string> cores;  // by the list of their hardware threads
  for (int processor : processors) {
    std::ifstream in(absl::StrCat(topology, "/cpu", processor, "/topology/thread_siblings_list"));
    std::string siblings;
    if (!std::getline(in, siblings) || siblings.empty()) siblings = absl::StrCat("?", processor);
    cores.insert(siblings);
  }
  return static_cast<int>(cores.size());
}

int UsableCores() {
  cpu_set_t set;
  // Fails where there are more processors than the set has room for.
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return ThreadPool::DefaultSize();
  std::vector<int> processors;
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (CPU_ISSET(processor, &set)) processors.push_back(processor);
  }
  return std::max(CountCores(processors), 1);
}

}  // namespace bantam::cpu
