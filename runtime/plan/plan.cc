#include "runtime/plan/plan.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/status.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/input_layout.h"
#include "runtime/engine/steps.h"
#include "runtime/gguf/file.h"
#include "runtime/gguf/layout.h"
#include "runtime/model/architecture.h"
#include "runtime/plan/loss.h"
#include "runtime/quantize/recipe.h"

namespace bantam::plan {
namespace {

constexpr int64_t kUsualContext = 4096;
constexpr int64_t kContextStep = 256;
// Speeds are predicted for this many tokens in the KV cache.
constexpr int64_t kDepth = 1024;

// The largest first.
constexpr const char* kRecipes[] = {"F16",    "Q8_0",   "Q6_K",    "Q5_K_M", "Q4_K_M",
                                    "IQ4_XS", "Q3_K_M", "IQ3_XXS", "Q2_K",   "IQ2_XS"};

// A model as a recipe makes it.
class Made {
 public:
  static absl::StatusOr<Made> By(absl::string_view recipe_name, const gguf::File& file) {
    Made made;
    BANTAM_ASSIGN_OR_RETURN(const quantize::Recipe recipe, quantize::FindRecipe(recipe_name));
    BANTAM_ASSIGN_OR_RETURN(const auto choices,
                            quantize::ChooseTypes(file, recipe, {}, /*has_importance=*/true));
    std::vector<gguf::TensorInfo> tensors = file.tensors();
    for (size_t i = 0; i < tensors.size(); ++i) {
      tensors[i].type = choices[i].type;
      BANTAM_ASSIGN_OR_RETURN(const uint64_t bytes,
                              gguf::TensorBytes(tensors[i].type, tensors[i].shape));
      made.bytes_ += bytes;
    }
    made.file_ = gguf::File::Describe(file.path(), file.metadata(), std::move(tensors));
    BANTAM_ASSIGN_OR_RETURN(made.architecture_, model::Open(*made.file_));
    return made;
  }

  uint64_t bytes() const { return bytes_; }

  // `expert_use` may be null.
  absl::StatusOr<schedule::Placement> Place(const Machine& machine, int64_t context, int64_t ubatch,
                                            bool may_stream = false,
                                            const schedule::ExpertUse* expert_use = nullptr) const {
    engine::SessionOptions options{.context = context, .ubatch = std::min(ubatch, context)};
    options.embeddings = !architecture_->config().has_logits;
    // Steps of in-between sizes take less than the largest.
    std::vector<graph::Graph> steps;
    for (const int64_t rows : {int64_t{1}, options.ubatch}) {
      BANTAM_ASSIGN_OR_RETURN(graph::Graph step,
                              engine::BuildStep(*architecture_, options, rows, 1));
      steps.push_back(std::move(step));
    }
    uint64_t alignment = 1;
    for (const auto& device : machine.devices) alignment = std::max(alignment, device.alignment);
    schedule::PlacementRequest request{.steps = steps, .depth = std::min(context, kDepth)};
    request.two_in_flight = engine::TwoStepsInFlight(options);
    request.may_stream = may_stream;
    request.expert_use = expert_use;
    const int64_t windows = engine::WindowCells(architecture_->config(), options);
    request.input_bytes = engine::InputLayout(options.ubatch, context, windows, alignment).size;
    return schedule::Place(request, machine.devices);
  }

 private:
  uint64_t bytes_ = 0;
  std::unique_ptr<gguf::File> file_;
  std::unique_ptr<model::Architecture> architecture_;
};

uint64_t Total(const schedule::Placement& placement) {
  uint64_t bytes = 0;
  for (const schedule::DeviceMemory& memory : placement.memory) bytes += memory.total();
  return bytes;
}
bool Fits(const schedule::Placement& placement, const Machine& machine) {
  return placement.memory.back().total() <= machine.ram;
}

// Memory grows with the context, the more slowly once layers with a window hold theirs, and groups
// do not fill a card to the last byte: tried first is what a line between the least and the most
// says, then the middle of what fits and what does not.
absl::StatusOr<int64_t> LongestContext(const Made& made, const Machine& machine, int64_t ubatch,
                                       int64_t trained) {
  int64_t fits = std::min(kContextStep, trained), too_long = trained;
  BANTAM_ASSIGN_OR_RETURN(const auto low, made.Place(machine, fits, ubatch));
  if (!Fits(low, machine)) return 0;
  BANTAM_ASSIGN_OR_RETURN(const auto high, made.Place(machine, too_long, ubatch));
  if (Fits(high, machine)) return trained;
  const double per_token = static_cast<double>(Total(high) - Total(low)) /
                           static_cast<double>(std::max<int64_t>(trained - fits, 1));
  const uint64_t all = machine.ram + machine.vram();
  const double room = static_cast<double>(all - std::min(all, Total(low)));
  int64_t context = fits + static_cast<int64_t>(room / per_token);
  while (too_long - fits > std::max(kContextStep, fits / 32)) {
    context = std::clamp(context / kContextStep * kContextStep, fits + 1, too_long - 1);
    BANTAM_ASSIGN_OR_RETURN(const auto placement, made.Place(machine, context, ubatch));
    (Fits(placement, machine) ? fits : too_long) = context;
    context = (fits + too_long) / 2;
  }
  return fits;
}

const char* Quality(absl::string_view recipe) {
  if (recipe == "Q6_K") return "hardly to be told from the original";
  if (recipe == "Q5_K_M") return "close to the original";
  return "the usual choice: small, with little loss";
}

// Q4_K_M is the usual choice, for below 4 bits quality falls fast and above 6 it hardly grows. More
// bits where a card holds all of it, or where they leave a third of the memory to others.
void Recommend(const Machine& machine, Plan& plan) {
  const double room = 2.0 / 3 * static_cast<double>(machine.ram + machine.vram());
  const bool has_card = machine.devices.size() > 1;
  int largest = -1, best = -1, usual = -1;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const Row& row = plan.rows[i];
    if (!row.fits) continue;
    const int index = static_cast<int>(i);
    if (largest < 0) largest = index;
    if (row.recipe == "Q4_K_M") usual = index;
    if (row.recipe != "Q6_K" && row.recipe != "Q5_K_M" && row.recipe != "Q4_K_M") continue;
    const bool comfortable = has_card ? row.on_cards : static_cast<double>(row.total) <= room;
    if (best < 0 && comfortable) best = index;
  }
  if (largest < 0) {
    plan.reason = "no recipe fits: choose a smaller model or a shorter context";
    return;
  }
  plan.recommended = best >= 0 ? best : usual >= 0 ? usual : largest;
  const char* quality = Quality(plan.rows[plan.recommended].recipe);
  if (best >= 0) {
    plan.reason = absl::StrFormat(
        "%s, %s", quality,
        has_card ? "and all layers are in VRAM" : "with a third of the memory to spare");
  } else if (usual >= 0) {
    plan.reason = absl::StrFormat(
        "%s; %s", quality,
        has_card ? "a part of it stays in RAM, where it is slower" : "it takes most of the memory");
  } else {
    plan.reason =
        "the most that fits; below 4 bits the answers suffer, so that a smaller model in Q4_K_M "
        "may be the better one";
  }
}

absl::StatusOr<Row> MakeRow(const std::string& recipe, const gguf::File& file, double elements,
                            const Request& request, int64_t ubatch,
                            const schedule::ExpertUse* expert_use, const Plan& plan) {
  const Machine& machine = request.machine;
  Row row;
  row.recipe = recipe;
  BANTAM_ASSIGN_OR_RETURN(const Made made, Made::By(recipe, file));
  row.weights = made.bytes();
  row.bits_per_weight = static_cast<double>(row.weights) * 8 / elements;
  row.divergence = ExpectedDivergence(recipe, row.bits_per_weight, elements);
  BANTAM_ASSIGN_OR_RETURN(
      row.placement, made.Place(machine, plan.context, ubatch, /*may_stream=*/true, expert_use));
  row.fits = Fits(row.placement, machine);
  row.total = Total(row.placement);
  const int host = static_cast<int>(machine.devices.size()) - 1;
  for (int d = 0; d < host; ++d) {
    row.in_vram += row.placement.memory[d].weights + row.placement.memory[d].kv_cache;
  }
  row.on_cards = host > 0;
  for (size_t g = 0; g < row.placement.groups.size(); ++g) {
    // A row of the embedding is read for a token: it is as well in RAM.
    if (row.placement.groups[g].part == schedule::Part::kEmbedding) continue;
    row.on_cards &= row.placement.device[g] != host;
  }
  if (!request.find_longest_context) return row;
  BANTAM_ASSIGN_OR_RETURN(row.longest_context,
                          LongestContext(made, machine, ubatch, plan.trained_context));
  return row;
}

}  // namespace

uint64_t Machine::vram() const {
  uint64_t bytes = 0;
  for (size_t d = 0; d + 1 < devices.size(); ++d) bytes += devices[d].capacity;
  return bytes;
}

schedule::DeviceProfile TypicalCard(std::string name, uint64_t capacity, double bandwidth) {
  schedule::DeviceProfile card;
  card.name = std::move(name);
  card.capacity = capacity;
  card.alignment = 256;
  card.bandwidth = bandwidth;
  card.operations = bandwidth * 50;  // what the two are to each other on gaming cards
  card.node_seconds = 3e-6;
  card.transfer_seconds = 1.5e-5;
  card.transfer_bandwidth = 1.2e10;
  return card;
}

schedule::DeviceProfile TypicalHost(double bandwidth) {
  schedule::DeviceProfile host;
  host.name = "cpu";
  host.bandwidth = bandwidth;
  host.operations = 5e11;
  return host;
}

absl::StatusOr<Plan> MakePlan(const gguf::File& file, const Request& request) {
  const Machine& machine = request.machine;
  if (machine.devices.empty()) return absl::InternalError("a plan needs a machine with a host");
  BANTAM_ASSIGN_OR_RETURN(const auto architecture, model::Open(file));
  const model::Config& config = architecture->config();
  Plan plan;
  plan.model = config.name.empty() ? file.path() : config.name;
  plan.trained_context = config.context_length;
  plan.layers = config.block_count;
  plan.context =
      request.context > 0 ? request.context : std::min(kUsualContext, plan.trained_context);
  if (plan.context > plan.trained_context) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a context of %d tokens was asked for, but %s was trained for %d",
                        plan.context, plan.model, plan.trained_context));
  }
  // As the engine has it; of a device that is only described, what is usual.
  const device::Device* first = machine.devices[0].device;
  const device::Limits limits = first != nullptr ? first->limits() : device::Limits();
  const int64_t ubatch = request.ubatch > 0 ? request.ubatch : limits.ubatch;
  double elements = 0;
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    elements += static_cast<double>(tensor.elements());
  }
  std::vector<std::string> recipes = request.recipes;
  if (recipes.empty()) recipes.assign(std::begin(kRecipes), std::end(kRecipes));
  const schedule::ExpertUse use = schedule::ReadExpertUse(
      request.expert_use_folder,
      request.expert_use_folder.empty() ? "" : schedule::ExpertUseKey(file));
  const schedule::ExpertUse* expert_use = use.empty() ? nullptr : &use;
  for (const std::string& recipe : recipes) {
    BANTAM_ASSIGN_OR_RETURN(Row row,
                            MakeRow(recipe, file, elements, request, ubatch, expert_use, plan));
    plan.rows.push_back(std::move(row));
  }
  Recommend(machine, plan);
  return plan;
}

absl::StatusOr<Plan> PlanFile(const std::string& path, const Request& request) {
  BANTAM_ASSIGN_OR_RETURN(const auto file, gguf::File::Open(path));
  BANTAM_ASSIGN_OR_RETURN(Plan plan, MakePlan(*file, request));
  plan.exact = true;
  return plan;
}

absl::StatusOr<Plan> PlanSize(const ModelSize& size, const Request& request) {
  BANTAM_ASSIGN_OR_RETURN(const auto model, Typical(size));
  return MakePlan(*model->file, request);
}

}  // namespace bantam::plan
