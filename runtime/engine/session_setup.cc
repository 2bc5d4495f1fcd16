// Making a session: the graphs of its steps, the memory of all it holds, and compiling.
#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/align.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/engine/placing.h"
#include "runtime/engine/session_impl.h"
#include "runtime/engine/steps.h"

namespace bantam::engine {

absl::StatusOr<schedule::Partition> Session::Impl::Build(int64_t rows, int64_t output_rows) const {
  BANTAM_ASSIGN_OR_RETURN(const graph::Graph whole,
                          BuildStep(model->architecture(), options, rows, output_rows));
  BANTAM_ASSIGN_OR_RETURN(const graph::Graph graph, schedule::SplitExperts(whole, placement.hot));
  if (graph.outputs().empty()) return absl::InternalError("the graph has no output");
  BANTAM_ASSIGN_OR_RETURN(const schedule::NodePlaces places,
                          schedule::PlacesInStep(graph, placement));
  return schedule::Split(graph, places.device, alignments, places.unit);
}

absl::StatusOr<std::unique_ptr<device::Buffer>> Session::Impl::Allocate(size_t d, uint64_t bytes) {
  auto buffer = device(d).Allocate(bytes);
  if (!buffer.ok()) refusing = static_cast<int>(d);
  if (absl::IsUnavailable(buffer.status())) lost = static_cast<int>(d);
  return buffer;
}

absl::Status Session::Impl::AllocateKv(const schedule::Partition& decode) {
  const graph::Graph& graph = decode.graph;
  std::vector<int> device_of(graph.values().size(), -1);
  std::vector<bool> has_window(graph.values().size(), false);
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    const graph::Node& node = graph.nodes()[n];
    for (graph::ValueId id : node.inputs) device_of[graph.RootOf(id)] = decode.device_of_node[n];
    if (node.op != graph::Op::kKvWrite) continue;
    has_window[graph.RootOf(node.inputs[0])] =
        graph.value(node.inputs[2]).name == model::kInputWindowSlots;
  }
  struct State {
    const graph::Value* value;
    int device;
    size_t buffer;
    uint64_t offset;
    bool has_window;
  };
  std::vector<State> states;
  std::vector<std::vector<uint64_t>> sizes(alignments.size());  // of the buffers of a device
  for (size_t v = 0; v < device_of.size(); ++v) {
    const graph::Value& value = graph.values()[v];
    if (value.storage != graph::Storage::kState || device_of[v] < 0) continue;
    if (value.base != graph::kNone) continue;
    const int d = device_of[v];
    const uint64_t room = AlignUp(value.SpanBytes(), alignments[d]);
    if (sizes[d].empty() || sizes[d].back() + room > device(d).limits().max_allocation) {
      sizes[d].push_back(0);
    }
    states.push_back({&value, d, sizes[d].size() - 1, sizes[d].back(), has_window[v]});
    sizes[d].back() += room;
  }
  kv.resize(sizes.size());
  for (size_t d = 0; d < sizes.size(); ++d) {
    for (const uint64_t bytes : sizes[d]) {
      auto buffer = Allocate(d, bytes);
      if (!buffer.ok()) {
        const uint64_t all = std::accumulate(sizes[d].begin(), sizes[d].end(), uint64_t{0});
        return Annotate(
            buffer.status(),
            absl::StrFormat("a KV cache of %d tokens needs %s; ask for a smaller context",
                            options.context, FormatByteSize(all)));
      }
      kv[d].push_back(*std::move(buffer));
    }
  }
  for (const State& state : states) {
    const device::Binding where{kv[state.device][state.buffer].get(), state.offset};
    kv_states[state.value->name] = where;
    kv_parts.push_back({where, static_cast<uint64_t>(state.value->strides[2]), state.has_window});
  }
  return absl::OkStatus();
}

// Every device reads the inputs from a copy of its own.
absl::Status Session::Impl::AllocateInputs(const schedule::Partition& decode) {
  uint64_t alignment = 1;
  for (uint64_t a : alignments) alignment = std::max(alignment, a);
  const int64_t window_cells = WindowCells(model->config(), options);
  layout = InputLayout(options.ubatch, options.context, window_cells, alignment);
  staging.resize(layout.kv_cells);
  if (window_cells > 0) {
    auto* cells = reinterpret_cast<int32_t*>(staging.data() + layout.window_cells);
    ring =
        WindowRing({cells, static_cast<size_t>(2 * window_cells)}, LongestWindow(model->config()));
  }
  BANTAM_ASSIGN_OR_RETURN(inputs, NewInputs(decode));
  return absl::OkStatus();
}

absl::StatusOr<Buffers> Session::Impl::NewInputs(const schedule::Partition& decode) {
  // Slot i always holds position i of sequence 0.
  std::vector<int32_t> cells(2 * options.context, 0);
  for (int64_t i = 0; i < options.context; ++i) cells[2 * i] = static_cast<int32_t>(i);
  Buffers made(alignments.size());
  for (const int d : DevicesUsed(decode)) {
    BANTAM_ASSIGN_OR_RETURN(made[d], Allocate(d, layout.size));
    const absl::Status status = made[d]->Upload(layout.kv_cells, std::as_bytes(std::span(cells)));
    if (!status.ok()) refusing = d;
    BANTAM_RETURN_IF_ERROR(status);
  }
  return made;
}

std::vector<int> Session::Impl::DevicesUsed(const schedule::Partition& decode) const {
  std::set<int> devices;
  for (const schedule::Segment& segment : decode.segments) devices.insert(segment.device);
  if (Streams()) devices.insert(placement.streaming.device);
  return {devices.begin(), devices.end()};
}

absl::StatusOr<device::Binding> Session::Impl::Bind(const graph::Value& value, int device,
                                                    const Buffers& from) const {
  if (value.storage == graph::Storage::kWeight) {
    const device::Binding* found = model->weights()[device].Find(value.name);
    if (found != nullptr) return *found;
  } else if (value.storage == graph::Storage::kState) {
    auto found = kv_states.find(value.name);
    if (found != kv_states.end()) return found->second;
  } else {
    const std::pair<absl::string_view, uint64_t> known[] = {
        {model::kInputTokens, layout.tokens},
        {model::kInputPositions, layout.positions},
        {model::kInputSlots, layout.slots},
        {model::kInputQueryCells, layout.query_cells},
        {model::kInputKvCells, layout.kv_cells},
        {model::kInputKvLength, layout.kv_length},
        {model::kInputWindowSlots, layout.window_slots},
        {model::kInputWindowCells, layout.window_cells},
        {model::kInputWindowLength, layout.window_length},
        {model::kInputOutputRows, layout.output_rows},
    };
    for (const auto& [name, offset] : known) {
      if (value.name == name) return device::Binding{from[device].get(), offset};
    }
  }
  return absl::InternalError(
      absl::StrCat("the graph uses '", value.name, "', which the session does not provide"));
}

absl::StatusOr<std::unique_ptr<Program>> Session::Impl::Compile(
    const schedule::Partition& partition, const std::vector<std::unique_ptr<device::Stream>>& with,
    const Buffers& from, const Buffers& temps, const std::vector<TempRoom>& rooms) const {
  std::vector<Program::Place> places;
  for (size_t d = 0; d < temps.size(); ++d) {
    places.push_back(
        {&device(d), with[d].get(), temps[d].get(), rooms[d].planned, rooms[d].scratch});
  }
  const auto bind = [&](const graph::Value& value, int device) {
    return Bind(value, device, from);
  };
  Program::Units units;
  for (size_t i = 0; i < 2; ++i) units.buffers[i] = unit_buffers[i].get();
  units.source = [this](const graph::Value& weight) -> absl::StatusOr<Program::Units::Pieces> {
    const gguf::TensorInfo* tensor = model->file().FindTensor(weight.name);
    if (tensor != nullptr) return Program::Units::Pieces{tensor->data};
    const MadeWeights::Entry* made = model->made_weights().Find(weight.name);
    if (made != nullptr) return made->pieces;
    return absl::InternalError(absl::StrCat("the file has no tensor ", weight.name));
  };
  return Program::Compile(partition, std::move(places), bind, units, options.trace, refusing);
}

absl::Status Session::Impl::AddRoom(const schedule::Partition& partition,
                                    std::vector<TempRoom>& rooms) {
  rooms.resize(alignments.size());
  for (size_t d = 0; d < rooms.size(); ++d) {
    rooms[d].planned = std::max(
        rooms[d].planned, AlignUp(static_cast<uint64_t>(partition.plans[d].size), alignments[d]));
  }
  for (const schedule::Segment& segment : partition.segments) {
    const auto scratch = schedule::SegmentScratch(partition, segment, device(segment.device));
    if (absl::IsUnavailable(scratch.status())) lost = segment.device;
    BANTAM_RETURN_IF_ERROR(scratch.status());
    TempRoom& room = rooms[segment.device];
    room.scratch = std::max(room.scratch, scratch->shared);
  }
  return absl::OkStatus();
}

absl::StatusOr<Buffers> Session::Impl::NewTemps(const std::vector<TempRoom>& rooms, int64_t rows) {
  Buffers made(rooms.size());
  for (size_t d = 0; d < rooms.size(); ++d) {
    const uint64_t bytes = rooms[d].planned + rooms[d].scratch;
    if (bytes == 0) continue;
    auto buffer = Allocate(d, bytes);
    if (!buffer.ok()) {
      return Annotate(buffer.status(),
                      absl::StrFormat("a step of %d tokens needs %s for intermediate values; ask "
                                      "for a smaller ubatch",
                                      rows, FormatByteSize(bytes)));
    }
    made[d] = *std::move(buffer);
  }
  return made;
}

absl::StatusOr<std::vector<std::unique_ptr<device::Stream>>> Session::Impl::NewStreams(
    const schedule::Partition& decode) const {
  std::vector<std::unique_ptr<device::Stream>> made(alignments.size());
  for (const int d : DevicesUsed(decode)) {
    auto stream = device(d).NewStream();
    if (!stream.ok()) refusing = d;
    if (absl::IsUnavailable(stream.status())) lost = d;
    BANTAM_ASSIGN_OR_RETURN(made[d], std::move(stream));
  }
  return made;
}

absl::Status Session::Impl::CompileAll(std::vector<Step>& into,
                                       const std::vector<int64_t>& row_counts, bool all_rows,
                                       Buffers& buffers, std::vector<TempRoom>& rooms_of) {
  std::vector<Step> made;
  rooms_of.assign(alignments.size(), {});
  for (const int64_t rows : row_counts) {
    Step step;
    step.rows = rows;
    step.output_rows = all_rows ? rows : 1;
    BANTAM_ASSIGN_OR_RETURN(step.partition, Build(step.rows, step.output_rows));
    const graph::Graph& graph = step.partition.graph;
    const auto output = [&](size_t index) -> Step::Output {
      const graph::Value& value = graph.value(graph.outputs()[index]);
      const graph::ValueId root = graph.RootOf(graph.outputs()[index]);
      const int d = step.partition.device_of_node[graph.value(root).producer];
      return {d, step.partition.plans[d].offsets[root] + static_cast<uint64_t>(value.byte_offset)};
    };
    step.logits = output(0);
    if (options.likeliest) {
      step.likeliest = output(1);
      step.largest_logits = output(2);
    }
    const size_t counted = options.expert_use_folder.empty() ? 0 : graph.outputs().size();
    for (size_t i = 0; i < counted; ++i) {
      const graph::Value& ids = graph.value(graph.outputs()[i]);
      const int layer = RoutedLayer(graph, ids);
      if (layer >= 0) step.routed.push_back({layer, output(i), ids.shape[0], ids.shape[1]});
    }
    step.temps = &buffers;
    BANTAM_RETURN_IF_ERROR(AddRoom(step.partition, rooms_of));
    if (options.keep_matmul_inputs && all_rows) {
      step.matmul_inputs = FindMatMulInputs(graph, step.partition.plans[0]);
    }
    made.push_back(std::move(step));
  }
  BANTAM_ASSIGN_OR_RETURN(Buffers allocated, NewTemps(rooms_of, row_counts.back()));
  for (Step& step : made) {
    BANTAM_ASSIGN_OR_RETURN(step.program,
                            Compile(step.partition, streams, inputs, allocated, rooms_of));
    step.partition = {};
  }
  buffers = std::move(allocated);
  into = std::move(made);
  return absl::OkStatus();
}

// Without it a session is as good, only slower.
absl::Status Session::Impl::AllocateSecond(const schedule::Partition& decode) {
  const bool has_several =
      std::any_of(decode.segments.begin(), decode.segments.end(),
                  [&](const auto& segment) { return segment.device != decode.segments[0].device; });
  if (!has_several || !TwoStepsInFlight(options) || Streams()) return absl::OkStatus();
  Lane lane;
  BANTAM_ASSIGN_OR_RETURN(lane.streams, NewStreams(decode));
  BANTAM_ASSIGN_OR_RETURN(lane.inputs, NewInputs(decode));
  BANTAM_ASSIGN_OR_RETURN(const schedule::Partition partition, Build(options.ubatch, 1));
  BANTAM_RETURN_IF_ERROR(AddRoom(partition, lane.rooms));
  BANTAM_ASSIGN_OR_RETURN(lane.temp, NewTemps(lane.rooms, options.ubatch));
  BANTAM_ASSIGN_OR_RETURN(lane.program,
                          Compile(partition, lane.streams, lane.inputs, lane.temp, lane.rooms));
  second = std::move(lane);
  return absl::OkStatus();
}

absl::Status Session::Impl::AllocateUnits() {
  unit_buffers = {};
  registrations.clear();
  if (!Streams()) return absl::OkStatus();
  BANTAM_ASSIGN_OR_RETURN(const schedule::Partition partition, Build(options.ubatch, 1));
  const int d = placement.streaming.device;
  schedule::DeviceProfile profile;
  profile.device = &device(d);
  profile.alignment = alignments[d];
  for (auto& buffer : unit_buffers) {
    auto allocated = Allocate(d, schedule::UnitBytes(partition, profile));
    if (allocated.ok()) {
      buffer = *std::move(allocated);
      continue;
    }
    if (!absl::IsResourceExhausted(allocated.status())) return allocated.status();
    StopStreaming(d);
    return absl::OkStatus();
  }
  for (const schedule::Segment& segment : partition.segments) {
    if (segment.unit < 0) continue;
    for (const auto& place : schedule::LayOutUnit(partition.graph, segment, profile).places) {
      const std::string& name = partition.graph.value(place.weight).name;
      const gguf::TensorInfo* tensor = model->file().FindTensor(name);
      const MadeWeights::Entry* made = model->made_weights().Find(name);
      if (tensor == nullptr && made != nullptr) tensor = made->tensor;
      if (tensor == nullptr) continue;
      auto registered = device(d).RegisterHost(tensor->data);
      // Copies are slower without, and right all the same.
      if (!registered.ok()) return absl::OkStatus();
      registrations.push_back(*std::move(registered));
    }
  }
  return absl::OkStatus();
}

void Session::Impl::StopStreaming(int device) {
  if (options.notice) {
    options.notice(absl::StrCat(model->devices()[device]->name(),
                                " is short of memory: no weights are brought there for prompts"));
  }
  unit_buffers = {};
  placement.streaming = {};
}

void Session::Impl::DropAll() {
  second = {};
  for (std::vector<Step>* made : {&steps, &all_steps, &verify_steps}) made->clear();
  for (Buffers* buffers : {&inputs, &temp, &all_temp, &verify_temp}) buffers->clear();
  for (std::vector<TempRoom>* of_temps : {&rooms, &all_rooms, &verify_rooms}) of_temps->clear();
  kv.clear();
  kv_states.clear();
  kv_parts.clear();
  unit_buffers = {};
  registrations.clear();
  streams.clear();
}

absl::Status Session::Impl::AllocateAll() {
  refusing = -1;
  DropAll();
  BANTAM_ASSIGN_OR_RETURN(const schedule::Partition decode, Build(1, 1));
  BANTAM_RETURN_IF_ERROR(AllocateUnits());
  BANTAM_ASSIGN_OR_RETURN(streams, NewStreams(decode));
  BANTAM_RETURN_IF_ERROR(AllocateInputs(decode));
  BANTAM_RETURN_IF_ERROR(AllocateKv(decode));
  BANTAM_RETURN_IF_ERROR(
      CompileAll(steps, ShapeClasses(options.ubatch), /*all_rows=*/false, temp, rooms));
  if (options.verify_rows >= 2) {
    std::vector<int64_t> row_counts;
    for (int64_t rows = 2; rows <= options.verify_rows; ++rows) row_counts.push_back(rows);
    BANTAM_RETURN_IF_ERROR(
        CompileAll(verify_steps, row_counts, /*all_rows=*/true, verify_temp, verify_rooms));
  }
  const absl::Status status = AllocateSecond(decode);
  if (!absl::IsResourceExhausted(status)) return status;
  if (options.notice) {
    options.notice(absl::StrCat(device(refusing).name(),
                                " is short of memory: a prompt's steps run one after the other"));
  }
  return absl::OkStatus();
}

// A device is short of memory after its weights are there: the cache of its last layer goes to the
// next one. False when there is none, or no next device.
bool Session::Impl::MoveKvFrom(int device) {
  if (device < 0 || device + 1 >= static_cast<int>(alignments.size())) return false;
  for (size_t g = placement.groups.size(); g-- > 0;) {
    if (placement.groups[g].part != schedule::Part::kKv || placement.device[g] != device) continue;
    placement.device[g] = device + 1;
    if (options.notice) {
      options.notice(absl::StrCat(model->devices()[device]->name(), " is short of memory: moved ",
                                  schedule::GroupName(placement.groups[g]), " to ",
                                  model->devices()[device + 1]->name()));
    }
    return true;
  }
  return false;
}

bool Session::Impl::MakeRoom(int device) {
  if (device < 0) return false;
  if (placement.streaming.rows > 0 && placement.streaming.device == device) {
    StopStreaming(device);
    return true;
  }
  return MoveKvFrom(device);
}

absl::Status Session::Impl::Prepare() {
  placement = model->placement();
  if (!options.stream_weights || options.keep_matmul_inputs) placement.streaming = {};
  tokens.reserve(options.context);
  moved.reserve(options.context);
  alignments.clear();
  for (const auto& device : model->devices()) {
    alignments.push_back(device->limits().alignment);
  }
  for (absl::Status status = AllocateAll(); !status.ok(); status = AllocateAll()) {
    if (!absl::IsResourceExhausted(status)) return status;
    if (!MakeRoom(refusing)) return LoadWithLess(refusing, status);
  }
  int64_t most = 0;
  for (const Step::Routed& routed : steps.back().routed) {
    expert_use.counts.resize(std::max<size_t>(expert_use.counts.size(), routed.layer + 1));
    const gguf::TensorInfo* router =
        model->file().FindTensor(absl::StrCat("blk.", routed.layer, ".ffn_gate_inp.weight"));
    if (router != nullptr) expert_use.counts[routed.layer].resize(router->shape[1]);
    most = std::max(most, routed.chosen * options.ubatch);
  }
  chosen.resize(most);
  if (options.likeliest) {
    likeliest.reserve(options.ubatch);
    largest_logits.reserve(options.ubatch);
  } else if (temp[steps[0].logits.device]->host().empty()) {
    downloaded_logits.resize(std::max<int64_t>(1, options.verify_rows) * output_width());
  }
  return absl::OkStatus();
}

}  // namespace bantam::engine
