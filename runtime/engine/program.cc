#include "runtime/engine/program.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/engine/unit_loader.h"
#include "runtime/schedule/stream.h"

namespace bantam::engine {

using graph::kNone;
using graph::Storage;
using graph::Value;
using graph::ValueId;

absl::StatusOr<std::unique_ptr<Program>> Program::Compile(const schedule::Partition& partition,
                                                          std::vector<Place> places, Bind bind,
                                                          const Units& units, Trace* trace,
                                                          int& failing) {
  std::unique_ptr<Program> program(new Program);
  program->places_ = std::move(places);
  program->running_.assign(program->places_.size(), -1);
  program->started_.resize(program->places_.size());
  program->trace_ = trace;
  const graph::Graph& graph = partition.graph;
  const auto temp = [&](ValueId id, int device) {
    const int64_t offset =
        partition.plans[device].offsets[graph.RootOf(id)] + graph.value(id).byte_offset;
    return device::Binding{program->places_[device].temp, static_cast<uint64_t>(offset)};
  };
  uint64_t largest = 0;
  for (const schedule::Segment& part : partition.segments) {
    Segment segment;
    segment.device = part.device;
    for (graph::NodeId n = part.first_transfer; n < part.first_node; ++n) {
      const graph::Node& node = graph.nodes()[n];
      const ValueId source = node.inputs[0];
      Copy copy;
      copy.from_device = partition.device_of_node[graph.value(graph.RootOf(source)).producer];
      copy.from = temp(source, copy.from_device);
      copy.to_device = partition.device_of_node[n];
      copy.to = temp(node.output, copy.to_device);
      copy.bytes = static_cast<uint64_t>(graph.value(node.output).SpanBytes());
      if (copy.from.buffer->host().empty() && copy.to.buffer->host().empty()) {
        largest = std::max(largest, copy.bytes);
      }
      if (copy.bytes > 0) segment.copies.push_back(copy);
    }
    std::vector<device::Binding> bindings(graph.values().size());
    BANTAM_RETURN_IF_ERROR(program->CompileUnit(partition, part, units, bindings, segment));
    for (graph::NodeId n = part.first_node; n < part.end_node; ++n) {
      for (ValueId id : graph.nodes()[n].inputs) {
        const ValueId root = graph.RootOf(id);
        const Value& value = graph.value(root);
        if (value.storage == Storage::kTemp || bindings[root].buffer != nullptr) continue;
        BANTAM_ASSIGN_OR_RETURN(bindings[root], bind(value, part.device));
      }
    }
    const Place& place = program->places_[part.device];
    auto compiled = place.device->Compile({graph,
                                           partition.plans[part.device],
                                           bindings,
                                           {place.temp, 0},
                                           part.first_node,
                                           part.end_node,
                                           {place.temp, place.scratch_offset},
                                           place.scratch_bytes});
    if (!compiled.ok()) failing = part.device;
    BANTAM_ASSIGN_OR_RETURN(segment.executable, std::move(compiled));
    BANTAM_ASSIGN_OR_RETURN(const device::Scratch scratch,
                            schedule::SegmentScratch(partition, part, *place.device));
    segment.own_bytes = scratch.own;
    if (!segment.loads.empty()) {
      program->units_.push_back(static_cast<int>(program->segments_.size()));
    }
    program->segments_.push_back(std::move(segment));
  }
  program->staging_.resize(largest);
  return program;
}

absl::Status Program::CompileUnit(const schedule::Partition& partition,
                                  const schedule::Segment& part, const Units& units,
                                  std::vector<device::Binding>& bindings, Segment& segment) {
  if (part.unit < 0) return absl::OkStatus();
  device::Device* device = places_[part.device].device;
  schedule::DeviceProfile profile;
  profile.device = device;
  profile.alignment = device->limits().alignment;
  const schedule::WeightLayout layout = schedule::LayOutUnit(partition.graph, part, profile);
  if (layout.places.empty()) return absl::OkStatus();
  device::Buffer* buffer = units.buffers[units_.size() % 2];
  if (buffer == nullptr || buffer->size() < layout.size) {
    return absl::InternalError("a step needs more room for weights than was made");
  }
  for (const auto& place : layout.places) {
    const Value& weight = partition.graph.value(place.weight);
    bindings[place.weight] = {buffer, place.offset};
    BANTAM_ASSIGN_OR_RETURN(const Units::Pieces pieces, units.source(weight));
    if (pieces.size() == 1) {
      segment.loads.push_back({weight.type, weight.shape, pieces[0], bindings[place.weight]});
      continue;
    }
    // Of a device that keeps weights as they are, some rows are as good as a weight.
    if (device->PackedBytes(weight.type, weight.shape) !=
        static_cast<uint64_t>(weight.SpanBytes())) {
      return absl::UnimplementedError(
          absl::StrCat(device->name(), " cannot be brought ", weight.name, " in pieces"));
    }
    const int64_t row_bytes = quant::RowBytes(weight.type, weight.shape[0]);
    uint64_t offset = place.offset;
    for (const std::span<const std::byte> piece : pieces) {
      const graph::Shape rows = {weight.shape[0], std::ssize(piece) / row_bytes, 1, 1};
      segment.loads.push_back({weight.type, rows, piece, {buffer, offset}});
      offset += piece.size();
    }
  }
  return absl::OkStatus();
}

absl::Status Program::Synchronize(int device) {
  const int segment = std::exchange(running_[device], -1);
  if (segment < 0) return absl::OkStatus();
  BANTAM_RETURN_IF_ERROR(places_[device].stream->Synchronize());
  if (trace_ != nullptr) {
    trace_->Add({device, false, step_, segment, 0, started_[device], Trace::Clock::now()});
  }
  return absl::OkStatus();
}

absl::Status Program::Start(int segment) {
  Segment& s = segments_[segment];
  // Of segments in a row on one device each has its own span.
  if (trace_ != nullptr) {
    BANTAM_RETURN_IF_ERROR(Synchronize(s.device));
    started_[s.device] = Trace::Clock::now();
  }
  BANTAM_RETURN_IF_ERROR(s.executable->Run(*places_[s.device].stream));
  running_[s.device] = segment;
  return absl::OkStatus();
}

absl::Status Program::Move(const Copy& copy) {
  const std::span<std::byte> source = copy.from.buffer->host();
  if (!source.empty()) {
    return copy.to.buffer->Upload(copy.to.offset, source.subspan(copy.from.offset, copy.bytes));
  }
  std::span<std::byte> target = copy.to.buffer->host();
  if (!target.empty()) {
    return copy.from.buffer->Download(copy.from.offset, target.subspan(copy.to.offset, copy.bytes));
  }
  const absl::Status direct =
      copy.to.buffer->CopyFrom(copy.to.offset, *copy.from.buffer, copy.from.offset, copy.bytes);
  if (!absl::IsUnimplemented(direct)) return direct;
  const std::span<std::byte> between = std::span(staging_).first(copy.bytes);
  BANTAM_RETURN_IF_ERROR(copy.from.buffer->Download(copy.from.offset, between));
  return copy.to.buffer->Upload(copy.to.offset, between);
}

void Program::BeginStep() {
  if (trace_ != nullptr) step_ = trace_->NextStep();
}

absl::Status Program::MoveTo(int segment) {
  Segment& s = segments_[segment];
  for (const Copy& copy : s.copies) {
    BANTAM_RETURN_IF_ERROR(Synchronize(copy.to_device));
    BANTAM_RETURN_IF_ERROR(Synchronize(copy.from_device));
    const Trace::Clock::time_point begin = Trace::Clock::now();
    BANTAM_RETURN_IF_ERROR(Move(copy));
    if (trace_ == nullptr) continue;
    trace_->Add({copy.to_device, true, step_, segment, copy.bytes, begin, Trace::Clock::now()});
  }
  return absl::OkStatus();
}

absl::Status Program::RunSegment(int segment) {
  BANTAM_RETURN_IF_ERROR(Start(segment));
  return Synchronize(segments_[segment].device);
}

absl::Status Program::LoadUnit(int64_t unit) {
  const int index = units_[unit];
  const Segment& segment = segments_[index];
  const Trace::Clock::time_point begin = Trace::Clock::now();
  uint64_t bytes = 0;
  for (const Load& load : segment.loads) {
    BANTAM_RETURN_IF_ERROR(
        places_[segment.device].device->LoadWeight(load.type, load.shape, load.data, load.to));
    bytes += load.data.size();
  }
  if (trace_ != nullptr) {
    trace_->Add({segment.device, true, step_, index, bytes, begin, Trace::Clock::now()});
  }
  return absl::OkStatus();
}

absl::Status Program::RunWithUnits() {
  const std::function<absl::Status(int64_t)> load = [this](int64_t unit) { return LoadUnit(unit); };
  UnitLoader loader(static_cast<int64_t>(units_.size()), load);
  int64_t unit = 0;
  for (int s = 0; s < segment_count(); ++s) {
    const bool has_loads = !segments_[s].loads.empty();
    BANTAM_RETURN_IF_ERROR(MoveTo(s));
    if (has_loads) BANTAM_RETURN_IF_ERROR(loader.WaitFor(unit));
    BANTAM_RETURN_IF_ERROR(Start(s));
    if (!has_loads) continue;
    BANTAM_RETURN_IF_ERROR(Synchronize(segments_[s].device));
    loader.LetGo(unit++);
  }
  return absl::OkStatus();
}

absl::Status Program::Run() {
  BeginStep();
  if (!units_.empty()) {
    const absl::Status status = RunWithUnits();
    for (int d = 0; d < device_count(); ++d) BANTAM_RETURN_IF_ERROR(Synchronize(d));
    return status;
  }
  for (int s = 0; s < segment_count(); ++s) {
    BANTAM_RETURN_IF_ERROR(MoveTo(s));
    BANTAM_RETURN_IF_ERROR(Start(s));
  }
  for (int d = 0; d < device_count(); ++d) BANTAM_RETURN_IF_ERROR(Synchronize(d));
  return absl::OkStatus();
}

uint64_t Program::scratch_bytes() const {
  uint64_t bytes = staging_.size();
  for (const Segment& segment : segments_) bytes += segment.executable->scratch_bytes();
  return bytes;
}

uint64_t Program::own_bytes(int device) const {
  uint64_t bytes = 0;
  for (const Segment& segment : segments_) {
    if (segment.device == device) bytes += segment.own_bytes;
  }
  return bytes;
}

absl::Status Program::StartProfile() {
  for (Segment& segment : segments_) BANTAM_RETURN_IF_ERROR(segment.executable->StartProfile());
  return absl::OkStatus();
}

std::vector<device::KernelTime> Program::Profile() const {
  std::vector<device::KernelTime> all;
  for (const Segment& segment : segments_) {
    for (device::KernelTime& time : segment.executable->Profile()) all.push_back(std::move(time));
  }
  return all;
}

std::string Program::Describe() const {
  if (segments_.size() == 1) return segments_[0].executable->Describe();
  std::string text;
  for (const Segment& segment : segments_) {
    absl::StrAppend(
        &text, "on ", places_[segment.device].device->name(), ", with ", segment.copies.size(),
        " values ",
        segment.loads.empty() ? "" : absl::StrCat("and ", segment.loads.size(), " weights "),
        "from elsewhere:\n", segment.executable->Describe());
  }
  return text;
}

}  // namespace bantam::engine
