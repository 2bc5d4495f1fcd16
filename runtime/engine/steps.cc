#include "runtime/engine/steps.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "runtime/base/align.h"
#include "runtime/base/status.h"
#include "runtime/engine/input_layout.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/memory_plan.h"
#include "runtime/graph/passes.h"

namespace bantam::engine {

namespace {

constexpr int64_t kMaxUbatch = 4096;

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

absl::StatusOr<SessionOptions> CheckOptions(const SessionOptions& options,
                                            const model::Config& config, absl::string_view name) {
  const int64_t trained = config.context_length;
  SessionOptions checked = options;
  if (checked.context == 0) checked.context = trained;
  if (checked.context < 1 || checked.context > trained) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a context of %d tokens was asked for, but %s was trained for %d",
                        options.context, name, trained));
  }
  if (checked.ubatch < 1 || checked.ubatch > kMaxUbatch) {
    return absl::InvalidArgumentError(
        absl::StrFormat("ubatch is %d; expected 1 to %d", options.ubatch, kMaxUbatch));
  }
  checked.ubatch = std::min(checked.ubatch, checked.context);
  checked.verify_rows = std::min(checked.verify_rows, checked.ubatch);
  if (!checked.embeddings && !config.has_logits) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is of architecture ", config.architecture,
                     ", which makes embeddings, not text: use bantam embed"));
  }
  if (checked.embeddings && checked.likeliest) {
    return absl::InvalidArgumentError("a session of embeddings has no likeliest token");
  }
  BANTAM_RETURN_IF_ERROR(CheckKvType(checked.kv_type, config));
  return checked;
}

bool TwoStepsInFlight(const SessionOptions& options) {
  return options.pipeline && !options.keep_matmul_inputs && options.ubatch > 1 &&
         2 * options.ubatch <= options.context;
}

std::vector<int64_t> ShapeClasses(int64_t ubatch) {
  std::vector<int64_t> classes;
  for (int64_t rows = 1; rows < ubatch; rows *= 2) classes.push_back(rows);
  classes.push_back(ubatch);
  return classes;
}

int64_t LongestWindow(const model::Config& config) {
  int32_t longest = 0;
  for (int32_t window : config.windows) longest = std::max(longest, window);
  return longest;
}

int64_t WindowCells(const model::Config& config, const SessionOptions& options) {
  // Backends work in blocks of cells; whole blocks also keep tokens in the same place of a block.
  constexpr int64_t kBlock = 64, kLeastSpare = 32;
  const int64_t window = LongestWindow(config);
  if (window == 0) return 0;
  const int64_t cells = window + std::max(options.ubatch, kLeastSpare);
  return std::min<int64_t>(options.context, AlignUp(cells, kBlock));
}

int RoutedLayer(const graph::Graph& graph, const graph::Value& ids) {
  int layer = -1;
  absl::string_view name = ids.name;
  if (ids.producer == graph::kNone || graph.nodes()[ids.producer].op != graph::Op::kTopK ||
      !absl::ConsumePrefix(&name, "blk.") || !absl::ConsumeSuffix(&name, ".experts") ||
      !absl::SimpleAtoi(name, &layer)) {
    return -1;
  }
  return layer;
}

absl::StatusOr<graph::Graph> BuildStep(const model::Architecture& architecture,
                                       const SessionOptions& options, int64_t rows,
                                       int64_t output_rows) {
  model::GraphOptions build;
  build.rows = rows;
  build.output_rows = output_rows;
  build.context = options.context;
  build.window_cells = WindowCells(architecture.config(), options);
  build.kv_type = options.kv_type;
  build.embeddings = options.embeddings;
  BANTAM_ASSIGN_OR_RETURN(graph::Graph built, architecture.BuildGraph(build));
  if (options.likeliest) {
    const graph::ValueId logits = built.outputs()[0];
    const graph::ValueId ids =
        built.Add(graph::Op::kTopK, {logits}, "likeliest", graph::TopKAttrs{1});
    built.AddOutput(ids);
    built.AddOutput(built.Add(graph::Op::kGatherElements, {logits, ids}, "largest_logits"));
    BANTAM_RETURN_IF_ERROR(graph::Infer(built));
  }
  if (!options.expert_use_folder.empty()) {
    for (const graph::Node& node : built.nodes()) {
      if (RoutedLayer(built, built.value(node.output)) >= 0) built.AddOutput(node.output);
    }
  }
  if (options.optimize_graph) {
    BANTAM_ASSIGN_OR_RETURN(built, graph::Optimize(built));
  }
  // Only steps with all rows see what the last layer does with each token.
  if (!options.keep_matmul_inputs || output_rows != rows) return built;
  return graph::KeepMatMulInputs(built);
}

absl::StatusOr<MemoryUse> PredictMemory(const model::Architecture& architecture,
                                        const device::Limits& limits,
                                        const SessionOptions& options) {
  BANTAM_ASSIGN_OR_RETURN(const SessionOptions checked,
                          CheckOptions(options, architecture.config(), architecture.config().name));
  MemoryUse use;
  int64_t temporary = 0;
  for (int64_t rows : ShapeClasses(checked.ubatch)) {
    BANTAM_ASSIGN_OR_RETURN(const graph::Graph graph, BuildStep(architecture, checked, rows, 1));
    const auto alignment = static_cast<int64_t>(limits.alignment);
    temporary = std::max(temporary, graph::PlanMemory(graph, alignment).size);
    if (rows > 1) continue;
    for (const graph::Value& value : graph.values()) {
      if (value.storage != graph::Storage::kState) continue;
      use.kv_cache = AlignUp(use.kv_cache + value.SpanBytes(), limits.alignment);
    }
  }
  const InputLayout layout(checked.ubatch, checked.context,
                           WindowCells(architecture.config(), checked), limits.alignment);
  use.compute = std::max<int64_t>(temporary, 1) + layout.size + layout.kv_cells;
  return use;
}

}  // namespace bantam::engine
