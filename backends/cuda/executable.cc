#include "backends/cuda/executable.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/device/compile.h"
#include "runtime/graph/infer.h"

namespace bantam::cuda {
namespace {

using graph::Graph;
using graph::Node;
using graph::Storage;
using graph::Value;
using graph::ValueId;

class CudaEvent : public device::Event {
 public:
  CudaEvent(std::shared_ptr<Gpu> gpu, driver::Event event) : gpu_(std::move(gpu)), event_(event) {}
  ~CudaEvent() override {
    if (driver::SetDevice(gpu_->device()).ok()) driver::FreeEvent(event_);
  }
  absl::Status Wait() override {
    BANTAM_RETURN_IF_ERROR(gpu_->Use());
    return gpu_->Note(driver::Wait(event_));
  }
  driver::Event handle() const { return event_; }

 private:
  std::shared_ptr<Gpu> gpu_;
  driver::Event event_;
};

// In memory of one GPU; or, where what is lowered will not run and only sizes matter, nowhere.
absl::StatusOr<Tensor> Resolve(const Graph& graph, const device::Places& places, const Gpu& gpu,
                               bool is_bound, ValueId id) {
  const Value& value = graph.value(id);
  Tensor tensor;
  tensor.type = value.type;
  tensor.shape = value.shape;
  tensor.strides = value.strides;
  if (tensor.empty()) return tensor;
  if (!is_bound) {
    // As aligned as memory is, and apart from other intermediate values.
    constexpr uint64_t kNowhere = 4096;
    const ValueId root = graph.RootOf(id);
    const bool is_temp = graph.value(root).storage == Storage::kTemp;
    const uint64_t own = is_temp ? 0 : static_cast<uint64_t>(root + 1) << 40;
    tensor.data = reinterpret_cast<std::byte*>(kNowhere + own + places.Planned(id));
    return tensor;
  }
  BANTAM_ASSIGN_OR_RETURN(const device::Binding binding, places.Find(id));
  const auto* buffer = dynamic_cast<const Buffer*>(binding.buffer);
  if (buffer == nullptr || &buffer->gpu() != &gpu) {
    return places.Error(id, absl::StrCat("is bound to a buffer that is not of ", gpu.info().name));
  }
  tensor.data = buffer->memory() + binding.offset;
  BANTAM_RETURN_IF_ERROR(places.CheckAlignment(id, reinterpret_cast<uintptr_t>(tensor.data),
                                               device::GpuAlignment(value.type)));
  return tensor;
}

absl::StatusOr<std::vector<Step>> StepsOf(const Graph& graph, const device::CompileArgs& args,
                                          const Gpu& gpu, bool is_bound) {
  const device::Places places(graph, args);
  std::vector<int> readers(graph.values().size());
  for (const Node& node : graph.nodes()) {
    for (ValueId id : node.inputs) ++readers[graph.RootOf(id)];
  }
  for (ValueId id : graph.outputs()) ++readers[graph.RootOf(id)];
  std::vector<Step> steps;
  for (const Node& node : args.nodes()) {
    BANTAM_RETURN_IF_ERROR(CheckSupported(graph, node));
    if (!device::NeedsWork(graph, node)) continue;
    Step step{&node};
    for (ValueId id : node.inputs) {
      BANTAM_ASSIGN_OR_RETURN(Tensor input, Resolve(graph, places, gpu, is_bound, id));
      step.inputs.push_back(input);
    }
    BANTAM_ASSIGN_OR_RETURN(step.output, Resolve(graph, places, gpu, is_bound, node.output));
    step.is_read_once = readers[graph.RootOf(node.output)] == 1;
    steps.push_back(std::move(step));
  }
  return steps;
}

absl::StatusOr<BlasUse> BlasFor(std::span<const Step> steps, const Settings& settings, Gpu& gpu) {
  return WantsBlas(steps, gpu.info()) ? gpu.UseBlas(settings.cublas) : BlasUse{};
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaStream>> CudaStream::Make(std::shared_ptr<Gpu> gpu) {
  BANTAM_RETURN_IF_ERROR(gpu->Use());
  auto stream = driver::NewStream();
  if (!stream.ok()) return gpu->Note(stream.status());
  return std::unique_ptr<CudaStream>(new CudaStream(std::move(gpu), *stream));
}

CudaStream::~CudaStream() {
  if (driver::SetDevice(gpu_->device()).ok()) driver::FreeStream(stream_);
}

absl::Status CudaStream::Synchronize() {
  BANTAM_RETURN_IF_ERROR(gpu_->Use());
  return gpu_->Note(driver::Synchronize(stream_));
}

absl::StatusOr<std::unique_ptr<device::Event>> CudaStream::Record() {
  BANTAM_RETURN_IF_ERROR(gpu_->Use());
  auto event = driver::NewEvent();
  if (!event.ok()) return gpu_->Note(event.status());
  auto made = std::make_unique<CudaEvent>(gpu_, *event);
  BANTAM_RETURN_IF_ERROR(gpu_->Note(driver::Record(*event, stream_)));
  return made;
}

absl::Status CudaStream::WaitFor(device::Event& event) {
  auto* own = dynamic_cast<CudaEvent*>(&event);
  if (own == nullptr) return event.Wait();  // of another backend
  BANTAM_RETURN_IF_ERROR(gpu_->Use());
  return gpu_->Note(driver::StreamWaits(stream_, own->handle()));
}

absl::StatusOr<std::unique_ptr<Executable>> Executable::Compile(const device::CompileArgs& args,
                                                                std::shared_ptr<Gpu> gpu) {
  BANTAM_RETURN_IF_ERROR(gpu->Use());
  Graph graph = args.graph;
  BANTAM_RETURN_IF_ERROR(graph::Infer(graph));
  std::unique_ptr<Executable> executable(new Executable(gpu));
  BANTAM_ASSIGN_OR_RETURN(const Settings settings, SettingsFromEnvironment());
  BANTAM_ASSIGN_OR_RETURN(const std::vector<Step> steps,
                          StepsOf(graph, args, *gpu, /*is_bound=*/true));
  BANTAM_ASSIGN_OR_RETURN(const BlasUse blas, BlasFor(steps, settings, *gpu));
  executable->plain_products_ = blas.what;
  Lowering lowering(gpu->info(), settings, blas.blas);
  lowering.Lower(steps);

  executable->launches_ = std::move(lowering.launches());
  if (!lowering.constants().empty()) {
    const auto bytes = std::as_bytes(std::span(lowering.constants()));
    BANTAM_ASSIGN_OR_RETURN(executable->constants_, Buffer::Allocate(gpu, bytes.size()));
    BANTAM_RETURN_IF_ERROR(executable->constants_->Upload(0, bytes));
    executable->own_.constants = executable->constants_->memory();
  }
  const auto* shared = dynamic_cast<const Buffer*>(args.scratch.buffer);
  if (shared != nullptr && &shared->gpu() == gpu.get() &&
      lowering.scratch_bytes() <= args.scratch_bytes) {
    executable->own_.scratch = shared->memory() + args.scratch.offset;
  } else if (lowering.scratch_bytes() > 0) {
    BANTAM_ASSIGN_OR_RETURN(executable->scratch_, Buffer::Allocate(gpu, lowering.scratch_bytes()));
    executable->own_.scratch = executable->scratch_->memory();
  }
  BANTAM_RETURN_IF_ERROR(gpu->Note(executable->Capture()));
  return executable;
}

absl::StatusOr<device::Scratch> Executable::Predict(const device::CompileArgs& args, Gpu& gpu) {
  BANTAM_ASSIGN_OR_RETURN(const Settings settings, SettingsFromEnvironment());
  BANTAM_ASSIGN_OR_RETURN(const std::vector<Step> steps,
                          StepsOf(args.graph, args, gpu, /*is_bound=*/false));
  BANTAM_ASSIGN_OR_RETURN(const BlasUse blas, BlasFor(steps, settings, gpu));
  Lowering lowering(gpu.info(), settings, blas.blas);
  lowering.Lower(steps);
  return device::Scratch{.shared = lowering.scratch_bytes(),
                         .own = std::as_bytes(std::span(lowering.constants())).size()};
}

absl::Status Executable::Launch(const KernelLaunch& launch, cuda::Stream stream) const {
  absl::Status status = launch.launch(own_, stream);
  status.Update(driver::LaunchStatus());
  return Annotate(status, launch.kernel);
}

absl::Status Executable::Capture() {
  BANTAM_ASSIGN_OR_RETURN(done_, driver::NewEvent());
  if (launches_.empty()) return absl::OkStatus();
  BANTAM_ASSIGN_OR_RETURN(capture_, CudaStream::Make(gpu_));
  bool by_library = false;
  for (const KernelLaunch& launch : launches_) {
    BANTAM_RETURN_IF_ERROR(Annotate(Launch(launch, nullptr), "loading"));
    // Computes something into memory that holds nothing yet.
    if (launch.by_library) BANTAM_RETURN_IF_ERROR(Launch(launch, capture_->handle()));
    by_library |= launch.by_library;
  }
  if (by_library) BANTAM_RETURN_IF_ERROR(driver::Synchronize(capture_->handle()));
  for (auto& side : sides_) {
    BANTAM_ASSIGN_OR_RETURN(side, CudaStream::Make(gpu_));
  }
  for (driver::Event& fork : forks_) {
    BANTAM_ASSIGN_OR_RETURN(fork, driver::NewEvent());
  }
  BANTAM_RETURN_IF_ERROR(driver::BeginCapture(capture_->handle()));
  const absl::Status status = CaptureLaunches();
  // Ended in any case: a stream must not stay in capture.
  auto graph = driver::EndCapture(capture_->handle());
  BANTAM_RETURN_IF_ERROR(status);
  BANTAM_RETURN_IF_ERROR(graph.status());
  graph_ = *graph;
  return absl::OkStatus();
}

size_t Executable::EndOfGroup(size_t first) const {
  size_t end = first + 1;
  const auto beside_all = [&](const KernelLaunch& later) {
    return std::all_of(launches_.begin() + static_cast<int64_t>(first),
                       launches_.begin() + static_cast<int64_t>(end),
                       [&](const KernelLaunch& earlier) { return MayRunBeside(earlier, later); });
  };
  while (end < launches_.size() && end - first <= kSides && beside_all(launches_[end])) ++end;
  return end;
}

absl::Status Executable::CaptureLaunches() {
  const cuda::Stream main = capture_->handle();
  for (size_t first = 0; first < launches_.size();) {
    const size_t end = EndOfGroup(first);
    if (end > first + 1) BANTAM_RETURN_IF_ERROR(driver::Record(forks_[0], main));
    for (size_t i = first; i < end; ++i) {
      const size_t side = i - first;  // 0: the main stream
      const cuda::Stream stream = side == 0 ? main : sides_[side - 1]->handle();
      if (side > 0) BANTAM_RETURN_IF_ERROR(driver::StreamWaits(stream, forks_[0]));
      BANTAM_RETURN_IF_ERROR(Launch(launches_[i], stream));
      if (side > 0) BANTAM_RETURN_IF_ERROR(driver::Record(forks_[side], stream));
    }
    for (size_t side = 1; side < end - first; ++side) {
      BANTAM_RETURN_IF_ERROR(driver::StreamWaits(main, forks_[side]));
    }
    first = end;
  }
  return absl::OkStatus();
}

Executable::~Executable() {
  if (!driver::SetDevice(gpu_->device()).ok()) return;
  // Nothing may be in use; a lost GPU uses nothing.
  if (ran_) driver::Wait(done_).IgnoreError();
  if (graph_ != nullptr) driver::FreeGraph(graph_);
  if (done_ != nullptr) driver::FreeEvent(done_);
  for (driver::Event mark : marks_) driver::FreeEvent(mark);
  for (driver::Event fork : forks_) {
    if (fork != nullptr) driver::FreeEvent(fork);
  }
}

absl::Status Executable::Run(device::Stream& stream) {
  auto* own = dynamic_cast<CudaStream*>(&stream);
  if (own == nullptr || &own->gpu() != gpu_.get()) {
    return absl::InvalidArgumentError("a stream of another device");
  }
  BANTAM_RETURN_IF_ERROR(gpu_->Use());
  if (!marks_.empty()) {
    BANTAM_RETURN_IF_ERROR(gpu_->Note(RunMeasured(*own)));
  } else if (graph_ != nullptr) {
    BANTAM_RETURN_IF_ERROR(gpu_->Note(driver::LaunchGraph(graph_, own->handle())));
  }
  BANTAM_RETURN_IF_ERROR(gpu_->Note(driver::Record(done_, own->handle())));
  ran_ = true;
  return absl::OkStatus();
}

absl::Status Executable::StartProfile() {
  BANTAM_RETURN_IF_ERROR(gpu_->Use());
  times_.clear();
  while (marks_.size() < launches_.size() + 1) {
    BANTAM_ASSIGN_OR_RETURN(driver::Event mark, driver::NewEvent());
    marks_.push_back(mark);
  }
  return absl::OkStatus();
}

absl::Status Executable::RunMeasured(CudaStream& stream) {
  for (size_t i = 0; i < launches_.size(); ++i) {
    BANTAM_RETURN_IF_ERROR(driver::Record(marks_[i], stream.handle()));
    BANTAM_RETURN_IF_ERROR(Launch(launches_[i], stream.handle()));
  }
  BANTAM_RETURN_IF_ERROR(driver::Record(marks_[launches_.size()], stream.handle()));
  BANTAM_RETURN_IF_ERROR(driver::Wait(marks_[launches_.size()]));
  for (size_t i = 0; i < launches_.size(); ++i) {
    const KernelLaunch& launch = launches_[i];
    BANTAM_ASSIGN_OR_RETURN(const double seconds, driver::SecondsBetween(marks_[i], marks_[i + 1]));
    auto found = std::find_if(times_.begin(), times_.end(),
                              [&](const auto& time) { return time.kernel == launch.kernel; });
    if (found == times_.end()) found = times_.insert(found, {launch.kernel});
    ++found->runs;
    found->seconds += seconds;
    found->weight_bytes += launch.weight_bytes;
  }
  return absl::OkStatus();
}

uint64_t Executable::scratch_bytes() const {
  uint64_t bytes = sizeof(Executable) + launches_.capacity() * sizeof(KernelLaunch);
  for (const auto* buffer : {constants_.get(), scratch_.get()}) {
    if (buffer != nullptr) bytes += buffer->size();
  }
  return bytes;
}

std::string Executable::Describe() const {
  std::vector<std::string> kernels;  // in order of first use
  std::map<std::string, int64_t> counts;
  for (const KernelLaunch& launch : launches_) {
    if (counts[launch.kernel]++ == 0) kernels.push_back(launch.kernel);
  }
  std::string text;
  for (const std::string& kernel : kernels) {
    const int64_t count = counts[kernel];
    absl::StrAppend(&text, driver::BackendName(), " ", kernel, ": ", count,
                    count == 1 ? " launch\n" : " launches\n");
  }
  if (!plain_products_.empty()) {
    absl::StrAppend(&text, driver::BackendName(), " plain weights: ", plain_products_, "\n");
  }
  return text;
}

}  // namespace bantam::cuda
