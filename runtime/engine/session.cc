#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/status.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/pipeline.h"
#include "runtime/engine/session_impl.h"
#include "runtime/engine/steps.h"

namespace bantam::engine {
namespace {

constexpr int32_t kNoSlot = -1;
constexpr int32_t kNoSequence = -1;

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

absl::Status Session::Impl::WriteInputs(int64_t rows, int64_t output_rows,
                                        std::span<const TokenId> added, const Buffers& to) {
  auto ints = [this](uint64_t offset) {
    return reinterpret_cast<int32_t*>(staging.data() + offset);
  };
  const int64_t used = static_cast<int64_t>(added.size());
  for (int64_t i = 0; i < rows; ++i) {
    const bool padding = i >= used;
    const int32_t at = padding ? 0 : static_cast<int32_t>(computed + i);
    ints(layout.tokens)[i] = padding ? 0 : added[i];
    ints(layout.positions)[i] = at;
    ints(layout.slots)[i] = padding ? kNoSlot : at;
    if (ring.size() > 0) {
      ints(layout.window_slots)[i] = padding ? kNoSlot : static_cast<int32_t>(ring.CellOf(at));
      if (!padding) ring.Add(at);
    }
    ints(layout.query_cells)[2 * i] = at;
    ints(layout.query_cells)[2 * i + 1] = padding ? kNoSequence : 0;
  }
  for (int64_t i = 0; i < output_rows; ++i) {
    ints(layout.output_rows)[i] =
        static_cast<int32_t>(output_rows == 1 ? used - 1 : std::min(i, used - 1));
  }
  *ints(layout.kv_length) = static_cast<int32_t>(computed + used);
  if (ring.size() > 0) *ints(layout.window_length) = static_cast<int32_t>(ring.length());
  for (const auto& buffer : to) {
    if (buffer != nullptr) BANTAM_RETURN_IF_ERROR(buffer->Upload(0, staging));
  }
  return absl::OkStatus();
}

absl::Status Session::Impl::Finish(const absl::Status& status, std::span<const TokenId> added) {
  if (!status.ok()) {
    // Cells of the ring may be said to hold what was not computed.
    if (ring.size() > 0) {
      ring.Clear(0);
      computed = 0;
    }
    return status;
  }
  // What is computed again is in the text already.
  if (computed == position()) tokens.insert(tokens.end(), added.begin(), added.end());
  computed += static_cast<int64_t>(added.size());
  return absl::OkStatus();
}

absl::Status Session::Impl::RunStep(Step& step, std::span<const TokenId> added) {
  absl::Status status = WriteInputs(step.rows, step.output_rows, added, inputs);
  if (status.ok()) status = step.program->Run();
  if (status.ok()) status = CountExperts(step, static_cast<int64_t>(added.size()));
  return Finish(status, added);
}

absl::Status Session::Impl::CountExperts(const Step& step, int64_t tokens) {
  constexpr int64_t kManyTokens = 16, kSampled = 16;
  const bool is_near =
      std::all_of(step.routed.begin(), step.routed.end(), [&](const Step::Routed& routed) {
        return !(*step.temps)[routed.ids.device]->host().empty();
      });
  if (step.routed.empty()) return absl::OkStatus();
  if (!is_near && tokens < kManyTokens && ++steps_not_counted % kSampled != 0) {
    return absl::OkStatus();
  }
  for (const Step::Routed& routed : step.routed) {
    std::vector<double>& counts = expert_use.counts[routed.layer];
    const auto ids =
        std::span(chosen).first(static_cast<size_t>(routed.chosen * std::min(tokens, routed.rows)));
    BANTAM_RETURN_IF_ERROR(
        (*step.temps)[routed.ids.device]->Download(routed.ids.offset, std::as_writable_bytes(ids)));
    for (const int32_t id : ids) {
      if (id >= 0 && id < std::ssize(counts)) counts[id] += 1;
    }
  }
  return absl::OkStatus();
}

absl::Status Session::Impl::RunTwoAtATime(std::span<const TokenId> added, int64_t count) {
  const int64_t rows = steps.back().rows, before = computed;
  const auto prepare = [&](int64_t step, int lane) -> absl::Status {
    computed = before + step * rows;
    return WriteInputs(rows, 1, added.subspan(step * rows, rows),
                       lane == 0 ? inputs : second.inputs);
  };
  const absl::Status status =
      RunInPipeline({steps.back().program.get(), second.program.get()}, count, prepare);
  computed = before;
  // What the last of its steps left; a sample of the prompt.
  if (status.ok()) BANTAM_RETURN_IF_ERROR(CountExperts(steps.back(), rows));
  return Finish(status, added.first(count * rows));
}

absl::StatusOr<const Step*> Session::Impl::RunSteps(std::span<const TokenId> added) {
  const Step* last = nullptr;
  // The last step, whose logits may be read, runs by itself.
  const int64_t paired = (static_cast<int64_t>(added.size()) - 1) / steps.back().rows;
  if (second.program != nullptr && paired >= 2) {
    BANTAM_RETURN_IF_ERROR(RunTwoAtATime(added, paired));
    added = added.subspan(paired * steps.back().rows);
  }
  while (!added.empty()) {
    const int64_t rows = ChooseRows(static_cast<int64_t>(added.size()), options.ubatch);
    auto step = std::lower_bound(steps.begin(), steps.end(), rows,
                                 [](const Step& a, int64_t r) { return a.rows < r; });
    const size_t taken = std::min<size_t>(step->rows, added.size());
    BANTAM_RETURN_IF_ERROR(RunStep(*step, added.first(taken)));
    added = added.subspan(taken);
    last = &*step;
  }
  return last;
}

absl::Status Session::Impl::CatchUp() {
  return RunSteps(std::span(tokens).subspan(computed)).status();
}

absl::StatusOr<bool> Session::Impl::ReadLikeliest(const Step& step, const Buffers& temps,
                                                  int64_t rows) {
  likeliest.resize(rows);
  largest_logits.resize(rows);
  BANTAM_RETURN_IF_ERROR(temps[step.likeliest.device]->Download(
      step.likeliest.offset, std::as_writable_bytes(std::span(likeliest))));
  BANTAM_RETURN_IF_ERROR(temps[step.largest_logits.device]->Download(
      step.largest_logits.offset, std::as_writable_bytes(std::span(largest_logits))));
  const bool finite = std::all_of(largest_logits.begin(), largest_logits.end(),
                                  [](float logit) { return std::isfinite(logit); });
  if (!finite) likeliest.clear();
  return finite;
}

absl::Status Session::Impl::ReadLogits(const Step& step, const Buffers& temps, int64_t rows) {
  if (options.likeliest) {
    BANTAM_ASSIGN_OR_RETURN(const bool found, ReadLikeliest(step, temps, rows));
    if (found) return absl::OkStatus();
  }
  device::Buffer& temp_buffer = *temps[step.logits.device];
  const uint64_t bytes = rows * logits_bytes_per_row();
  const std::span<std::byte> host = temp_buffer.host();
  if (!host.empty()) {
    logits = {reinterpret_cast<const float*>(host.data() + step.logits.offset),
              bytes / sizeof(float)};
  } else {
    if (downloaded_logits.size() * sizeof(float) < bytes) {
      downloaded_logits.resize(bytes / sizeof(float));
    }
    const std::span<float> into(downloaded_logits.data(), bytes / sizeof(float));
    BANTAM_RETURN_IF_ERROR(temp_buffer.Download(step.logits.offset, std::as_writable_bytes(into)));
    logits = into;
  }
  // Infinity is a legitimate logit (a masked token), NaN never is.
  for (float value : logits) {
    if (std::isnan(value)) return model->ExplainNonFinite();
  }
  return absl::OkStatus();
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() {
  if (impl_->expert_use.empty()) return;
  schedule::AddExpertUse(impl_->options.expert_use_folder,
                         schedule::ExpertUseKey(impl_->model->file()), impl_->expert_use);
}

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
  absl::Status status = impl->Prepare();
  if (absl::IsUnavailable(status)) status = impl->Recover(status);
  BANTAM_RETURN_IF_ERROR(status);
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

absl::Status Session::Impl::DecodeOnce(std::span<const TokenId> added, LogitsMode mode) {
  logits = {};
  likeliest.clear();
  observed = nullptr;
  const int64_t count = static_cast<int64_t>(added.size());
  if (count == 0) return absl::OkStatus();
  const int64_t vocab = model->config().vocab_size;
  for (int64_t i = 0; i < count; ++i) {
    if (added[i] < 0 || added[i] >= vocab) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "token %d of the batch is %d; the vocabulary has %d", i, added[i], vocab));
    }
  }
  if (count > options.context - position()) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%d tokens do not fit: the context holds %d and %d are used", count,
                        options.context, position()));
  }
  if (!model->config().causal) {
    if (position() != 0) {
      return absl::FailedPreconditionError(
          "this model sees a text as a whole; Truncate to 0 before the next one");
    }
    if (count > options.ubatch) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the text has %d tokens; this model sees a text as a whole, at most %d "
                          "(ubatch) at a time",
                          count, options.ubatch));
    }
  }
  BANTAM_RETURN_IF_ERROR(CatchUp());
  if (mode == LogitsMode::kAll && count > 1 && count <= options.verify_rows) {
    Step& step = verify_steps[count - 2];
    BANTAM_RETURN_IF_ERROR(RunStep(step, added));
    return ReadLogits(step, verify_temp, count);
  }
  if (mode == LogitsMode::kAll && (count > 1 || options.keep_matmul_inputs)) {
    if (count > options.ubatch) {
      return absl::InvalidArgumentError(
          absl::StrFormat("logits of all %d tokens were asked for; at most %d (ubatch) at a time",
                          count, options.ubatch));
    }
    if (all_steps.empty()) {
      BANTAM_RETURN_IF_ERROR(CompileAll(all_steps, ShapeClasses(options.ubatch), /*all_rows=*/true,
                                        all_temp, all_rooms));
    }
    for (Step& step : all_steps) {
      if (step.rows < count) continue;
      BANTAM_RETURN_IF_ERROR(RunStep(step, added));
      observed = &step;
      observed_tokens = count;
      return ReadLogits(step, all_temp, count);
    }
  }
  BANTAM_ASSIGN_OR_RETURN(const Step* last, RunSteps(added));
  if (mode == LogitsMode::kNone) return absl::OkStatus();
  return ReadLogits(*last, temp, 1);
}

absl::Status Session::Decode(std::span<const TokenId> tokens, LogitsMode mode) {
  Impl& s = *impl_;
  const int64_t before = s.position();
  for (;;) {
    const absl::Status status = s.DecodeOnce(tokens, mode);
    if (!absl::IsUnavailable(status)) return status;
    // Steps before the one that failed have taken their tokens.
    BANTAM_RETURN_IF_ERROR(Truncate(before));
    BANTAM_RETURN_IF_ERROR(s.Recover(status));
  }
}

std::span<const float> Session::Logits(int64_t row) const {
  const int64_t width = impl_->output_width();
  if (row < 0 || (row + 1) * width > static_cast<int64_t>(impl_->logits.size())) return {};
  return impl_->logits.subspan(row * width, width);
}

TokenId Session::Likeliest(int64_t row) const {
  const std::vector<TokenId>& found = impl_->likeliest;
  return row >= 0 && row < std::ssize(found) ? found[row] : tokenizer::kNoToken;
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
int64_t Session::computed() const { return impl_->computed; }
std::span<const TokenId> Session::tokens() const { return impl_->tokens; }
int64_t Session::context() const { return impl_->options.context; }
int64_t Session::ubatch() const { return impl_->options.ubatch; }
int64_t Session::prompt_batch() const {
  // The first of two at a time and the last have a device to themselves.
  constexpr int64_t kSteps = 8;
  return impl_->options.ubatch * (impl_->second.program != nullptr ? kSteps : 1);
}
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
  Impl& s = *impl_;
  s.tokens.resize(position);
  s.logits = {};
  s.likeliest.clear();
  s.computed = std::min(s.computed, position);
  if (s.ring.size() == 0) return absl::OkStatus();
  s.ring.Truncate(s.computed);
  if (s.ring.Covers(s.computed)) return absl::OkStatus();
  s.ring.Clear(0);
  s.computed = 0;
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
    for (const auto& buffer : s.kv[d]) memory[d].kv_cache += buffer->size();
    memory[d].inputs = size(s.inputs, d) + size(s.second.inputs, d);
    if (static_cast<int>(d) == s.placement.streaming.device) {
      for (const auto& buffer : s.unit_buffers) {
        if (buffer != nullptr) memory[d].streamed += buffer->size();
      }
    }
    for (const auto* rooms : {&s.rooms, &s.second.rooms, &s.all_rooms, &s.verify_rooms}) {
      if (d < rooms->size()) memory[d].scratch += (*rooms)[d].scratch;
    }
    memory[d].compute = size(s.temp, d) + size(s.second.temp, d) + size(s.all_temp, d) +
                        size(s.verify_temp, d) - memory[d].scratch;
    const int device = static_cast<int>(d);
    for (const std::vector<Step>* steps : {&s.steps, &s.all_steps, &s.verify_steps}) {
      for (const Step& step : *steps) memory[d].scratch += step.program->own_bytes(device);
    }
    if (s.second.program != nullptr) memory[d].scratch += s.second.program->own_bytes(device);
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

MemoryUse Session::memory() const {
  const Impl& s = *impl_;
  MemoryUse use;
  use.weights = s.model->weight_bytes();
  use.compute = s.staging.size() + s.downloaded_logits.size() * sizeof(float);
  for (const schedule::DeviceMemory& memory : device_memory()) {
    use.kv_cache += memory.kv_cache;
    use.compute += memory.inputs + memory.compute + memory.streamed;
  }
  // Compiled steps count what is their own themselves.
  for (const auto* rooms : {&s.rooms, &s.second.rooms, &s.all_rooms, &s.verify_rooms}) {
    for (const TempRoom& room : *rooms) use.compute += room.scratch;
  }
  for (const std::vector<Step>* steps : {&s.steps, &s.all_steps, &s.verify_steps}) {
    for (const Step& step : *steps) use.compute += step.program->scratch_bytes();
  }
  if (s.second.program != nullptr) use.compute += s.second.program->scratch_bytes();
  return use;
}

std::string Session::Describe() const { return impl_->steps.front().program->Describe(); }
std::string Session::DescribePrompt() const { return impl_->steps.back().program->Describe(); }

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
