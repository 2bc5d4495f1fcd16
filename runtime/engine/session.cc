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
#include "runtime/engine/session_file.h"
#include "runtime/graph/memory_plan.h"
#include "runtime/graph/passes.h"

namespace bantam::engine {
namespace {

constexpr int64_t kMaxUbatch = 4096;
constexpr int32_t kNoSlot = -1;
constexpr int32_t kNoSequence = -1;

// The step's inputs, laid out once for the largest step so that one upload moves them all. The
// cells of the KV cache come last: they never change after Create.
struct InputLayout {
  uint64_t tokens, positions, slots, query_cells, kv_length, output_rows, kv_cells, size;

  InputLayout(int64_t max_rows, int64_t context, uint64_t alignment) {
    uint64_t next = 0;
    auto place = [&](int64_t count) {
      const uint64_t at = next;
      next = AlignUp(next + count * sizeof(int32_t), alignment);
      return at;
    };
    kv_length = place(1);
    tokens = place(max_rows);
    positions = place(max_rows);
    slots = place(max_rows);
    query_cells = place(2 * max_rows);
    output_rows = place(max_rows);
    kv_cells = place(2 * context);
    size = next;
  }
};

// One shape class: the graph for a fixed number of rows, compiled.
struct Step {
  int64_t rows = 0;
  int64_t output_rows = 0;
  graph::Graph graph;          // until compiled
  graph::MemoryPlan plan;      // until compiled
  uint64_t logits_offset = 0;  // in the temporary buffer
  std::unique_ptr<device::Executable> executable;
};

// Rows of the step that best takes the next tokens of `remaining`: the smallest class that holds
// them all, unless it would be mostly padding; then a smaller class first.
int64_t ChooseRows(int64_t remaining, int64_t ubatch) {
  constexpr int64_t kPaddingIsCheap = 16;  // below this a step costs what reading the weights costs
  if (remaining >= ubatch) return ubatch;
  const int64_t fits = std::min<int64_t>(std::bit_ceil(static_cast<uint64_t>(remaining)), ubatch);
  if (fits <= kPaddingIsCheap || fits - remaining <= fits / 4) return fits;
  return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(remaining)));
}

absl::Status CheckKvType(quant::Type type, const model::Config& config) {
  switch (type) {
    case quant::Type::kF16:
    case quant::Type::kF32:
      return absl::OkStatus();
    case quant::Type::kQ8_0:
    case quant::Type::kQ4_0:
      break;
    default:
      return absl::UnimplementedError(
          absl::StrCat("a KV cache of type ", quant::Name(type),
                       " is not supported; supported: F16, F32, Q8_0, Q4_0"));
  }
  const int64_t block = quant::Traits(type).block_size;
  for (const int64_t length : {config.key_length, config.value_length}) {
    if (length % block == 0) continue;
    return absl::InvalidArgumentError(absl::StrFormat(
        "a KV cache of type %s stores %d numbers at a time; this model's heads have %d: use F16",
        quant::Name(type), block, length));
  }
  return absl::OkStatus();
}

}  // namespace

struct Session::Impl {
  std::shared_ptr<const Model> model;
  SessionOptions options;
  std::unique_ptr<device::Stream> stream;
  std::unique_ptr<device::Buffer> kv;
  std::unique_ptr<device::Buffer> inputs;
  std::unique_ptr<device::Buffer> temp;      // of every step in `steps`
  std::unique_ptr<device::Buffer> all_temp;  // of every step in `all_steps`
  std::vector<Step> steps;                   // one output row; by increasing rows
  std::vector<Step> all_steps;               // as many output rows as rows; made on first use
  std::unique_ptr<device::Buffer> verify_temp;
  std::vector<Step> verify_steps;  // the same, [i] with i + 2 rows
  InputLayout layout{0, 0, 1};
  std::vector<std::byte> staging;        // the inputs up to kv_cells
  std::vector<float> downloaded_logits;  // only where the device's memory is not the host's
  std::span<const float> logits;
  std::vector<TokenId> tokens;  // the text; room for the whole context
  std::vector<TokenId> moved;   // of Drop; as much room
  uint64_t kv_bytes = 0;

  absl::Status Prepare();
  absl::StatusOr<graph::Graph> Build(int64_t rows, int64_t output_rows) const;
  absl::Status AllocateKv(const graph::Graph& graph);
  absl::Status CompileAll(std::vector<Step>& into, const std::vector<int64_t>& row_counts,
                          bool all_rows, std::unique_ptr<device::Buffer>& buffer);
  // 1, 2, 4, ... ubatch.
  std::vector<int64_t> ShapeClasses() const;
  absl::Status Compile(Step& step, device::Buffer* temp_buffer);
  absl::StatusOr<device::Binding> Bind(const graph::Value& value) const;
  absl::Status RunStep(Step& step, std::span<const TokenId> added);
  absl::Status ReadLogits(const Step& step, device::Buffer& temp_buffer, int64_t rows);

  int64_t position() const { return static_cast<int64_t>(tokens.size()); }
  // What a saved session must have been made with.
  SessionFileKind FileKind() const;

  // KV states by name, where each lives in `kv`.
  absl::flat_hash_map<std::string, uint64_t> kv_offsets;
  struct KvPart {
    uint64_t offset;
    uint64_t bytes_per_token;  // the cells of a state are its outermost dimension
  };
  std::vector<KvPart> kv_parts;  // every state
  uint64_t logits_bytes_per_row() const { return model->config().vocab_size * sizeof(float); }
};

absl::StatusOr<graph::Graph> Session::Impl::Build(int64_t rows, int64_t output_rows) const {
  model::GraphOptions build;
  build.rows = rows;
  build.output_rows = output_rows;
  build.context = options.context;
  build.kv_type = options.kv_type;
  BANTAM_ASSIGN_OR_RETURN(graph::Graph built, model->architecture().BuildGraph(build));
  if (!options.optimize_graph) return built;
  return graph::Optimize(built);
}

absl::Status Session::Impl::AllocateKv(const graph::Graph& graph) {
  const uint64_t alignment = model->device().limits().alignment;
  kv_bytes = 0;
  for (const graph::Value& value : graph.values()) {
    if (value.storage != graph::Storage::kState) continue;
    kv_offsets[value.name] = kv_bytes;
    kv_parts.push_back({kv_bytes, static_cast<uint64_t>(value.strides[2])});
    kv_bytes = AlignUp(kv_bytes + value.SpanBytes(), alignment);
  }
  auto buffer = model->device().Allocate(std::max<uint64_t>(kv_bytes, 1));
  if (!buffer.ok()) {
    return Annotate(buffer.status(),
                    absl::StrFormat("a KV cache of %d tokens needs %s; ask for a smaller context",
                                    options.context, FormatByteSize(kv_bytes)));
  }
  kv = *std::move(buffer);
  return absl::OkStatus();
}

absl::StatusOr<device::Binding> Session::Impl::Bind(const graph::Value& value) const {
  if (value.storage == graph::Storage::kWeight) {
    auto found = model->weights_.find(value.name);
    if (found != model->weights_.end()) return found->second;
  } else if (value.storage == graph::Storage::kState) {
    auto found = kv_offsets.find(value.name);
    if (found != kv_offsets.end()) return device::Binding{kv.get(), found->second};
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
      if (value.name == name) return device::Binding{inputs.get(), offset};
    }
  }
  return absl::InternalError(
      absl::StrCat("the graph uses '", value.name, "', which the session does not provide"));
}

absl::Status Session::Impl::Compile(Step& step, device::Buffer* temp_buffer) {
  std::vector<device::Binding> bindings(step.graph.values().size());
  for (size_t i = 0; i < bindings.size(); ++i) {
    const graph::Value& value = step.graph.values()[i];
    if (value.base != graph::kNone || value.storage == graph::Storage::kTemp) continue;
    BANTAM_ASSIGN_OR_RETURN(bindings[i], Bind(value));
  }
  BANTAM_ASSIGN_OR_RETURN(
      step.executable,
      model->device().Compile({step.graph, step.plan, bindings, {temp_buffer, 0}}));
  return absl::OkStatus();
}

std::vector<int64_t> Session::Impl::ShapeClasses() const {
  std::vector<int64_t> classes;
  for (int64_t rows = 1; rows < options.ubatch; rows *= 2) classes.push_back(rows);
  classes.push_back(options.ubatch);
  return classes;
}

absl::Status Session::Impl::CompileAll(std::vector<Step>& into,
                                       const std::vector<int64_t>& row_counts, bool all_rows,
                                       std::unique_ptr<device::Buffer>& buffer) {
  std::vector<Step> made;
  int64_t size = 0;
  for (const int64_t rows : row_counts) {
    Step step;
    step.rows = rows;
    step.output_rows = all_rows ? rows : 1;
    BANTAM_ASSIGN_OR_RETURN(step.graph, Build(step.rows, step.output_rows));
    if (step.graph.outputs().size() != 1) {
      return absl::InternalError("the graph has no single output");
    }
    step.plan =
        graph::PlanMemory(step.graph, static_cast<int64_t>(model->device().limits().alignment));
    const graph::ValueId logits_id = step.graph.outputs()[0];
    step.logits_offset =
        step.plan.offsets[step.graph.RootOf(logits_id)] + step.graph.value(logits_id).byte_offset;
    size = std::max(size, step.plan.size);
    made.push_back(std::move(step));
  }
  auto allocated = model->device().Allocate(std::max<int64_t>(size, 1));
  if (!allocated.ok()) {
    return Annotate(allocated.status(),
                    absl::StrFormat("a step of %d tokens needs %s for intermediate values; ask "
                                    "for a smaller ubatch",
                                    row_counts.back(), FormatByteSize(size)));
  }
  for (Step& step : made) {
    BANTAM_RETURN_IF_ERROR(Compile(step, allocated->get()));
    step.graph = {};
    step.plan = {};
  }
  buffer = *std::move(allocated);
  into = std::move(made);
  return absl::OkStatus();
}

absl::Status Session::Impl::Prepare() {
  BANTAM_ASSIGN_OR_RETURN(stream, model->device().NewStream());
  const uint64_t alignment = model->device().limits().alignment;
  layout = InputLayout(options.ubatch, options.context, alignment);
  staging.resize(layout.kv_cells);
  BANTAM_ASSIGN_OR_RETURN(inputs, model->device().Allocate(layout.size));
  {
    // Slot i always holds position i of sequence 0.
    std::vector<int32_t> cells(2 * options.context, 0);
    for (int64_t i = 0; i < options.context; ++i) cells[2 * i] = static_cast<int32_t>(i);
    BANTAM_RETURN_IF_ERROR(inputs->Upload(layout.kv_cells, std::as_bytes(std::span(cells))));
  }
  BANTAM_ASSIGN_OR_RETURN(const graph::Graph decode, Build(1, 1));
  BANTAM_RETURN_IF_ERROR(AllocateKv(decode));
  tokens.reserve(options.context);
  moved.reserve(options.context);
  BANTAM_RETURN_IF_ERROR(CompileAll(steps, ShapeClasses(), /*all_rows=*/false, temp));
  if (options.verify_rows > 1) {
    std::vector<int64_t> row_counts;
    for (int64_t rows = 2; rows <= options.verify_rows; ++rows) row_counts.push_back(rows);
    BANTAM_RETURN_IF_ERROR(CompileAll(verify_steps, row_counts, /*all_rows=*/true, verify_temp));
  }
  if (temp->host().empty()) {
    downloaded_logits.resize(std::max<int64_t>(1, options.verify_rows) *
                             model->config().vocab_size);
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
  BANTAM_RETURN_IF_ERROR(inputs->Upload(0, staging));
  BANTAM_RETURN_IF_ERROR(step.executable->Run(*stream));
  BANTAM_RETURN_IF_ERROR(stream->Synchronize());
  tokens.insert(tokens.end(), added.begin(), added.end());
  return absl::OkStatus();
}

absl::Status Session::Impl::ReadLogits(const Step& step, device::Buffer& temp_buffer,
                                       int64_t rows) {
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
  const int64_t trained = model->config().context_length;
  SessionOptions checked = options;
  if (checked.context == 0) checked.context = trained;
  if (checked.context < 1 || checked.context > trained) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a context of %d tokens was asked for, but %s was trained for %d",
                        options.context, model->file().path(), trained));
  }
  if (checked.ubatch < 1 || checked.ubatch > kMaxUbatch) {
    return absl::InvalidArgumentError(
        absl::StrFormat("ubatch is %d; expected 1 to %d", options.ubatch, kMaxUbatch));
  }
  checked.ubatch = std::min(checked.ubatch, checked.context);
  checked.verify_rows = std::min(checked.verify_rows, checked.ubatch);
  BANTAM_RETURN_IF_ERROR(CheckKvType(checked.kv_type, model->config()));
  auto impl = std::make_unique<Impl>();
  impl->model = std::move(model);
  impl->options = checked;
  BANTAM_RETURN_IF_ERROR(impl->Prepare());
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

absl::Status Session::Decode(std::span<const TokenId> tokens, LogitsMode mode) {
  Impl& s = *impl_;
  s.logits = {};
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
  if (mode == LogitsMode::kAll && count > 1 && count <= s.options.verify_rows) {
    Step& step = s.verify_steps[count - 2];
    BANTAM_RETURN_IF_ERROR(s.RunStep(step, tokens));
    return s.ReadLogits(step, *s.verify_temp, count);
  }
  if (mode == LogitsMode::kAll && count > 1) {
    if (count > s.options.ubatch) {
      return absl::InvalidArgumentError(
          absl::StrFormat("logits of all %d tokens were asked for; at most %d (ubatch) at a time",
                          count, s.options.ubatch));
    }
    if (s.all_steps.empty()) {
      BANTAM_RETURN_IF_ERROR(
          s.CompileAll(s.all_steps, s.ShapeClasses(), /*all_rows=*/true, s.all_temp));
    }
    for (Step& step : s.all_steps) {
      if (step.rows < count) continue;
      BANTAM_RETURN_IF_ERROR(s.RunStep(step, tokens));
      return s.ReadLogits(step, *s.all_temp, count);
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
  return s.ReadLogits(*last, *s.temp, 1);
}

std::span<const float> Session::Logits(int64_t row) const {
  const int64_t vocab = impl_->model->config().vocab_size;
  if (row < 0 || (row + 1) * vocab > static_cast<int64_t>(impl_->logits.size())) return {};
  return impl_->logits.subspan(row * vocab, vocab);
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
    BANTAM_RETURN_IF_ERROR(s.kv->Download(part.offset, state));
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
    BANTAM_RETURN_IF_ERROR(s.kv->Upload(part.offset, state.first(bytes)));
    state = state.subspan(bytes);
  }
  s.tokens.assign(file.tokens().begin(), file.tokens().end());
  return std::string(file.note());
}

MemoryUse Session::memory() const {
  const Impl& s = *impl_;
  MemoryUse use;
  use.weights = s.model->weight_bytes();
  use.kv_cache = s.kv_bytes;
  use.compute = s.inputs->size() + s.temp->size() + s.staging.size() +
                s.downloaded_logits.size() * sizeof(float);
  if (s.all_temp != nullptr) use.compute += s.all_temp->size();
  if (s.verify_temp != nullptr) use.compute += s.verify_temp->size();
  for (const std::vector<Step>* steps : {&s.steps, &s.all_steps, &s.verify_steps}) {
    for (const Step& step : *steps) use.compute += step.executable->scratch_bytes();
  }
  return use;
}

std::string Session::Describe() const { return impl_->steps.front().executable->Describe(); }

}  // namespace bantam::engine
