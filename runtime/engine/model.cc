#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "runtime/base/align.h"
#include "runtime/base/status.h"
#include "runtime/device/registry.h"
#include "runtime/engine/engine.h"
#include "runtime/quant/decode.h"

namespace bantam::engine {
namespace {

// The tensors a model computes with, in graph order.
absl::StatusOr<std::vector<const gguf::TensorInfo*>> UsedTensors(
    const gguf::File& file, const model::Architecture& architecture) {
  model::GraphOptions smallest;
  smallest.context = 1;
  BANTAM_ASSIGN_OR_RETURN(const graph::Graph graph, architecture.BuildGraph(smallest));
  std::vector<const gguf::TensorInfo*> used;
  for (const graph::Value& value : graph.values()) {
    if (value.storage != graph::Storage::kWeight) continue;
    const gguf::TensorInfo* tensor = file.FindTensor(value.name);
    if (tensor == nullptr) {
      return absl::InternalError(absl::StrCat(file.path(), ": the graph uses tensor ", value.name,
                                              ", which is not in the file"));
    }
    used.push_back(tensor);
  }
  return used;
}

}  // namespace

Model::~Model() = default;

absl::StatusOr<std::shared_ptr<Model>> Model::Load(const std::string& path,
                                                   const LoadOptions& options) {
  std::shared_ptr<Model> model(new Model);
  BANTAM_ASSIGN_OR_RETURN(model->file_, gguf::File::Open(path));
  const gguf::File& file = *model->file_;
  BANTAM_ASSIGN_OR_RETURN(model->architecture_, model::Open(file));
  BANTAM_ASSIGN_OR_RETURN(model->tokenizer_, tokenizer::Tokenizer::FromGguf(file));
  if (model->tokenizer_->size() > model->config().vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the vocabulary has ", model->tokenizer_->size(),
                     " tokens, but token_embd.weight only ", model->config().vocab_size, " rows"));
  }
  const auto source = file.GetString("tokenizer.chat_template");
  if (source.ok()) {
    auto parsed = chat::Template::Parse(*source);
    // A template that cannot be used must not keep the model from completing raw text: the error
    // is reported when the template is asked for.
    if (parsed.ok()) {
      model->chat_template_ = std::make_unique<chat::Template>(*std::move(parsed));
    } else {
      model->chat_template_error_ = Annotate(parsed.status(), "tokenizer.chat_template");
    }
  }
  device::BackendOptions backend;
  backend.threads = options.threads;
  backend.cpu_isa = options.cpu_isa;
  BANTAM_ASSIGN_OR_RETURN(model->device_, device::OpenDevice(options.device, backend));
  BANTAM_RETURN_IF_ERROR(model->LoadWeights(options));
  return model;
}

absl::Status Model::LoadWeights(const LoadOptions& options) {
  BANTAM_ASSIGN_OR_RETURN(const std::vector<const gguf::TensorInfo*> used,
                          UsedTensors(*file_, *architecture_));
  const uint64_t alignment = device_->limits().alignment;
  struct Copied {
    const gguf::TensorInfo* tensor;
    uint64_t offset;
  };
  std::vector<Copied> copied;
  uint64_t copied_bytes = 0;
  for (const gguf::TensorInfo* tensor : used) {
    const uint64_t packed = device_->PackedBytes(tensor->type, tensor->shape);
    weight_bytes_ += packed;
    // Weights the device can use as they lie in the file stay mapped.
    if (packed == tensor->data.size()) {
      auto wrapped = device_->WrapHost(tensor->data);
      if (wrapped.ok()) {
        mapped_bytes_ += packed;
        weights_[tensor->name] = {wrapped->get(), 0};
        buffers_.push_back(*std::move(wrapped));
        continue;
      }
      if (!absl::IsUnimplemented(wrapped.status())) return wrapped.status();
    }
    copied_bytes = AlignUp(copied_bytes, alignment);
    copied.push_back({tensor, copied_bytes});
    copied_bytes += packed;
  }
  if (copied.empty()) {
    if (options.progress) options.progress(1.0);
    return absl::OkStatus();
  }
  auto buffer = device_->Allocate(copied_bytes);
  if (!buffer.ok()) return Annotate(buffer.status(), absl::StrCat(file_->path(), ": weights"));
  buffers_.push_back(*std::move(buffer));
  uint64_t done = 0;
  for (const Copied& c : copied) {
    const device::Binding where{buffers_.back().get(), c.offset};
    BANTAM_RETURN_IF_ERROR(
        Annotate(device_->LoadWeight(c.tensor->type, c.tensor->shape, c.tensor->data, where),
                 c.tensor->name));
    weights_[c.tensor->name] = where;
    done += c.tensor->data.size();
    if (options.progress) options.progress(static_cast<double>(done) / copied_bytes);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Model::FormatChat(const std::vector<chat::Message>& messages,
                                              bool add_generation_prompt,
                                              std::optional<bool> thinking) const {
  BANTAM_RETURN_IF_ERROR(chat_template_error_);
  if (chat_template_ == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(file_->path(), ": the file has no tokenizer.chat_template"));
  }
  const tokenizer::SpecialTokens& special = tokenizer_->special();
  auto text = [this](TokenId id) {
    return id == tokenizer::kNoToken ? absl::string_view() : tokenizer_->text(id);
  };
  nlohmann::ordered_json variables =
      chat::ChatVariables(messages, add_generation_prompt, text(special.bos), text(special.eos));
  if (thinking.has_value()) variables["enable_thinking"] = *thinking;
  auto rendered = chat_template_->Render(variables);
  if (!rendered.ok()) return Annotate(rendered.status(), "tokenizer.chat_template");
  return rendered;
}

bool Model::has_thinking_switch() const {
  const auto source = file_->GetString("tokenizer.chat_template");
  return source.ok() && absl::StrContains(*source, "enable_thinking");
}

absl::Status Model::ExplainNonFinite() const {
  std::vector<float> row;
  for (const gguf::TensorInfo& tensor : file_->tensors()) {
    if (!weights_.contains(tensor.name) || tensor.elements() == 0) continue;
    row.resize(tensor.shape[0]);
    const int64_t row_bytes = quant::RowBytes(tensor.type, tensor.shape[0]);
    for (int64_t r = 0; r < tensor.elements() / tensor.shape[0]; ++r) {
      quant::DecodeRow(tensor.type, tensor.data.data() + r * row_bytes, row.data(),
                       tensor.shape[0]);
      const auto bad =
          std::find_if(row.begin(), row.end(), [](float v) { return !std::isfinite(v); });
      if (bad == row.end()) continue;
      return absl::DataLossError(absl::StrCat(
          file_->path(), ": tensor ", tensor.name, " holds ", *bad, " at element ",
          bad - row.begin(), " of row ", r, "; the file is damaged: fetch or convert it again"));
    }
  }
  return absl::DataLossError(absl::StrCat(
      file_->path(), ": the model computed logits that are not numbers from finite weights"));
}

}  // namespace bantam::engine
