#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/align.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/input_layout.h"
#include "runtime/engine/matmul_inputs.h"
#include "runtime/engine/placing.h"
#include "runtime/engine/program.h"
#include "runtime/engine/session_file.h"
#include "runtime/engine/steps.h"
#include "runtime/schedule/partition.h"

namespace bantam::engine {
namespace {

constexpr int32_t kNoSlot = -1;
constexpr int32_t kNoSequence = -1;

// One shape class: the graph for a fixed number of rows, compiled.
struct Step {
  int64_t rows = 0;
  int64_t output_rows = 0;
  schedule::Partition partition;  // until compiled
  int logits_device = 0;
  uint64_t logits_offset = 0;              // in the temporary buffer of that device
  std::vector<MatMulInput> matmul_inputs;  // where they were asked for
  std::unique_ptr<Program> program;
};

// One for each device; null where nothing is on it.
using Buffers = std::vector<std::unique_ptr<device::Buffer>>;

// Rows of the step that best takes the next tokens of `remaining`: the smallest class that holds
// them all, unless it would be mostly padding; then a smaller class first.
int64_t ChooseRows(int64_t remaining, int64_t ubatch) {
  constexpr int64_t kPaddingIsCheap = 16;  // below this a step costs what reading the weights costs
  if (remaining >= ubatch) return ubatch;
  const int64_t fits = std::min<int64_t>(std::bit_ceil(static_cast<uint64_t>(remaining)), ubatch);
  if (fits <= kPaddingIsCheap || fits - remaining <= fits / 4) return fits;
  return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(remaining)));
}

}  // namespace

struct Session::Impl {
  std::shared_ptr<const Model> model;
  SessionOptions options;
  schedule::Placement placement;
  std::vector<std::unique_ptr<device::Stream>> streams;
  std::vector<uint64_t> alignments;  // by device
  int refusing = -1;                 // the device that last failed to allocate
  Buffers kv;
  Buffers inputs;
  Buffers temp;                 // of every step in `steps`
  Buffers all_temp;             // of every step in `all_steps`
  std::vector<Step> steps;      // one output row; by increasing rows
  std::vector<Step> all_steps;  // as many output rows as rows; made on first use
  Buffers verify_temp;
  std::vector<Step> verify_steps;  // the same, [i] with i + 2 rows; made by Create
  InputLayout layout{0, 0, 1};
  std::vector<std::byte> staging;        // the inputs up to kv_cells
  std::vector<float> downloaded_logits;  // only where the device's memory is not the host's
  std::span<const float> logits;
  std::vector<TokenId> tokens;     // the text; room for the whole context
  std::vector<TokenId> moved;      // of Drop; as much room
  const Step* observed = nullptr;  // the step of the last Decode with kAll
  int64_t observed_tokens = 0;

  device::Device& device(size_t d) const { return *model->devices()[d]; }
  // Allocates on one device; remembers which one refused.
  absl::StatusOr<std::unique_ptr<device::Buffer>> Allocate(size_t d, uint64_t bytes);
  absl::Status Prepare();
  absl::Status AllocateAll();
  bool MoveKvFrom(int device);
  absl::StatusOr<schedule::Partition> Build(int64_t rows, int64_t output_rows) const;
  absl::Status AllocateKv(const schedule::Partition& decode);
  absl::Status AllocateInputs(const schedule::Partition& decode);
  absl::Status CompileAll(std::vector<Step>& into, const std::vector<int64_t>& row_counts,
                          bool all_rows, Buffers& buffers);
  absl::Status Compile(Step& step, const Buffers& temps);
  absl::StatusOr<device::Binding> Bind(const graph::Value& value, int device) const;
  absl::Status RunStep(Step& step, std::span<const TokenId> added);
  absl::Status ReadLogits(const Step& step, const Buffers& temps, int64_t rows);

  int64_t position() const { return static_cast<int64_t>(tokens.size()); }
  // What a saved session must have been made with.
  SessionFileKind FileKind() const;

  // KV states by name, where each lives.
  absl::flat_hash_map<std::string, device::Binding> kv_states;
  struct KvPart {
    device::Binding where;
    uint64_t bytes_per_token;  // the cells of a state are its outermost dimension
  };
  std::vector<KvPart> kv_parts;  // every state
  int64_t output_width() const {
    return options.embeddings ? model->config().embedding_length : model->config().vocab_size;
  }
  uint64_t logits_bytes_per_row() const { return output_width() * sizeof(float); }
};

absl::StatusOr<schedule::Partition> Session::Impl::Build(int64_t rows, int64_t output_rows) const {
  BANTAM_ASSIGN_OR_RETURN(const graph::Graph graph,
                          BuildStep(model->architecture(), options, rows, output_rows));
  if (graph.outputs().empty()) return absl::InternalError("the graph has no output");
  BANTAM_ASSIGN_OR_RETURN(const std::vector<int> of_node,
                          schedule::DevicesOfNodes(graph, placement));
  return schedule::Split(graph, of_node, alignments);
}

absl::StatusOr<std::unique_ptr<device::Buffer>> Session::Impl::Allocate(size_t d, uint64_t bytes) {
  auto buffer = device(d).Allocate(bytes);
  if (!buffer.ok()) refusing = static_cast<int>(d);
  return buffer;
}

absl::Status Session::Impl::AllocateKv(const schedule::Partition& decode) {
  const graph::Graph& graph = decode.graph;
  std::vector<int> device_of(graph.values().size(), -1);
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    for (graph::ValueId id : graph.nodes()[n].inputs) {
      device_of[graph.RootOf(id)] = decode.device_of_node[n];
    }
  }
  struct State {
    const graph::Value* value;
    int device;
    uint64_t offset;
  };
  std::vector<State> states;
  std::vector<uint64_t> bytes(alignments.size(), 0);
  for (size_t v = 0; v < device_of.size(); ++v) {
    const graph::Value& value = graph.values()[v];
    if (value.storage != graph::Storage::kState || device_of[v] < 0) continue;
    if (value.base != graph::kNone) continue;
    const int d = device_of[v];
    states.push_back({&value, d, bytes[d]});
    bytes[d] = AlignUp(bytes[d] + value.SpanBytes(), alignments[d]);
  }
  kv.resize(bytes.size());
  for (size_t d = 0; d < bytes.size(); ++d) {
    if (bytes[d] == 0) continue;
    auto buffer = Allocate(d, bytes[d]);
    if (!buffer.ok()) {
      return Annotate(buffer.status(),
                      absl::StrFormat("a KV cache of %d tokens needs %s; ask for a smaller context",
                                      options.context, FormatByteSize(bytes[d])));
    }
    kv[d] = *std::move(buffer);
  }
  for (const State& state : states) {
    const device::Binding where{kv[state.device].get(), state.offset};
    kv_states[state.value->name] = where;
    kv_parts.push_back({where, static_cast<uint64_t>(state.value->strides[2])});
  }
  return absl::OkStatus();
}

// Every device reads the inputs from a copy of its own.
absl::Status Session::Impl::AllocateInputs(const schedule::Partition& decode) {
  uint64_t alignment = 1;
  for (uint64_t a : alignments) alignment = std::max(alignment, a);
  layout = InputLayout(options.ubatch, options.context, alignment);
  staging.resize(layout.kv_cells);
  // Slot i always holds position i of sequence 0.
  std::vector<int32_t> cells(2 * options.context, 0);
  for (int64_t i = 0; i < options.context; ++i) cells[2 * i] = static_cast<int32_t>(i);
  inputs.resize(alignments.size());
  for (const schedule::Segment& segment : decode.segments) {
    std::unique_ptr<device::Buffer>& buffer = inputs[segment.device];
    if (buffer != nullptr) continue;
    BANTAM_ASSIGN_OR_RETURN(buffer, Allocate(segment.device, layout.size));
    BANTAM_RETURN_IF_ERROR(buffer->Upload(layout.kv_cells, std::as_bytes(std::span(cells))));
  }
  return absl::OkStatus();
}

absl::StatusOr<device::Binding> Session::Impl::Bind(const graph::Value& value, int device) const {
  if (value.storage == graph::Storage::kWeight) {
    const device::Binding* found = model->weights_[device].Find(value.name);
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
        {model::kInputOutputRows, layout.output_rows},
    };
    for (const auto& [name, offset] : known) {
      if (value.name == name) return device::Binding{inputs[device].get(), offset};
    }
  }
  return absl::InternalError(
      absl::StrCat("the graph uses '", value.name, "', which the session does not provide"));
}

absl::Status Session::Impl::Compile(Step& step, const Buffers& temps) {
  std::vector<Program::Place> places;
  for (size_t d = 0; d < temps.size(); ++d) {
    places.push_back({&device(d), streams[d].get(), temps[d].get()});
  }
  BANTAM_ASSIGN_OR_RETURN(step.program,
                          Program::Compile(step.partition, std::move(places),
                                           [this](const graph::Value& value, int device) {
                                             return Bind(value, device);
                                           }));
  return absl::OkStatus();
}

absl::Status Session::Impl::CompileAll(std::vector<Step>& into,
                                       const std::vector<int64_t>& row_counts, bool all_rows,
                                       Buffers& buffers) {
  std::vector<Step> made;
  std::vector<uint64_t> sizes(alignments.size(), 0);
  for (const int64_t rows : row_counts) {
    Step step;
    step.rows = rows;
    step.output_rows = all_rows ? rows : 1;
    BANTAM_ASSIGN_OR_RETURN(step.partition, Build(step.rows, step.output_rows));
    const graph::Graph& graph = step.partition.graph;
    const graph::ValueId logits_id = graph.outputs()[0];
    const graph::ValueId root = graph.RootOf(logits_id);
    step.logits_device = step.partition.device_of_node[graph.value(root).producer];
    step.logits_offset =
        step.partition.plans[step.logits_device].offsets[root] + graph.value(logits_id).byte_offset;
    for (size_t d = 0; d < sizes.size(); ++d) {
      sizes[d] = std::max(sizes[d], static_cast<uint64_t>(step.partition.plans[d].size));
    }
    if (options.keep_matmul_inputs && all_rows) {
      step.matmul_inputs = FindMatMulInputs(graph, step.partition.plans[0]);
    }
    made.push_back(std::move(step));
  }
  Buffers allocated(sizes.size());
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] == 0) continue;
    auto buffer = Allocate(d, sizes[d]);
    if (!buffer.ok()) {
      return Annotate(buffer.status(),
                      absl::StrFormat("a step of %d tokens needs %s for intermediate values; ask "
                                      "for a smaller ubatch",
                                      row_counts.back(), FormatByteSize(sizes[d])));
    }
    allocated[d] = *std::move(buffer);
  }
  for (Step& step : made) {
    BANTAM_RETURN_IF_ERROR(Compile(step, allocated));
    step.partition = {};
  }
  buffers = std::move(allocated);
  into = std::move(made);
  return absl::OkStatus();
}

absl::Status Session::Impl::AllocateAll() {
  refusing = -1;
  kv_states.clear();
  kv_parts.clear();
  for (Buffers* buffers : {&inputs, &kv}) buffers->clear();
  BANTAM_ASSIGN_OR_RETURN(const schedule::Partition decode, Build(1, 1));
  BANTAM_RETURN_IF_ERROR(AllocateInputs(decode));
  BANTAM_RETURN_IF_ERROR(AllocateKv(decode));
  BANTAM_RETURN_IF_ERROR(CompileAll(steps, ShapeClasses(options.ubatch), /*all_rows=*/false, temp));
  if (options.verify_rows < 2) return absl::OkStatus();
  std::vector<int64_t> row_counts;
  for (int64_t rows = 2; rows <= options.verify_rows; ++rows) row_counts.push_back(rows);
  return CompileAll(verify_steps, row_counts, /*all_rows=*/true, verify_temp);
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

absl::Status Session::Impl::Prepare() {
  placement = model->placement();
  tokens.reserve(options.context);
  moved.reserve(options.context);
  for (const auto& device : model->devices()) {
    alignments.push_back(device->limits().alignment);
    BANTAM_ASSIGN_OR_RETURN(auto stream, device->NewStream());
    streams.push_back(std::move(stream));
  }
  for (absl::Status status = AllocateAll(); !status.ok(); status = AllocateAll()) {
    if (!absl::IsResourceExhausted(status) || !MoveKvFrom(refusing)) return status;
  }
  if (temp[steps[0].logits_device]->host().empty()) {
    downloaded_logits.resize(std::max<int64_t>(1, options.verify_rows) * output_width());
  }
  return absl::OkStatus();
}

absl::Status Session::Impl::RunStep(Step& step, std::span<const TokenId> added) {
  auto ints = [this](uint64_t offset) {
    return reinterpret_cast<int32_t*>(staging.data() + offset);
  };
  const int64_t used = static_cast<int64_t>(added.size());
  for (int64_t i = 0; i < step.rows; ++i) {
    const bool padding = i >= used;
    const int32_t at = padding ? 0 : static_cast<int32_t>(position() + i);
    ints(layout.tokens)[i] = padding ? 0 : added[i];
    ints(layout.positions)[i] = at;
    ints(layout.slots)[i] = padding ? kNoSlot : at;
    ints(layout.query_cells)[2 * i] = at;
    ints(layout.query_cells)[2 * i + 1] = padding ? kNoSequence : 0;
  }
  for (int64_t i = 0; i < step.output_rows; ++i) {
    ints(layout.output_rows)[i] =
        static_cast<int32_t>(step.output_rows == 1 ? used - 1 : std::min(i, used - 1));
  }
  *ints(layout.kv_length) = static_cast<int32_t>(position() + used);
  for (const auto& buffer : inputs) {
    if (buffer != nullptr) BANTAM_RETURN_IF_ERROR(buffer->Upload(0, staging));
  }
  BANTAM_RETURN_IF_ERROR(step.program->Run());
  tokens.insert(tokens.end(), added.begin(), added.end());
  return absl::OkStatus();
}

absl::Status Session::Impl::ReadLogits(const Step& step, const Buffers& temps, int64_t rows) {
  device::Buffer& temp_buffer = *temps[step.logits_device];
  const uint64_t bytes = rows * logits_bytes_per_row();
  const std::span<std::byte> host = temp_buffer.host();
  if (!host.empty()) {
    logits = {reinterpret_cast<const float*>(host.data() + step.logits_offset),
              bytes / sizeof(float)};
  } else {
    if (downloaded_logits.size() * sizeof(float) < bytes) {
      downloaded_logits.resize(bytes / sizeof(float));
    }
    const std::span<float> into(downloaded_logits.data(), bytes / sizeof(float));
    BANTAM_RETURN_IF_ERROR(temp_buffer.Download(step.logits_offset, std::as_writable_bytes(into)));
    logits = into;
  }
  // Infinity is a legitimate logit (a masked token), NaN never is.
  for (float value : logits) {
    if (std::isnan(value)) return model->ExplainNonFinite();
  }
  return absl::OkStatus();
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

absl::StatusOr<std::unique_ptr<Session>> Session::Create(std::shared_ptr<const Model> model,
                                                         const SessionOptions& options) {
  BANTAM_ASSIGN_OR_RETURN(SessionOptions checked,
                          CheckOptions(options, model->config(), model->file().path()));
  if (checked.keep_matmul_inputs && model->devices().size() > 1) {
    return absl::UnimplementedError(
        "what matrix multiplications are given can be observed on one device only; name one");
  }
  auto impl = std::make_unique<Impl>();
  impl->model = std::move(model);
  impl->options = std::move(checked);
  BANTAM_RETURN_IF_ERROR(impl->Prepare());
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

absl::Status Session::Decode(std::span<const TokenId> tokens, LogitsMode mode) {
  Impl& s = *impl_;
  s.logits = {};
  s.observed = nullptr;
  const int64_t count = static_cast<int64_t>(tokens.size());
  if (count == 0) return absl::OkStatus();
  const int64_t vocab = s.model->config().vocab_size;
  for (int64_t i = 0; i < count; ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "token %d of the batch is %d; the vocabulary has %d", i, tokens[i], vocab));
    }
  }
  if (count > s.options.context - s.position()) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%d tokens do not fit: the context holds %d and %d are used", count,
                        s.options.context, s.position()));
  }
  if (!s.model->config().causal) {
    if (s.position() != 0) {
      return absl::FailedPreconditionError(
          "this model sees a text as a whole; Truncate to 0 before the next one");
    }
    if (count > s.options.ubatch) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the text has %d tokens; this model sees a text as a whole, at most %d "
                          "(ubatch) at a time",
                          count, s.options.ubatch));
    }
  }
  if (mode == LogitsMode::kAll && count > 1 && count <= s.options.verify_rows) {
    Step& step = s.verify_steps[count - 2];
    BANTAM_RETURN_IF_ERROR(s.RunStep(step, tokens));
    return s.ReadLogits(step, s.verify_temp, count);
  }
  if (mode == LogitsMode::kAll && (count > 1 || s.options.keep_matmul_inputs)) {
    if (count > s.options.ubatch) {
      return absl::InvalidArgumentError(
          absl::StrFormat("logits of all %d tokens were asked for; at most %d (ubatch) at a time",
                          count, s.options.ubatch));
    }
    if (s.all_steps.empty()) {
      BANTAM_RETURN_IF_ERROR(
          s.CompileAll(s.all_steps, ShapeClasses(s.options.ubatch), /*all_rows=*/true, s.all_temp));
    }
    for (Step& step : s.all_steps) {
      if (step.rows < count) continue;
      BANTAM_RETURN_IF_ERROR(s.RunStep(step, tokens));
      s.observed = &step;
      s.observed_tokens = count;
      return s.ReadLogits(step, s.all_temp, count);
    }
  }
  const Step* last = nullptr;
  while (!tokens.empty()) {
    const int64_t rows = ChooseRows(static_cast<int64_t>(tokens.size()), s.options.ubatch);
    auto step = std::lower_bound(s.steps.begin(), s.steps.end(), rows,
                                 [](const Step& a, int64_t r) { return a.rows < r; });
    const size_t taken = std::min<size_t>(step->rows, tokens.size());
    BANTAM_RETURN_IF_ERROR(s.RunStep(*step, tokens.first(taken)));
    tokens = tokens.subspan(taken);
    last = &*step;
  }
  if (mode == LogitsMode::kNone) return absl::OkStatus();
  return s.ReadLogits(*last, s.temp, 1);
}

std::span<const float> Session::Logits(int64_t row) const {
  const int64_t width = impl_->output_width();
  if (row < 0 || (row + 1) * width > static_cast<int64_t>(impl_->logits.size())) return {};
  return impl_->logits.subspan(row * width, width);
}

absl::Status Session::ObserveMatMuls(ObserveFn row) const {
  const Impl& s = *impl_;
  if (s.observed == nullptr || !s.options.keep_matmul_inputs) {
    return absl::FailedPreconditionError("no step whose matrix multiplications were observed");
  }
  for (const MatMulInput& input : s.observed->matmul_inputs) {
    BANTAM_RETURN_IF_ERROR(ReadMatMulInput(input, *s.all_temp[0], s.observed_tokens, row));
  }
  return absl::OkStatus();
}

int64_t Session::position() const { return impl_->position(); }
std::span<const TokenId> Session::tokens() const { return impl_->tokens; }
int64_t Session::context() const { return impl_->options.context; }
int64_t Session::ubatch() const { return impl_->options.ubatch; }
std::vector<int64_t> Session::shape_classes() const {
  std::vector<int64_t> rows;
  for (const Step& step : impl_->steps) rows.push_back(step.rows);
  return rows;
}
const Model& Session::model() const { return *impl_->model; }

absl::Status Session::Truncate(int64_t position) {
  if (position < 0 || position > impl_->position()) {
    return absl::OutOfRangeError(
        absl::StrFormat("cannot go back to position %d of %d", position, impl_->position()));
  }
  impl_->tokens.resize(position);
  impl_->logits = {};
  return absl::OkStatus();
}

std::vector<schedule::DeviceMemory> Session::device_memory() const {
  const Impl& s = *impl_;
  const auto size = [](const Buffers& buffers, size_t d) -> uint64_t {
    return d < buffers.size() && buffers[d] != nullptr ? buffers[d]->size() : 0;
  };
  std::vector<schedule::DeviceMemory> memory(s.alignments.size());
  for (size_t d = 0; d < memory.size(); ++d) {
    memory[d].weights = s.model->weights()[d].allocated_bytes();
    memory[d].kv_cache = size(s.kv, d);
    memory[d].inputs = size(s.inputs, d);
    memory[d].compute = size(s.temp, d) + size(s.all_temp, d) + size(s.verify_temp, d);
  }
  return memory;
}

absl::Status Session::Drop(int64_t begin, int64_t count) {
  Impl& s = *impl_;
  if (begin < 0 || count < 0 || begin > s.position() || count > s.position() - begin) {
    return absl::OutOfRangeError(absl::StrFormat(
        "cannot take %d tokens from position %d out of a text of %d", count, begin, s.position()));
  }
  if (count == 0) return absl::OkStatus();
  s.moved.assign(s.tokens.begin() + begin + count, s.tokens.end());
  BANTAM_RETURN_IF_ERROR(Truncate(begin));
  return Decode(s.moved, LogitsMode::kNone);
}

SessionFileKind Session::Impl::FileKind() const {
  SessionFileKind kind;
  kind.model = FingerprintOf(model->file());
  kind.kv_type = options.kv_type;
  for (const KvPart& part : kv_parts) kind.state_bytes_per_token += part.bytes_per_token;
  return kind;
}

absl::Status Session::Save(const std::string& path, absl::string_view note) const {
  const Impl& s = *impl_;
  BANTAM_ASSIGN_OR_RETURN(auto file, SessionFileWriter::Create(path, s.FileKind(), s.tokens, note));
  std::vector<std::byte> state;
  for (const Impl::KvPart& part : s.kv_parts) {
    state.resize(part.bytes_per_token * s.tokens.size());
    BANTAM_RETURN_IF_ERROR(part.where.buffer->Download(part.where.offset, state));
    BANTAM_RETURN_IF_ERROR(file->Append(state));
  }
  return file->Commit();
}

absl::StatusOr<std::string> Session::Restore(const std::string& path) {
  Impl& s = *impl_;
  BANTAM_ASSIGN_OR_RETURN(const SessionFile file, SessionFile::Open(path, s.FileKind()));
  const uint64_t count = file.tokens().size();
  if (count > static_cast<uint64_t>(s.options.context)) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%s: the session has %d tokens; the context only room for %d", path, count,
                        s.options.context));
  }
  for (TokenId token : file.tokens()) {
    if (token >= 0 && token < s.model->config().vocab_size) continue;
    return absl::DataLossError(absl::StrCat(path, ": token ", token, " is not in the vocabulary"));
  }
  s.tokens.clear();
  s.logits = {};
  std::span<const std::byte> state = file.state();
  for (const Impl::KvPart& part : s.kv_parts) {
    const uint64_t bytes = part.bytes_per_token * count;
    BANTAM_RETURN_IF_ERROR(part.where.buffer->Upload(part.where.offset, state.first(bytes)));
    state = state.subspan(bytes);
  }
  s.tokens.assign(file.tokens().begin(), file.tokens().end());
  return std::string(file.note());
}

MemoryUse Session::memory() const {
  const Impl& s = *impl_;
  MemoryUse use;
  use.weights = s.model->weight_bytes();
  use.compute = s.staging.size() + s.downloaded_logits.size() * sizeof(float);
  for (const schedule::DeviceMemory& memory : device_memory()) {
    use.kv_cache += memory.kv_cache;
    use.compute += memory.inputs + memory.compute;
  }
  for (const std::vector<Step>* steps : {&s.steps, &s.all_steps, &s.verify_steps}) {
    for (const Step& step : *steps) use.compute += step.program->scratch_bytes();
  }
  return use;
}

std::string Session::Describe() const { return impl_->steps.front().program->Describe(); }

absl::Status Session::StartProfile() {
  for (std::vector<Step>* steps : {&impl_->steps, &impl_->all_steps, &impl_->verify_steps}) {
    for (Step& step : *steps) BANTAM_RETURN_IF_ERROR(step.program->StartProfile());
  }
  return absl::OkStatus();
}

std::vector<device::KernelTime> Session::Profile() const {
  std::vector<device::KernelTime> all;
  for (const std::vector<Step>* steps : {&impl_->steps, &impl_->all_steps, &impl_->verify_steps}) {
    for (const Step& step : *steps) {
      for (device::KernelTime& time : step.program->Profile()) {
        auto same = std::find_if(all.begin(), all.end(),
                                 [&](const auto& other) { return other.kernel == time.kernel; });
        if (same == all.end()) {
          all.push_back(std::move(time));
          continue;
        }
        same->runs += time.runs;
        same->seconds += time.seconds;
        same->weight_bytes += time.weight_bytes;
      }
    }
  }
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  return all;
}

}  // namespace bantam::engine
