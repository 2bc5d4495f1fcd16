#include "backends/vulkan/executable.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "backends/vulkan/codebooks.h"
#include "backends/vulkan/hazards.h"
#include "backends/vulkan/lowering.h"
#include "runtime/base/status.h"
#include "runtime/device/compile.h"
#include "runtime/graph/infer.h"

namespace bantam::vulkan {
namespace {

using graph::Graph;
using graph::Node;
using graph::Storage;
using graph::Value;
using graph::ValueId;

class SubmittedEvent : public device::Event {
 public:
  SubmittedEvent(std::shared_ptr<Gpu> gpu, uint64_t submitted)
      : gpu_(std::move(gpu)), submitted_(submitted) {}
  absl::Status Wait() override { return gpu_->Wait(submitted_); }

 private:
  std::shared_ptr<Gpu> gpu_;
  uint64_t submitted_;
};

// In buffers of one GPU; or, where what is lowered will not run and only sizes matter, in none.
absl::StatusOr<Tensor> Resolve(const Graph& graph, const device::Places& places, const Gpu& gpu,
                               bool is_bound, ValueId id) {
  const Value& value = graph.value(id);
  Tensor tensor;
  tensor.type = value.type;
  tensor.shape = value.shape;
  tensor.strides = value.strides;
  if (tensor.empty()) return tensor;
  if (!is_bound) {
    tensor.offset = places.Planned(id);
    return tensor;
  }
  BANTAM_ASSIGN_OR_RETURN(const device::Binding binding, places.Find(id));
  const auto* buffer = dynamic_cast<const Buffer*>(binding.buffer);
  if (buffer == nullptr || &buffer->gpu() != &gpu) {
    return places.Error(id, absl::StrCat("is bound to a buffer that is not of ", gpu.traits().name,
                                         ", or was made before that GPU was lost"));
  }
  if (buffer->in_pieces()) {
    if (graph.value(graph.RootOf(id)).storage != Storage::kWeight) {
      return places.Error(id, "is bound to memory for weights, which is in pieces");
    }
    tensor.in_pieces = buffer;
  }
  tensor.buffer = buffer->handle();
  tensor.address = buffer->address();
  tensor.offset = binding.offset;
  BANTAM_RETURN_IF_ERROR(
      places.CheckAlignment(id, tensor.offset, device::GpuAlignment(value.type)));
  return tensor;
}

absl::Status LowerNodes(const Graph& graph, const device::CompileArgs& args, const Gpu& gpu,
                        bool is_bound, Lowering& lowering) {
  const device::Places places(graph, args);
  for (const Node& node : args.nodes()) {
    BANTAM_RETURN_IF_ERROR(CheckSupported(graph, node, gpu.traits()));
    if (!device::NeedsWork(graph, node)) continue;
    std::vector<Tensor> inputs;
    for (ValueId id : node.inputs) {
      BANTAM_ASSIGN_OR_RETURN(Tensor input, Resolve(graph, places, gpu, is_bound, id));
      inputs.push_back(input);
    }
    BANTAM_ASSIGN_OR_RETURN(const Tensor output,
                            Resolve(graph, places, gpu, is_bound, node.output));
    BANTAM_RETURN_IF_ERROR(
        Annotate(lowering.Lower(node, inputs, output),
                 absl::StrCat(graph::OpName(node.op), " '", graph.value(node.output).name, "'")));
  }
  return absl::OkStatus();
}

void MemoryBarrier(const Dispatcher& vk, vk::CommandBuffer commands, vk::PipelineStageFlags from,
                   vk::AccessFlags from_access, vk::PipelineStageFlags to,
                   vk::AccessFlags to_access) {
  const vk::MemoryBarrier barrier{.srcAccessMask = from_access, .dstAccessMask = to_access};
  commands.pipelineBarrier(from, to, {}, barrier, {}, {}, vk);
}

using Stage = vk::PipelineStageFlagBits;
using Access = vk::AccessFlagBits;
constexpr auto kReadWrite = Access::eShaderRead | Access::eShaderWrite;

}  // namespace

absl::StatusOr<std::unique_ptr<device::Event>> Stream::Record() {
  return std::make_unique<SubmittedEvent>(gpu_, submitted_);
}

absl::Status Stream::WaitFor(device::Event& event) {
  // Work of this GPU is done in order anyway.
  if (dynamic_cast<SubmittedEvent*>(&event) != nullptr) return absl::OkStatus();
  return event.Wait();
}

absl::Status Stream::Submit(vk::CommandBuffer commands) {
  BANTAM_ASSIGN_OR_RETURN(submitted_, gpu_->Submit(commands));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Executable>> Executable::Compile(const device::CompileArgs& args,
                                                                std::shared_ptr<Gpu> gpu) {
  Graph graph = args.graph;
  BANTAM_RETURN_IF_ERROR(graph::Infer(graph));
  BANTAM_ASSIGN_OR_RETURN(const vk::Buffer codebooks, gpu->Codebooks());
  const uint64_t codebook_bytes = CodebookWords().size() * sizeof(uint32_t);
  std::unique_ptr<Executable> executable(new Executable(gpu));
  Lowering lowering(gpu->traits(), gpu->settings(), codebooks, codebook_bytes);
  BANTAM_RETURN_IF_ERROR(LowerNodes(graph, args, *gpu, /*is_bound=*/true, lowering));

  std::vector<Dispatch>& dispatches = lowering.dispatches();
  if (!lowering.constants().empty()) {
    const auto bytes = std::as_bytes(std::span(lowering.constants()));
    BANTAM_ASSIGN_OR_RETURN(executable->constants_, Buffer::Allocate(gpu, bytes.size()));
    BANTAM_RETURN_IF_ERROR(executable->constants_->Upload(0, bytes));
  }
  VkBuffer scratch = VK_NULL_HANDLE;
  uint64_t scratch_at = 0;
  const auto* shared = dynamic_cast<const Buffer*>(args.scratch.buffer);
  if (shared != nullptr && &shared->gpu() == gpu.get() && !shared->in_pieces() &&
      lowering.scratch_bytes() <= args.scratch_bytes) {
    scratch = shared->handle();
    scratch_at = args.scratch.offset;
  } else if (lowering.scratch_bytes() > 0) {
    BANTAM_ASSIGN_OR_RETURN(executable->scratch_, Buffer::Allocate(gpu, lowering.scratch_bytes()));
    scratch = executable->scratch_->handle();
  }
  for (Dispatch& dispatch : dispatches) {
    for (int i = 0; i < dispatch.key.bindings; ++i) {
      Bound& bound = dispatch.bindings[i];
      if (bound.own == Own::kConstants) bound.buffer = executable->constants_->handle();
      if (bound.own != Own::kScratch) continue;
      bound.buffer = scratch;
      bound.begin += scratch_at;
      bound.end += scratch_at;
    }
  }
  BANTAM_RETURN_IF_ERROR(executable->Record(dispatches));
  executable->Describe(dispatches);
  gpu->pipelines().Save();
  return executable;
}

absl::StatusOr<device::Scratch> Executable::Predict(const device::CompileArgs& args,
                                                    const Gpu& gpu) {
  Lowering lowering(gpu.traits(), gpu.settings(), VK_NULL_HANDLE,
                    CodebookWords().size() * sizeof(uint32_t));
  BANTAM_RETURN_IF_ERROR(LowerNodes(args.graph, args, gpu, /*is_bound=*/false, lowering));
  return device::Scratch{.shared = lowering.scratch_bytes(),
                         .own = std::as_bytes(std::span(lowering.constants())).size()};
}

Executable::~Executable() {
  // The command buffer must not be in use; a lost GPU uses nothing.
  gpu_->Wait(submitted_).IgnoreError();
}

absl::Status Executable::MakeSets(const std::vector<Dispatch>& dispatches,
                                  const std::vector<Pipeline>& pipelines,
                                  std::vector<vk::DescriptorSet>& sets) {
  const vk::Device device = gpu_->device();
  vk::DescriptorPoolSize size{.type = vk::DescriptorType::eStorageBuffer};
  for (const Dispatch& dispatch : dispatches) size.descriptorCount += dispatch.key.bindings;
  const auto count = static_cast<uint32_t>(dispatches.size());
  const vk::DescriptorPoolCreateInfo pool{
      .maxSets = count, .poolSizeCount = 1, .pPoolSizes = &size};
  BANTAM_RETURN_IF_ERROR(
      Take(device.createDescriptorPoolUnique(pool, nullptr, gpu_->vk()), sets_, "descriptors"));
  std::vector<vk::DescriptorSetLayout> layouts;
  for (const Pipeline& pipeline : pipelines) layouts.push_back(pipeline.set_layout);
  const vk::DescriptorSetAllocateInfo allocate{
      .descriptorPool = *sets_, .descriptorSetCount = count, .pSetLayouts = layouts.data()};
  BANTAM_RETURN_IF_ERROR(
      Take(device.allocateDescriptorSets(allocate, gpu_->vk()), sets, "descriptors"));
  for (size_t i = 0; i < dispatches.size(); ++i) {
    const Dispatch& dispatch = dispatches[i];
    vk::DescriptorBufferInfo buffers[kMaxBindings];
    for (int b = 0; b < dispatch.key.bindings; ++b) {
      const Bound& bound = dispatch.bindings[b];
      buffers[b] = vk::DescriptorBufferInfo{bound.buffer, bound.begin, bound.end - bound.begin};
    }
    const vk::WriteDescriptorSet write{.dstSet = sets[i],
                                       .descriptorCount = dispatch.key.bindings,
                                       .descriptorType = vk::DescriptorType::eStorageBuffer,
                                       .pBufferInfo = buffers};
    device.updateDescriptorSets(write, {}, gpu_->vk());
  }
  return absl::OkStatus();
}

absl::Status Executable::Record(const std::vector<Dispatch>& dispatches) {
  const Dispatcher& vk = gpu_->vk();
  const vk::Device device = gpu_->device();
  std::vector<Pipeline> pipelines;
  for (const Dispatch& dispatch : dispatches) {
    BANTAM_ASSIGN_OR_RETURN(const Pipeline pipeline, gpu_->pipelines().Get(dispatch.key));
    pipelines.push_back(pipeline);
  }
  std::vector<vk::DescriptorSet> sets;
  if (!dispatches.empty()) BANTAM_RETURN_IF_ERROR(MakeSets(dispatches, pipelines, sets));

  const vk::CommandPoolCreateInfo pool{.queueFamilyIndex = gpu_->traits().queue_family};
  BANTAM_RETURN_IF_ERROR(
      Take(device.createCommandPoolUnique(pool, nullptr, vk), pool_, "commands"));
  const vk::CommandBufferAllocateInfo one{.commandPool = *pool_, .commandBufferCount = 1};
  BANTAM_RETURN_IF_ERROR(ToStatus(device.allocateCommandBuffers(&one, &commands_, vk), "commands"));
  // A Run may be submitted while the one before is still going.
  const vk::CommandBufferBeginInfo begin{.flags = vk::CommandBufferUsageFlagBits::eSimultaneousUse};
  BANTAM_RETURN_IF_ERROR(ToStatus(commands_.begin(begin, vk), "commands"));
  MemoryBarrier(vk, commands_, Stage::eAllCommands, Access::eMemoryWrite, Stage::eComputeShader,
                kReadWrite);
  Hazards hazards;
  vk::Pipeline bound;
  for (size_t i = 0; i < dispatches.size(); ++i) {
    const Dispatch& dispatch = dispatches[i];
    const Pipeline& pipeline = pipelines[i];
    if (hazards.Add(dispatch) && gpu_->settings().barriers) {
      MemoryBarrier(vk, commands_, Stage::eComputeShader, Access::eShaderWrite,
                    Stage::eComputeShader, kReadWrite);
      ++barriers_;
    }
    if (pipeline.pipeline != bound) {
      bound = pipeline.pipeline;
      commands_.bindPipeline(vk::PipelineBindPoint::eCompute, bound, vk);
    }
    commands_.bindDescriptorSets(vk::PipelineBindPoint::eCompute, pipeline.layout, 0, sets[i], {},
                                 vk);
    commands_.pushConstants(pipeline.layout, vk::ShaderStageFlagBits::eCompute, 0,
                            dispatch.push_words * sizeof(uint32_t), dispatch.push.data(), vk);
    // Every driver takes so many workgroups along a dimension.
    constexpr uint64_t kLine = 65535;
    const uint64_t x = std::min(dispatch.groups, kLine);
    const uint64_t y = (dispatch.groups + x - 1) / x;
    if (y > kLine) return absl::ResourceExhaustedError("a graph needs too many workgroups");
    commands_.dispatch(static_cast<uint32_t>(x), static_cast<uint32_t>(y), 1, vk);
  }
  MemoryBarrier(vk, commands_, Stage::eComputeShader, Access::eShaderWrite,
                Stage::eHost | Stage::eTransfer | Stage::eComputeShader,
                Access::eHostRead | Access::eHostWrite | Access::eTransferRead |
                    Access::eTransferWrite | kReadWrite);
  return ToStatus(commands_.end(vk), "commands");
}

absl::Status Executable::Run(device::Stream& stream) {
  auto* own = dynamic_cast<Stream*>(&stream);
  if (own == nullptr) return absl::InvalidArgumentError("a stream of another device");
  BANTAM_RETURN_IF_ERROR(own->Submit(commands_));
  submitted_ = gpu_->last_submitted();
  return absl::OkStatus();
}

uint64_t Executable::scratch_bytes() const {
  uint64_t bytes = sizeof(Executable);
  for (const auto* buffer : {constants_.get(), scratch_.get()}) {
    if (buffer != nullptr) bytes += buffer->capacity();
  }
  return bytes;
}

void Executable::Describe(const std::vector<Dispatch>& dispatches) {
  std::vector<std::string> kernels;  // in order of first use
  std::map<std::string, int64_t> counts;
  for (const Dispatch& dispatch : dispatches) {
    if (counts[dispatch.kernel]++ == 0) kernels.push_back(dispatch.kernel);
  }
  for (const std::string& kernel : kernels) {
    const int64_t count = counts[kernel];
    absl::StrAppend(&description_, "vulkan ", kernel, ": ", count,
                    count == 1 ? " dispatch\n" : " dispatches\n");
  }
  absl::StrAppend(&description_, "vulkan barriers: ", barriers_, "\n");
}

}  // namespace bantam::vulkan
