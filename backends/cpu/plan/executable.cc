#include "backends/cpu/plan/executable.h"

#include <chrono>
#include <cstdint>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "backends/cpu/host_buffer.h"
#include "runtime/base/counters.h"
#include "runtime/base/status.h"
#include "runtime/device/compile.h"
#include "runtime/graph/infer.h"

namespace bantam::cpu {
namespace {

using graph::Graph;
using graph::Node;
using graph::Op;
using graph::Storage;
using graph::Value;
using graph::ValueId;

// The alignment the kernels and decoders need. Decoders take blocks at any address.
uint64_t AlignmentOf(quant::Type type) {
  const quant::TypeTraits& traits = quant::Traits(type);
  return traits.is_quantized ? 1 : static_cast<uint64_t>(traits.block_bytes);
}

// In host memory; or, where what is prepared will not run and only shapes matter, nowhere.
absl::StatusOr<Tensor> Resolve(const Graph& graph, const device::Places& places, bool is_bound,
                               ValueId id, bool write) {
  const Value& value = graph.value(id);
  Tensor tensor{nullptr, value.type, value.shape, value.strides};
  if (graph::ElementCount(value.shape) == 0 || !is_bound) return tensor;
  BANTAM_ASSIGN_OR_RETURN(const device::Binding binding, places.Find(id));
  const std::span<std::byte> memory = binding.buffer->host();
  if (memory.size() < binding.buffer->size()) {
    return places.Error(id, "is bound to memory that the host cannot address");
  }
  tensor.data = memory.data() + binding.offset;
  BANTAM_RETURN_IF_ERROR(
      places.CheckAlignment(id, reinterpret_cast<uintptr_t>(tensor.data), AlignmentOf(value.type)));
  const auto* host = dynamic_cast<const HostBuffer*>(binding.buffer);
  if (host == nullptr) return tensor;
  if (write && !host->writable()) {
    return places.Error(id, "is written, but bound to a read-only buffer");
  }
  const ValueId root = graph.RootOf(id);
  if (graph.value(root).storage != Storage::kWeight) return tensor;
  tensor.interleaved =
      host->IsInterleaved(binding.offset - static_cast<uint64_t>(value.byte_offset));
  if (tensor.interleaved && id != root) {
    return places.Error(id, "was repacked, but a part of it is used");
  }
  return tensor;
}

// Workers must not share cache lines.
int64_t WholeLines(int64_t bytes) {
  constexpr int64_t kLine = 64;
  return (bytes + kLine - 1) / kLine * kLine;
}

// Of the matrices a product reads; of experts, those chosen.
uint64_t WeightBytes(const Step& step) {
  auto bytes = [&step](int64_t i) {
    const Tensor& w = step.inputs[i];
    return static_cast<uint64_t>(quant::RowBytes(w.type, w.shape[0]) * w.shape[1]);
  };
  if (const auto* product = std::get_if<graph::MatMulAttrs>(&step.attrs)) {
    uint64_t sum = 0;
    for (int32_t p = 0; p < product->parts; ++p) sum += bytes(p);
    return sum;
  }
  if (step.op != Op::kMatMulExpert) return 0;
  const int64_t chosen = step.inputs[2].shape[0] * step.inputs[2].shape[1];
  return bytes(0) * static_cast<uint64_t>(std::min(chosen, step.inputs[0].shape[2]));
}

uint64_t HeapBytes(const Step& step) {
  return step.inputs.capacity() * sizeof(Tensor) + step.table.capacity() * sizeof(double) +
         step.kernel.capacity();
}

}  // namespace

absl::Status CheckSupported(const Graph& graph, const Node& node) {
  if (node.op != Op::kKvWrite) return absl::OkStatus();
  return device::CheckCacheType(graph, node, 0, "the CPU");
}

bool TakesInterleaved(const Node& node, size_t input) {
  switch (node.op) {
    case Op::kMatMul:
      return input < static_cast<size_t>(std::get<graph::MatMulAttrs>(node.attrs).parts);
    case Op::kMatMulExpert:
    case Op::kGatherRows:
      return input == 0;
    default:
      return false;
  }
}

absl::StatusOr<std::unique_ptr<Executable>> Executable::Compile(const device::CompileArgs& args,
                                                                const KernelSet& kernels,
                                                                std::shared_ptr<Workers> workers) {
  Graph graph = args.graph;
  BANTAM_RETURN_IF_ERROR(graph::Infer(graph));
  std::unique_ptr<Executable> executable(new Executable(std::move(workers)));
  BANTAM_RETURN_IF_ERROR(executable->Prepare(graph, args, kernels, /*is_bound=*/true));
  executable->scratch_bytes_ = sizeof(Executable) + executable->steps_.capacity() * sizeof(Step);
  for (const Step& step : executable->steps_) executable->scratch_bytes_ += HeapBytes(step);
  const int64_t scratch = executable->ScratchBytes();
  if (args.scratch.buffer != nullptr && static_cast<uint64_t>(scratch) <= args.scratch_bytes) {
    const std::span<std::byte> memory = args.scratch.buffer->host();
    if (memory.size() < args.scratch.offset + args.scratch_bytes) {
      return absl::InvalidArgumentError("the scratch memory is less than what is said of it");
    }
    executable->scratch_ = memory.data() + args.scratch.offset;
    return executable;
  }
  BANTAM_ASSIGN_OR_RETURN(executable->own_scratch_, HostBuffer::Allocate(scratch));
  executable->scratch_ = executable->own_scratch_->host().data();
  executable->scratch_bytes_ += static_cast<uint64_t>(scratch);
  return executable;
}

absl::StatusOr<device::Scratch> Executable::Predict(const device::CompileArgs& args,
                                                    const KernelSet& kernels,
                                                    std::shared_ptr<Workers> workers) {
  Executable executable(std::move(workers));
  BANTAM_RETURN_IF_ERROR(executable.Prepare(args.graph, args, kernels, /*is_bound=*/false));
  return device::Scratch{.shared = static_cast<uint64_t>(executable.ScratchBytes())};
}

absl::Status Executable::Prepare(const Graph& graph, const device::CompileArgs& args,
                                 const KernelSet& kernels, bool is_bound) {
  const device::Places places(graph, args);
  steps_.reserve(args.nodes().size());
  for (const Node& node : args.nodes()) {
    BANTAM_RETURN_IF_ERROR(CheckSupported(graph, node));
    const cpu::Prepare prepare = kernels.prepare[static_cast<size_t>(node.op)];
    if (prepare == nullptr || !device::NeedsWork(graph, node)) continue;
    Step step;
    step.op = node.op;
    step.attrs = node.attrs;
    step.inputs.reserve(node.inputs.size());
    for (ValueId id : node.inputs) {
      BANTAM_ASSIGN_OR_RETURN(Tensor input, Resolve(graph, places, is_bound, id, /*write=*/false));
      if (input.interleaved &&
          (kernels.interleaves == nullptr || !TakesInterleaved(node, step.inputs.size()))) {
        return absl::InvalidArgumentError(
            absl::StrCat(graph::OpName(node.op), " '", graph.value(node.output).name,
                         "' cannot use '", graph.value(id).name, "', which was repacked"));
      }
      step.inputs.push_back(input);
    }
    BANTAM_ASSIGN_OR_RETURN(step.output,
                            Resolve(graph, places, is_bound, node.output, /*write=*/true));
    prepare(step);
    worker_scratch_ = std::max(worker_scratch_, step.worker_scratch);
    shared_scratch_ = std::max(shared_scratch_, step.shared_scratch);
    steps_.push_back(std::move(step));
  }
  steps_.shrink_to_fit();
  worker_scratch_ = WholeLines(worker_scratch_);
  shared_scratch_ = WholeLines(shared_scratch_);
  return absl::OkStatus();
}

int64_t Executable::ScratchBytes() const {
  return shared_scratch_ + worker_scratch_ * workers_->pool.size();
}

Executable::~Executable() = default;

absl::Status Executable::Run(device::Stream&) {
  std::unique_lock lock(workers_->mutex, std::try_to_lock);
  if (!lock.owns_lock()) {
    ++counters.lock_waits;
    lock.lock();
  }
  const RunContext context{workers_->pool, scratch_ + shared_scratch_, worker_scratch_, scratch_};
  if (seconds_.empty()) {
    for (const Step& step : steps_) step.run(step, context);
    return absl::OkStatus();
  }
  auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < steps_.size(); ++i) {
    steps_[i].run(steps_[i], context);
    const auto end = std::chrono::steady_clock::now();
    seconds_[i] += std::chrono::duration<double>(end - start).count();
    start = end;
  }
  ++profiled_runs_;
  return absl::OkStatus();
}

absl::Status Executable::StartProfile() {
  seconds_.assign(steps_.size(), 0.0);
  profiled_runs_ = 0;
  return absl::OkStatus();
}

std::vector<device::KernelTime> Executable::Profile() const {
  std::vector<device::KernelTime> times;  // in order of first use
  absl::flat_hash_map<std::string, size_t> index;
  for (size_t i = 0; i < seconds_.size(); ++i) {
    const Step& step = steps_[i];
    std::string kernel = absl::StrCat(step.origin, " ", step.kernel);
    const uint64_t weight_bytes = WeightBytes(step);
    if (weight_bytes != 0) {
      absl::StrAppend(&kernel, " ", step.inputs[0].shape[0], "x", step.output.shape[0]);
    }
    const auto [found, is_new] = index.try_emplace(kernel, times.size());
    if (is_new) times.push_back({kernel});
    device::KernelTime& time = times[found->second];
    time.runs += profiled_runs_;
    time.seconds += seconds_[i];
    time.weight_bytes += static_cast<uint64_t>(profiled_runs_) * weight_bytes;
  }
  return times;
}

std::string Executable::Describe() const {
  std::vector<std::string> kernels;  // in order of first use
  absl::flat_hash_map<std::string, int64_t> counts;
  for (const Step& step : steps_) {
    const std::string kernel = absl::StrCat(step.origin, " ", step.kernel);
    if (counts[kernel]++ == 0) kernels.push_back(kernel);
  }
  std::string text;
  for (const std::string& kernel : kernels) {
    absl::StrAppend(&text, kernel, ": ", counts[kernel],
                    counts[kernel] == 1 ? " node\n" : " nodes\n");
  }
  return text;
}

}  // namespace bantam::cpu
