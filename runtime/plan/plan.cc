#include "runtime/plan/plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "runtime/base/status.h"
#include "runtime/base/thread_pool.h"
#include "runtime/engine/engine.h"
#include "runtime/gguf/file.h"
#include "runtime/gguf/layout.h"
#include "runtime/model/architecture.h"
#include "runtime/quantize/recipe.h"

namespace bantam::plan {
namespace {

constexpr int64_t kUsualContext = 4096;
constexpr int64_t kContextStep = 256;

struct RecipeFacts {
  const char* name;
  double bits;  // per weight, of models with rows of whole blocks: published sizes of 7B models
};
// The largest first.
constexpr RecipeFacts kRecipes[] = {
    {"F16", 16.0},    {"Q8_0", 8.5},    {"Q6_K", 6.56},    {"Q5_K_M", 5.69}, {"Q4_K_M", 4.85},
    {"IQ4_XS", 4.32}, {"Q3_K_M", 3.91}, {"IQ3_XXS", 3.25}, {"Q2_K", 3.0},    {"IQ2_XS", 2.45},
};

// Published shapes of models that are typical for their size.
struct Shape {
  const char* name;
  double weights;
  int64_t layers, embedding, kv, feed_forward, vocab, context;  // kv: elements of K in a layer
};
constexpr Shape kShapes[] = {
    {"SmolLM2 135M", 0.135e9, 30, 576, 192, 1536, 49152, 8192},
    {"SmolLM2 360M", 0.362e9, 32, 960, 320, 2560, 49152, 8192},
    {"Llama 3.2 1B", 1.24e9, 16, 2048, 512, 8192, 128256, 131072},
    {"Llama 3.2 3B", 3.21e9, 28, 3072, 1024, 8192, 128256, 131072},
    {"Llama 3.1 8B", 8.03e9, 32, 4096, 1024, 14336, 128256, 131072},
    {"Qwen2.5 14B", 14.8e9, 48, 5120, 1024, 13824, 152064, 131072},
    {"Qwen2.5 32B", 32.8e9, 64, 5120, 1024, 27648, 152064, 131072},
    {"Llama 3.1 70B", 70.6e9, 80, 8192, 1024, 28672, 128256, 131072},
    {"Llama 3.1 405B", 405e9, 126, 16384, 1024, 53248, 128256, 131072},
};

// What the arithmetic of fitting needs of a model, wherever it comes from.
struct Source {
  std::function<absl::StatusOr<uint64_t>(const RecipeFacts&)> weights;  // bytes in a recipe
  std::function<absl::StatusOr<Memory>(int64_t context)> memory;
  double elements = 0;
};

// Parts the layers between graphics card and RAM, by the order usual today: as many layers to the
// card as it holds together with the intermediate values.
void Place(const Machine& machine, int64_t layers, Row& row) {
  const uint64_t per_layer =
      (row.weights + row.memory.kv_cache) / static_cast<uint64_t>(std::max<int64_t>(layers, 1));
  row.gpu_layers = 0;
  row.in_vram = 0;
  if (machine.vram > row.memory.compute && per_layer > 0) {
    row.gpu_layers = std::min<int64_t>(
        layers, static_cast<int64_t>((machine.vram - row.memory.compute) / per_layer));
    if (row.gpu_layers > 0) {
      row.in_vram = row.memory.compute + per_layer * static_cast<uint64_t>(row.gpu_layers);
    }
  }
  if (row.gpu_layers == layers) row.in_vram = row.total();
  row.in_ram = row.total() - std::min(row.in_vram, row.total());
  row.fits = row.in_ram <= machine.ram && row.in_vram <= machine.vram;
}

// The memory grows with the context, the more slowly once layers with a window hold theirs: the
// place is looked for on the line between what fits and what does not, and in the middle in turn.
absl::StatusOr<int64_t> LongestContext(const Source& source, const Machine& machine,
                                       uint64_t weights, int64_t trained) {
  const uint64_t all = machine.ram + machine.vram;
  const auto needs = [&](int64_t context) -> absl::StatusOr<uint64_t> {
    BANTAM_ASSIGN_OR_RETURN(const Memory memory, source.memory(context));
    return weights + memory.kv_cache + memory.compute;
  };
  int64_t low = std::min(kContextStep, trained), high = trained;
  BANTAM_ASSIGN_OR_RETURN(uint64_t low_bytes, needs(low));
  if (low_bytes > all) return 0;
  BANTAM_ASSIGN_OR_RETURN(uint64_t high_bytes, needs(high));
  if (high_bytes <= all) return trained;
  for (bool on_line = true; high - low > kContextStep; on_line = !on_line) {
    double share = 0.5;
    if (on_line)
      share = static_cast<double>(all - low_bytes) / static_cast<double>(high_bytes - low_bytes);
    const int64_t guess = low + static_cast<int64_t>(static_cast<double>(high - low) * share);
    const int64_t context = std::clamp(guess / kContextStep * kContextStep, low + kContextStep,
                                       (high - 1) / kContextStep * kContextStep);
    BANTAM_ASSIGN_OR_RETURN(const uint64_t bytes, needs(context));
    (bytes <= all ? low : high) = context;
    (bytes <= all ? low_bytes : high_bytes) = bytes;
  }
  return low;
}

// Q4_K_M is the usual choice; more bits where they leave a third of the memory to others, for below
// 4 bits quality falls fast and above 6 it hardly grows.
void Recommend(const Machine& machine, Plan& plan) {
  const double room = 2.0 / 3 * static_cast<double>(machine.ram + machine.vram);
  int largest_fitting = -1, best = -1;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const Row& row = plan.rows[i];
    if (!row.fits) continue;
    if (largest_fitting < 0) largest_fitting = static_cast<int>(i);
    const bool usual = row.recipe == "Q6_K" || row.recipe == "Q5_K_M" || row.recipe == "Q4_K_M";
    if (usual && best < 0 && static_cast<double>(row.total()) <= room) best = static_cast<int>(i);
  }
  const auto find = [&](absl::string_view name) {
    for (size_t i = 0; i < plan.rows.size(); ++i) {
      if (plan.rows[i].recipe == name && plan.rows[i].fits) return static_cast<int>(i);
    }
    return -1;
  };
  if (largest_fitting < 0) {
    plan.reason = "no recipe fits: choose a smaller model or a shorter context";
    return;
  }
  if (best >= 0) {
    plan.recommended = best;
    const std::string& name = plan.rows[best].recipe;
    plan.reason = name == "Q6_K"     ? "hardly to be told from the original, with memory to spare"
                  : name == "Q5_K_M" ? "close to the original; Q6_K would leave little memory free"
                                     : "the usual choice: small, with little loss";
  } else if (find("Q4_K_M") >= 0) {
    plan.recommended = find("Q4_K_M");
    plan.reason = "the usual choice: small, with little loss; it takes most of the memory";
  } else {
    plan.recommended = largest_fitting;
    plan.reason =
        "the most that fits; below 4 bits the answers suffer, so that a smaller model in "
        "Q4_K_M may be the better one";
  }
}

absl::Status Fill(const Source& source, const Request& request, Plan& plan) {
  plan.context =
      request.context > 0 ? request.context : std::min(kUsualContext, plan.trained_context);
  if (plan.context > plan.trained_context) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a context of %d tokens was asked for, but %s was trained for %d",
                        plan.context, plan.model, plan.trained_context));
  }
  BANTAM_ASSIGN_OR_RETURN(const Memory memory, source.memory(plan.context));
  for (const RecipeFacts& recipe : kRecipes) {
    Row row;
    row.recipe = recipe.name;
    BANTAM_ASSIGN_OR_RETURN(row.weights, source.weights(recipe));
    row.bits_per_weight = static_cast<double>(row.weights) * 8 / source.elements;
    row.memory = memory;
    Place(request.machine, plan.layers, row);
    BANTAM_ASSIGN_OR_RETURN(row.longest_context, LongestContext(source, request.machine,
                                                                row.weights, plan.trained_context));
    if (request.machine.bandwidth > 0 && row.in_vram == 0 && row.fits) {
      row.most_tokens_per_second =
          request.machine.bandwidth / static_cast<double>(row.weights + memory.kv_cache / 2);
    }
    plan.rows.push_back(std::move(row));
  }
  Recommend(request.machine, plan);
  return absl::OkStatus();
}

}  // namespace

double MeasureBandwidth(int threads) {
  constexpr size_t kBytes = size_t{256} << 20;
  constexpr int64_t kChunk = 1 << 17;  // words
  ThreadPool pool(threads);
  std::vector<uint64_t> memory(kBytes / sizeof(uint64_t), 1);
  std::vector<uint64_t> sums(pool.size() * 8, 0);
  double best = 0;
  for (int pass = 0; pass < 4; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.ParallelFor(static_cast<int64_t>(memory.size()), kChunk,
                     [&](int64_t begin, int64_t end, int worker) {
                       uint64_t sum = 0;
                       for (int64_t i = begin; i < end; ++i) sum += memory[i];
                       sums[worker * 8] += sum;  // so that nothing is left out
                     });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(kBytes) / seconds.count());
  }
  uint64_t total = 0;
  for (uint64_t sum : sums) total += sum;
  return total == 4 * memory.size() ? best : 0;
}

absl::StatusOr<Plan> PlanFile(const std::string& path, const Request& request) {
  BANTAM_ASSIGN_OR_RETURN(const auto file, gguf::File::Open(path));
  BANTAM_ASSIGN_OR_RETURN(const auto architecture, model::Open(*file));
  const model::Config& config = architecture->config();
  Plan plan;
  plan.exact = true;
  plan.model = config.name.empty() ? path : config.name;
  plan.trained_context = config.context_length;
  plan.layers = config.block_count;
  Source source;
  for (const gguf::TensorInfo& tensor : file->tensors()) {
    source.elements += static_cast<double>(tensor.elements());
  }
  source.weights = [&](const RecipeFacts& facts) -> absl::StatusOr<uint64_t> {
    BANTAM_ASSIGN_OR_RETURN(const quantize::Recipe recipe, quantize::FindRecipe(facts.name));
    BANTAM_ASSIGN_OR_RETURN(const auto choices,
                            quantize::ChooseTypes(*file, recipe, {}, /*has_importance=*/true));
    uint64_t bytes = 0;
    for (size_t i = 0; i < choices.size(); ++i) {
      BANTAM_ASSIGN_OR_RETURN(const uint64_t size,
                              gguf::TensorBytes(choices[i].type, file->tensors()[i].shape));
      bytes += size;
    }
    return bytes;
  };
  source.memory = [&](int64_t context) -> absl::StatusOr<Memory> {
    engine::SessionOptions options;
    options.context = context;
    options.ubatch = request.ubatch;
    BANTAM_ASSIGN_OR_RETURN(const engine::MemoryUse use,
                            engine::PredictMemory(*architecture, device::Limits{}, options));
    return Memory{use.kv_cache, use.compute};
  };
  BANTAM_RETURN_IF_ERROR(Fill(source, request, plan));
  return plan;
}

absl::StatusOr<Plan> PlanSize(double weights, const Request& request) {
  if (!(weights >= 1e6 && weights <= 1e13)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a model of %g weights; expected 1M to 10000B", weights));
  }
  const Shape* shape =
      std::min_element(std::begin(kShapes), std::end(kShapes), [&](const Shape& a, const Shape& b) {
        return std::abs(std::log(a.weights / weights)) < std::abs(std::log(b.weights / weights));
      });
  // Wider and deeper by the same factor: layers with the cube root of the weights.
  const double scale = std::cbrt(weights / shape->weights);
  const auto scaled = [scale](int64_t n) {
    return std::max<int64_t>(1, std::llround(static_cast<double>(n) * scale));
  };
  Plan plan;
  plan.model = absl::StrFormat("%.3gB weights, shaped like %s", weights / 1e9, shape->name);
  plan.trained_context = shape->context;
  plan.layers = scaled(shape->layers);
  Source source;
  source.elements = weights;
  source.weights = [&](const RecipeFacts& facts) -> absl::StatusOr<uint64_t> {
    return static_cast<uint64_t>(weights * facts.bits / 8);
  };
  source.memory = [&](int64_t context) -> absl::StatusOr<Memory> {
    Memory memory;
    memory.kv_cache = static_cast<uint64_t>(plan.layers * 2 * shape->kv * 2 * context);
    // What is alive at once in a feed-forward block, and the logits; per token of a step.
    const int64_t row = (4 * scaled(shape->embedding) + 3 * scaled(shape->feed_forward)) * 4;
    memory.compute = static_cast<uint64_t>(request.ubatch * row + shape->vocab * 4 + context * 8);
    return memory;
  };
  BANTAM_RETURN_IF_ERROR(Fill(source, request, plan));
  return plan;
}

std::optional<double> ParseWeights(absl::string_view text) {
  if (text.size() < 2) return std::nullopt;
  const char unit = absl::ascii_toupper(text.back());
  const double scale = unit == 'B' ? 1e9 : unit == 'M' ? 1e6 : 0;
  double number = 0;
  text.remove_suffix(1);
  const bool digits = std::all_of(text.begin(), text.end(),
                                  [](char c) { return absl::ascii_isdigit(c) || c == '.'; });
  if (scale == 0 || !digits || !absl::SimpleAtod(text, &number)) return std::nullopt;
  return number * scale;
}

}  // namespace bantam::plan
