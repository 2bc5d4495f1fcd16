#include "runtime/schedule/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <vector>

#include "nlohmann/json.hpp"
#include "runtime/base/status.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/memory_plan.h"
#include "runtime/schedule/cache.h"

namespace bantam::schedule {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

// A figure is trusted when what was timed took this long; no attempt is larger than the limit.
constexpr double kLongEnough = 0.02;
constexpr int64_t kMaxWeightBytes = int64_t{96} << 20;

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The time of one run of `nodes` matrix products, each by a weight {columns, outputs}; the least of
// some runs, for what else goes on only adds to it.
absl::StatusOr<double> TimeMatMuls(device::Device& device, quant::Type type, int64_t columns,
                                   int64_t outputs, int64_t rows, int nodes) {
  graph::Graph g;
  const graph::ValueId weight = g.AddWeight("weight", type, {columns, outputs, 1, 1});
  const graph::ValueId x = g.AddInput("x", quant::Type::kF32, {columns, rows, 1, 1});
  for (int i = 0; i < nodes; ++i) {
    g.AddOutput(g.Add(graph::Op::kMatMul, {weight, x}, "y", graph::MatMulAttrs{}));
  }
  BANTAM_RETURN_IF_ERROR(graph::Infer(g));
  const uint64_t alignment = device.limits().alignment;
  const graph::MemoryPlan plan = graph::PlanMemory(g, static_cast<int64_t>(alignment));
  const graph::Value& w = g.value(weight);
  BANTAM_ASSIGN_OR_RETURN(const auto weights, device.Allocate(device.PackedBytes(type, w.shape)));
  {
    // Zeros are numbers in every type, but memory that was never written may not exist.
    const std::vector<std::byte> zeros(static_cast<size_t>(w.SpanBytes()), std::byte{0});
    BANTAM_RETURN_IF_ERROR(device.Repacks(g, weight)
                               ? device.Repack(type, w.shape, zeros, {weights.get(), 0})
                               : device.LoadWeight(type, w.shape, zeros, {weights.get(), 0}));
  }
  BANTAM_ASSIGN_OR_RETURN(const auto input,
                          device.Allocate(static_cast<uint64_t>(g.value(x).SpanBytes())));
  BANTAM_ASSIGN_OR_RETURN(const auto temp, device.Allocate(static_cast<uint64_t>(plan.size)));
  std::vector<device::Binding> bindings(g.values().size());
  bindings[weight] = {weights.get(), 0};
  bindings[x] = {input.get(), 0};
  BANTAM_ASSIGN_OR_RETURN(const auto executable,
                          device.Compile({g, plan, bindings, {temp.get(), 0}}));
  BANTAM_ASSIGN_OR_RETURN(const auto stream, device.NewStream());
  double least = kImpossible;
  for (int run = 0; run < 4; ++run) {
    const Clock::time_point start = Clock::now();
    BANTAM_RETURN_IF_ERROR(executable->Run(*stream));
    BANTAM_RETURN_IF_ERROR(stream->Synchronize());
    least = std::min(least, Since(start));
    if (run >= 1 && least > 5 * kLongEnough) break;
  }
  return least;
}

// A value that comes to a device or leaves it begins or ends a segment: half of what that costs.
absl::Status MeasureTransfers(device::Device& device, DeviceProfile& profile) {
  BANTAM_ASSIGN_OR_RETURN(const double one, TimeMatMuls(device, quant::Type::kF32, 32, 32, 1, 1));
  profile.transfer_seconds = std::max(0.0, one - profile.node_seconds) / 2;
  constexpr uint64_t kBytes = uint64_t{16} << 20;
  std::vector<std::byte> bytes(kBytes);
  // One that reads the host's memory where it is has nothing to move.
  if (!absl::IsUnimplemented(device.WrapHost(bytes).status())) return absl::OkStatus();
  BANTAM_ASSIGN_OR_RETURN(const auto buffer, device.Allocate(kBytes));
  const auto both_ways = [&](uint64_t count) -> absl::StatusOr<double> {
    double least = kImpossible;
    for (int run = 0; run < 4; ++run) {
      const Clock::time_point start = Clock::now();
      BANTAM_RETURN_IF_ERROR(buffer->Upload(0, std::span(bytes).first(count)));
      BANTAM_RETURN_IF_ERROR(buffer->Download(0, std::span(bytes).first(count)));
      least = std::min(least, Since(start));
    }
    return least / 2;
  };
  BANTAM_ASSIGN_OR_RETURN(const double small, both_ways(4));
  BANTAM_ASSIGN_OR_RETURN(const double large, both_ways(kBytes));
  profile.transfer_seconds += small;
  profile.transfer_bandwidth = static_cast<double>(kBytes) / std::max(large - small, 1e-9);
  return absl::OkStatus();
}

// The members of a profile that are kept, by their names in the file.
struct Kept {
  const char* name;
  double DeviceProfile::*member;
};
constexpr Kept kKept[] = {{"bandwidth", &DeviceProfile::bandwidth},
                          {"operations", &DeviceProfile::operations},
                          {"node_seconds", &DeviceProfile::node_seconds},
                          {"transfer_seconds", &DeviceProfile::transfer_seconds},
                          {"transfer_bandwidth", &DeviceProfile::transfer_bandwidth}};

// Whether all members were there and make sense. An infinite bandwidth is kept as null.
bool ReadEntry(const json& cache, const std::string& key, DeviceProfile& profile) {
  const auto entry = cache.find(key);
  if (entry == cache.end() || !entry->is_object()) return false;
  for (const Kept& kept : kKept) {
    const auto value = entry->find(kept.name);
    if (value == entry->end() || !(value->is_number() || value->is_null())) return false;
    const double number = value->is_null() ? kImpossible : value->get<double>();
    const bool is_speed = kept.member == &DeviceProfile::bandwidth ||
                          kept.member == &DeviceProfile::operations ||
                          kept.member == &DeviceProfile::transfer_bandwidth;
    if (std::isnan(number) || number < 0 || (is_speed && number == 0)) return false;
    if (value->is_null() && kept.member != &DeviceProfile::transfer_bandwidth) return false;
    profile.*kept.member = number;
  }
  return true;
}

}  // namespace

void DescribeDevice(device::Device& device, DeviceProfile& profile) {
  profile.name = device.name();
  profile.device = &device;
  profile.alignment = device.limits().alignment;
  profile.is_processor = device.kind() == device::Kind::kCpu;
  profile.capacity = profile.is_processor ? kUnlimited : device.memory().free;
}

absl::StatusOr<DeviceProfile> MeasureDevice(device::Device& device, quant::Type type) {
  DeviceProfile profile;
  DescribeDevice(device, profile);
  constexpr int64_t kColumns = 2048;
  const int64_t row_bytes = quant::RowBytes(type, kColumns);
  BANTAM_ASSIGN_OR_RETURN(profile.node_seconds,
                          TimeMatMuls(device, quant::Type::kF32, 32, 32, 1, 64));
  profile.node_seconds /= 64;
  for (int64_t bytes = int64_t{1} << 20;; bytes *= 4) {
    bytes = std::min(bytes, kMaxWeightBytes);
    const int64_t outputs = bytes / row_bytes;
    BANTAM_ASSIGN_OR_RETURN(const double seconds,
                            TimeMatMuls(device, type, kColumns, outputs, 1, 1));
    profile.bandwidth = static_cast<double>(outputs * row_bytes) /
                        std::max(seconds - profile.node_seconds, seconds / 2);
    if (seconds > kLongEnough || bytes == kMaxWeightBytes) break;
  }
  for (int64_t rows = 32, outputs = 256;; rows = std::min<int64_t>(rows * 2, 256), outputs *= 2) {
    BANTAM_ASSIGN_OR_RETURN(const double seconds,
                            TimeMatMuls(device, type, kColumns, outputs, rows, 1));
    profile.operations = 2.0 * static_cast<double>(kColumns * outputs * rows) /
                         std::max(seconds - profile.node_seconds, seconds / 2);
    if (seconds > kLongEnough || outputs * row_bytes * 2 > kMaxWeightBytes) break;
  }
  BANTAM_RETURN_IF_ERROR(Annotate(MeasureTransfers(device, profile), device.name()));
  return profile;
}

absl::StatusOr<DeviceProfile> ProfileDevice(device::Device& device, quant::Type type,
                                            const std::string& folder) {
  const std::string key =
      CacheKey(device.name(), device.description(), std::string(quant::Name(type)));
  json cache = ReadCache(folder);
  DeviceProfile profile;
  if (ReadEntry(cache, key, profile)) {
    DescribeDevice(device, profile);
    return profile;
  }
  BANTAM_ASSIGN_OR_RETURN(profile, MeasureDevice(device, type));
  for (const Kept& kept : kKept) cache[key][kept.name] = profile.*kept.member;
  WriteCache(folder, cache);
  return profile;
}

}  // namespace bantam::schedule
