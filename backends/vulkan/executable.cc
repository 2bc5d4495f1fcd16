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

void MemoryBarrier(const DeviceFunctions& vk, VkCommandBuffer commands, VkPipelineStageFlags from,
                   VkAccessFlags from_access, VkPipelineStageFlags to, VkAccessFlags to_access) {
  VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER};
  barrier.srcAccessMask = from_access;
  barrier.dstAccessMask = to_access;
  vk.CmdPipelineBarrier(commands, from, to, 0, 1, &barrier, 0, nullptr, 0, nullptr);
}

constexpr VkPipelineStageFlags kCompute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
constexpr VkAccessFlags kRead = VK_ACCESS_SHADER_READ_BIT;
constexpr VkAccessFlags kWrite = VK_ACCESS_SHADER_WRITE_BIT;

}  // namespace

absl::StatusOr<std::unique_ptr<device::Event>> Stream::Record() {
  return std::make_unique<SubmittedEvent>(gpu_, submitted_);
}

absl::Status Stream::WaitFor(device::Event& event) {
  // Work of this GPU is done in order anyway.
  if (dynamic_cast<SubmittedEvent*>(&event) != nullptr) return absl::OkStatus();
  return event.Wait();
}

absl::Status Stream::Submit(VkCommandBuffer commands) {
  BANTAM_ASSIGN_OR_RETURN(submitted_, gpu_->Submit(commands));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Executable>> Executable::Compile(const device::CompileArgs& args,
                                                                std::shared_ptr<Gpu> gpu) {
  Graph graph = args.graph;
  BANTAM_RETURN_IF_ERROR(graph::Infer(graph));
  BANTAM_ASSIGN_OR_RETURN(const VkBuffer codebooks, gpu->Codebooks());
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
                                  std::vector<VkDescriptorSet>& sets) {
  const DeviceFunctions& vk = gpu_->vk();
  VkDescriptorPoolSize size{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 0};
  for (const Dispatch& dispatch : dispatches) size.descriptorCount += dispatch.key.bindings;
  VkDescriptorPoolCreateInfo info{VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO};
  info.maxSets = static_cast<uint32_t>(dispatches.size());
  info.poolSizeCount = 1;
  info.pPoolSizes = &size;
  VkDescriptorPool pool;
  BANTAM_RETURN_IF_ERROR(
      ToStatus(vk.CreateDescriptorPool(gpu_->device(), &info, nullptr, &pool), "descriptors"));
  sets_ = {gpu_->device(), pool, vk.DestroyDescriptorPool};
  std::vector<VkDescriptorSetLayout> layouts;
  for (const Pipeline& pipeline : pipelines) layouts.push_back(pipeline.set_layout);
  sets.resize(dispatches.size());
  VkDescriptorSetAllocateInfo allocate{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO};
  allocate.descriptorPool = pool;
  allocate.descriptorSetCount = static_cast<uint32_t>(layouts.size());
  allocate.pSetLayouts = layouts.data();
  BANTAM_RETURN_IF_ERROR(
      ToStatus(vk.AllocateDescriptorSets(gpu_->device(), &allocate, sets.data()), "descriptors"));
  for (size_t i = 0; i < dispatches.size(); ++i) {
    const Dispatch& dispatch = dispatches[i];
    VkDescriptorBufferInfo buffers[kMaxBindings];
    for (int b = 0; b < dispatch.key.bindings; ++b) {
      const Bound& bound = dispatch.bindings[b];
      buffers[b] = {bound.buffer, bound.begin, bound.end - bound.begin};
    }
    VkWriteDescriptorSet write{VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET};
    write.dstSet = sets[i];
    write.descriptorCount = dispatch.key.bindings;
    write.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    write.pBufferInfo = buffers;
    vk.UpdateDescriptorSets(gpu_->device(), 1, &write, 0, nullptr);
  }
  return absl::OkStatus();
}

absl::Status Executable::Record(const std::vector<Dispatch>& dispatches) {
  const DeviceFunctions& vk = gpu_->vk();
  std::vector<Pipeline> pipelines;
  for (const Dispatch& dispatch : dispatches) {
    BANTAM_ASSIGN_OR_RETURN(const Pipeline pipeline, gpu_->pipelines().Get(dispatch.key));
    pipelines.push_back(pipeline);
  }
  std::vector<VkDescriptorSet> sets;
  if (!dispatches.empty()) BANTAM_RETURN_IF_ERROR(MakeSets(dispatches, pipelines, sets));

  VkCommandPoolCreateInfo pool_info{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
  pool_info.queueFamilyIndex = gpu_->traits().queue_family;
  VkCommandPool pool;
  BANTAM_RETURN_IF_ERROR(
      ToStatus(vk.CreateCommandPool(gpu_->device(), &pool_info, nullptr, &pool), "commands"));
  pool_ = {gpu_->device(), pool, vk.DestroyCommandPool};
  VkCommandBufferAllocateInfo allocate{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
  allocate.commandPool = pool;
  allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  allocate.commandBufferCount = 1;
  BANTAM_RETURN_IF_ERROR(
      ToStatus(vk.AllocateCommandBuffers(gpu_->device(), &allocate, &commands_), "commands"));
  VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  // A Run may be submitted while the one before is still going.
  begin.flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT;
  BANTAM_RETURN_IF_ERROR(ToStatus(vk.BeginCommandBuffer(commands_, &begin), "commands"));
  MemoryBarrier(vk, commands_, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_ACCESS_MEMORY_WRITE_BIT,
                kCompute, kRead | kWrite);
  Hazards hazards;
  VkPipeline bound = VK_NULL_HANDLE;
  for (size_t i = 0; i < dispatches.size(); ++i) {
    const Dispatch& dispatch = dispatches[i];
    const Pipeline& pipeline = pipelines[i];
    if (hazards.Add(dispatch) && gpu_->settings().barriers) {
      MemoryBarrier(vk, commands_, kCompute, kWrite, kCompute, kRead | kWrite);
      ++barriers_;
    }
    if (pipeline.pipeline != bound) {
      bound = pipeline.pipeline;
      vk.CmdBindPipeline(commands_, VK_PIPELINE_BIND_POINT_COMPUTE, bound);
    }
    vk.CmdBindDescriptorSets(commands_, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline.layout, 0, 1,
                             &sets[i], 0, nullptr);
    vk.CmdPushConstants(commands_, pipeline.layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                        dispatch.push_words * sizeof(uint32_t), dispatch.push.data());
    // Every driver takes so many workgroups along a dimension.
    constexpr uint64_t kLine = 65535;
    const uint64_t x = std::min(dispatch.groups, kLine);
    const uint64_t y = (dispatch.groups + x - 1) / x;
    if (y > kLine) return absl::ResourceExhaustedError("a graph needs too many workgroups");
    vk.CmdDispatch(commands_, static_cast<uint32_t>(x), static_cast<uint32_t>(y), 1);
  }
  MemoryBarrier(vk, commands_, kCompute, kWrite,
                VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT | kCompute,
                VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT |
                    VK_ACCESS_TRANSFER_WRITE_BIT | kRead | kWrite);
  return ToStatus(vk.EndCommandBuffer(commands_), "commands");
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
