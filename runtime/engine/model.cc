#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "runtime/base/status.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/placing.h"
#include "runtime/quant/decode.h"

namespace bantam::engine {

Model::~Model() = default;

absl::StatusOr<std::shared_ptr<Model>> Model::Load(const std::string& path,
                                                   const LoadOptions& options) {
  std::shared_ptr<Model> model(new Model);
  model->load_options_ = options;
  // What callbacks refer to may be gone when the options are used again.
  model->load_options_.notice = model->load_options_.expected.notice = nullptr;
  model->load_options_.progress = nullptr;
  model->load_options_.expected.trace = nullptr;
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
  LoadOptions now = options;
  for (;;) {
    BANTAM_ASSIGN_OR_RETURN(model->devices_, OpenDevices(now));
    int failing = -1;
    const absl::Status status = model->LoadWeights(now, failing);
    if (status.ok()) break;
    if (!absl::IsUnavailable(status) || failing < 0 || !options.expected.recover) return status;
    if (model->devices_.size() == 1) return status;
    std::vector<std::string> names;
    for (const auto& device : model->devices_) names.push_back(device->name());
    now = WithoutDevice(now, names, static_cast<size_t>(failing));
    if (now.notice) {
      now.notice(absl::StrCat(names[failing], " was lost (", status.message(),
                              "): the model is loaded on ", now.device));
    }
    model->weights_.clear();
    model->devices_.clear();
  }
  model->load_options_.device = now.device;
  model->load_options_.profiles = now.profiles;
  model->load_options_.control = now.control;
  return model;
}

absl::Status Model::LoadWeights(const LoadOptions& options, int& failing) {
  expert_use_ = options.expert_use;
  if (expert_use_ == nullptr) {
    expert_use_ = std::make_shared<schedule::ExpertUse>(
        schedule::ReadExpertUse(options.expert_use_folder, schedule::ExpertUseKey(*file_)));
  }
  BANTAM_ASSIGN_OR_RETURN(
      Placing placing, Placing::Create(*architecture_, devices_, *expert_use_, options, failing));
  for (;;) {
    const absl::Status status = LoadAsPlaced(placing, options, failing);
    if (status.ok()) return status;
    weights_.clear();  // what they take would not count as free
    BANTAM_ASSIGN_OR_RETURN(const std::string line, placing.MakeRoom(failing, status));
    if (options.notice) options.notice(line);
  }
}

absl::Status Model::LoadAsPlaced(const Placing& placing, const LoadOptions& options, int& failing) {
  placement_ = placing.placement();
  made_weights_ = MadeWeights(*file_, placement_.hot);
  for (size_t d = 0; d < devices_.size(); ++d) {
    failing = static_cast<int>(d);
    BANTAM_ASSIGN_OR_RETURN(
        weights_.emplace_back(),
        DeviceWeights::Reserve(*file_, made_weights_, placing.weight_graphs(), placement_, failing,
                               *devices_[d],
                               {!options.writable_weights, options.repack, options.notice}));
  }
  uint64_t done = 0;
  const uint64_t all = std::max<uint64_t>(weight_bytes() - mapped_bytes(), 1);
  for (size_t d = 0; d < weights_.size(); ++d) {
    failing = static_cast<int>(d);
    BANTAM_RETURN_IF_ERROR(weights_[d].Fill([&](uint64_t bytes) {
      done += bytes;
      if (options.progress) {
        options.progress(std::min(1.0, static_cast<double>(done) / static_cast<double>(all)));
      }
    }));
  }
  if (options.progress) options.progress(1.0);
  return absl::OkStatus();
}

absl::Status Model::Overwrite(absl::string_view name, std::span<const std::byte> data) {
  const gguf::TensorInfo* tensor = file_->FindTensor(name);
  if (tensor != nullptr &&
      (data.size() != tensor->data.size() || !load_options_.writable_weights)) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, ": the model's weights are not writable, or of another size"));
  }
  bool used = false;
  for (size_t d = 0; d < weights_.size() && tensor != nullptr; ++d) {
    const device::Binding* where = weights_[d].Find(name);
    if (where == nullptr) continue;
    used = true;
    BANTAM_RETURN_IF_ERROR(devices_[d]->LoadWeight(tensor->type, tensor->shape, data, *where));
  }
  if (used) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(file_->path(), ": no weight ", name, " is used"));
}

uint64_t Model::weight_bytes() const {
  uint64_t bytes = 0;
  for (const DeviceWeights& weights : weights_) bytes += weights.bytes();
  return bytes;
}

uint64_t Model::mapped_bytes() const {
  uint64_t bytes = 0;
  for (const DeviceWeights& weights : weights_) bytes += weights.mapped_bytes();
  return bytes;
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
    const bool is_used = std::any_of(weights_.begin(), weights_.end(), [&](const DeviceWeights& w) {
      return w.Find(tensor.name) != nullptr;
    });
    if (!is_used || tensor.elements() == 0) continue;
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
