// bantam bench: how fast a model runs here, and how near that is to what the machine can do.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <vector>

#include "absl/strings/str_format.h"
#include "frontends/cli/allocations.h"
#include "frontends/cli/command.h"
#include "frontends/cli/options.h"
#include "frontends/cli/output.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/counters.h"
#include "runtime/base/status.h"

namespace bantam::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

struct BenchOptions {
  int64_t prompt = 512;
  int64_t generate = 128;
  int64_t repetitions = 5;
  int64_t depth = 0;
  bool profile = false;
};

// Of the products with weights in one step.
struct Work {
  double weight_bytes = 0;  // read, each once
  double ops = 0;           // additions and multiplications
};

// Of a step of `rows` tokens with the logits of the last. Of an expert matrix as many experts are
// counted as the rows can choose.
absl::StatusOr<Work> WorkOf(const engine::Model& model, int64_t rows) {
  model::GraphOptions options;
  options.rows = rows;
  options.context = rows;
  BANTAM_ASSIGN_OR_RETURN(const graph::Graph graph, model.architecture().BuildGraph(options));
  Work work;
  auto add = [&](graph::ValueId id, int64_t matrices, int64_t products) {
    const graph::Value& w = graph.value(id);
    work.weight_bytes +=
        static_cast<double>(quant::RowBytes(w.type, w.shape[0]) * w.shape[1] * matrices);
    work.ops += 2.0 * static_cast<double>(w.shape[0] * w.shape[1] * products);
  };
  for (const graph::Node& node : graph.nodes()) {
    if (const auto* product = std::get_if<graph::MatMulAttrs>(&node.attrs)) {
      for (int32_t p = 0; p < product->parts; ++p) {
        add(node.inputs[p], 1, graph::RowCount(graph.value(node.output).shape));
      }
    } else if (node.op == graph::Op::kMatMulExpert) {
      const int64_t pairs = graph::ElementCount(graph.value(node.inputs[2]).shape);
      add(node.inputs[0], std::min(pairs, graph.value(node.inputs[0]).shape[2]), pairs);
    }
  }
  return work;
}

// What happened in the process between two moments.
struct Events {
  int64_t allocations = 0, graphs = 0, lock_waits = 0, sleeps = 0, page_faults = 0,
          context_switches = 0;

  static Events Now() {
    rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    return {AllocationCount(),
            counters.graphs.load(),
            counters.lock_waits.load(),
            counters.sleeps.load(),
            usage.ru_minflt + usage.ru_majflt,
            usage.ru_nvcsw + usage.ru_nivcsw};
  }
  void AddSince(const Events& start) {
    const Events now = Now();
    allocations += now.allocations - start.allocations;
    graphs += now.graphs - start.graphs;
    lock_waits += now.lock_waits - start.lock_waits;
    sleeps += now.sleeps - start.sleeps;
    page_faults += now.page_faults - start.page_faults;
    context_switches += now.context_switches - start.context_switches;
  }
};

// One kind of run, repeated.
struct Measurement {
  const char* name;
  bool is_prompt;
  int64_t tokens;              // of one run
  std::vector<double> speeds;  // tokens per second
  double weight_bytes_per_token = 0;
  double ops_per_token = 0;
  Events events;  // of all runs
  std::vector<device::KernelTime> profile;

  double Mean() const {
    double sum = 0;
    for (double speed : speeds) sum += speed;
    return sum / static_cast<double>(speeds.size());
  }
  // Of the sample; 0 for one run.
  double Deviation() const {
    double sum = 0;
    for (double speed : speeds) sum += (speed - Mean()) * (speed - Mean());
    return speeds.size() < 2 ? 0 : std::sqrt(sum / static_cast<double>(speeds.size() - 1));
  }
  double ReadBytes() const { return Mean() * weight_bytes_per_token; }
  double Ops() const { return Mean() * ops_per_token; }
};

// Any tokens do; equal ones would choose the same experts.
std::vector<tokenizer::TokenId> Tokens(int64_t count, int64_t vocabulary) {
  std::vector<tokenizer::TokenId> tokens(count);
  for (int64_t i = 0; i < count; ++i) {
    tokens[i] = static_cast<tokenizer::TokenId>((i * 7919 + 11) % vocabulary);
  }
  return tokens;
}

class Bench {
 public:
  Bench(engine::Session& session, const BenchOptions& options)
      : session_(session),
        options_(options),
        tokens_(Tokens(std::max({options.prompt, options.generate, options.depth, int64_t{1}}),
                       session.model().config().vocab_size)) {}

  absl::Status FillTo(int64_t depth) {
    BANTAM_RETURN_IF_ERROR(session_.Truncate(0));
    return session_.Decode(std::span(tokens_).first(depth), engine::LogitsMode::kNone);
  }

  absl::StatusOr<Measurement> Prompt() {
    Measurement m{"prompt", true, options_.prompt};
    BANTAM_RETURN_IF_ERROR(
        Repeat(m, [this] { return session_.Decode(std::span(tokens_).first(options_.prompt)); }));
    // The steps of the ubatch read the weights once each.
    const int64_t step = std::min(session_.ubatch(), options_.prompt);
    BANTAM_ASSIGN_OR_RETURN(const Work work, WorkOf(session_.model(), step));
    m.ops_per_token = work.ops / static_cast<double>(step);
    m.weight_bytes_per_token = work.weight_bytes / static_cast<double>(step);
    return m;
  }

  absl::StatusOr<Measurement> Generate() {
    Measurement m{"generate", false, options_.generate};
    BANTAM_RETURN_IF_ERROR(Repeat(m, [this]() -> absl::Status {
      for (int64_t i = 0; i < options_.generate; ++i) {
        BANTAM_RETURN_IF_ERROR(session_.Decode(std::span(tokens_).subspan(i, 1)));
      }
      return absl::OkStatus();
    }));
    BANTAM_ASSIGN_OR_RETURN(const Work work, WorkOf(session_.model(), 1));
    m.ops_per_token = work.ops;
    m.weight_bytes_per_token = work.weight_bytes;
    return m;
  }

 private:
  // The first run is not counted: it brings the weights into memory.
  template <typename Run>
  absl::Status Repeat(Measurement& m, const Run& run) {
    BANTAM_RETURN_IF_ERROR(FillTo(options_.depth));
    BANTAM_RETURN_IF_ERROR(run());
    if (options_.profile) BANTAM_RETURN_IF_ERROR(session_.StartProfile());
    m.speeds.reserve(options_.repetitions);
    for (int64_t i = 0; i < options_.repetitions; ++i) {
      BANTAM_RETURN_IF_ERROR(session_.Truncate(options_.depth));
      status_.Show(absl::StrFormat("%s, run %d of %d", m.name, i + 1, options_.repetitions));
      const Events before = Events::Now();
      const Clock::time_point start = Clock::now();
      BANTAM_RETURN_IF_ERROR(run());
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      m.events.AddSince(before);
      m.speeds.push_back(static_cast<double>(m.tokens) / seconds);
    }
    if (options_.profile) m.profile = session_.Profile();
    return absl::OkStatus();
  }

  engine::Session& session_;
  const BenchOptions& options_;
  const std::vector<tokenizer::TokenId> tokens_;
  StatusLine status_;
};

// "12.3 GB/s = 65 %"; without the share where the limit is not known.
std::string Share(double value, double limit, absl::string_view unit) {
  std::string text = absl::StrFormat("%.4g %s", value, unit);
  if (limit > 0) absl::StrAppendFormat(&text, " = %.0f %%", 100 * value / limit);
  return text;
}

std::string ProfileText(const Measurement& m) {
  double total = 0;
  for (const device::KernelTime& time : m.profile) total += time.seconds;
  const double tokens = static_cast<double>(m.tokens) * static_cast<double>(m.speeds.size());
  std::string text =
      absl::StrFormat("\n%s, %.1f us in kernels per token:\n", m.name, total / tokens * 1e6);
  for (const device::KernelTime& time : m.profile) {
    absl::StrAppendFormat(&text, "%6.1f %%  %9.1f us  %5d x  ", 100 * time.seconds / total,
                          time.seconds / tokens * 1e6,
                          time.runs / static_cast<int64_t>(m.speeds.size()));
    absl::StrAppend(&text,
                    time.weight_bytes == 0
                        ? "          "
                        : absl::StrFormat("%5.1f GB/s", static_cast<double>(time.weight_bytes) /
                                                            time.seconds / 1e9),
                    "  ", time.kernel, "\n");
  }
  const Events& e = m.events;
  absl::StrAppendFormat(
      &text,
      "per token: %.2f allocations, %.2f graphs, %.2f lock waits, %.2f thread "
      "sleeps, %.2f page faults, %.2f context switches\n",
      static_cast<double>(e.allocations) / tokens, static_cast<double>(e.graphs) / tokens,
      static_cast<double>(e.lock_waits) / tokens, static_cast<double>(e.sleeps) / tokens,
      static_cast<double>(e.page_faults) / tokens,
      static_cast<double>(e.context_switches) / tokens);
  return text;
}

Json ToJson(const Measurement& m, int64_t depth, const device::Speed& limit) {
  Json json = {
      {"tokens", m.tokens},         {"depth", depth},   {"tokens_per_second", m.Mean()},
      {"deviation", m.Deviation()}, {"runs", m.speeds}, {"weight_bytes_per_second", m.ReadBytes()},
      {"ops_per_second", m.Ops()}};
  if (limit.read_bytes > 0) json["share_of_read_speed"] = m.ReadBytes() / limit.read_bytes;
  if (limit.int8_ops > 0) json["share_of_int8_speed"] = m.Ops() / limit.int8_ops;
  const Events& e = m.events;
  json["events"] = {{"allocations", e.allocations}, {"graphs", e.graphs},
                    {"lock_waits", e.lock_waits},   {"thread_sleeps", e.sleeps},
                    {"page_faults", e.page_faults}, {"context_switches", e.context_switches}};
  if (!m.profile.empty()) {
    Json& kernels = json["kernels"] = Json::array();
    for (const device::KernelTime& time : m.profile) {
      kernels.push_back({{"kernel", time.kernel},
                         {"runs", time.runs},
                         {"seconds", time.seconds},
                         {"weight_bytes", time.weight_bytes}});
    }
  }
  return json;
}

absl::Status Run(const Options& options, const BenchOptions& bench_options) {
  BANTAM_ASSIGN_OR_RETURN(const auto model, LoadModel(options));
  engine::SessionOptions session_options = SessionOptionsFrom(options, model->device());
  session_options.context = std::max<int64_t>(
      1, bench_options.depth + std::max(bench_options.prompt, bench_options.generate));
  engine::Trace trace;
  if (!options.trace.empty()) session_options.trace = &trace;
  BANTAM_ASSIGN_OR_RETURN(const auto session, engine::Session::Create(model, session_options));
  if (options.verbose) WriteStderr(DescribeSession(*session));
  device::Speed limit;
  if (auto speed = model->device().MeasureSpeed(); speed.ok()) {
    limit = *speed;
  } else if (!absl::IsUnimplemented(speed.status())) {
    return speed.status();
  }
  std::vector<Measurement> measurements;
  {
    Bench bench(*session, bench_options);
    if (bench_options.prompt > 0) {
      BANTAM_ASSIGN_OR_RETURN(measurements.emplace_back(), bench.Prompt());
    }
    if (bench_options.generate > 0) {
      BANTAM_ASSIGN_OR_RETURN(measurements.emplace_back(), bench.Generate());
    }
  }
  BANTAM_RETURN_IF_ERROR(WriteTrace(options, trace, *model));
  if (options.json) {
    Json json = {{"model", model->file().path()},
                 {"device", model->device().name()},
                 {"description", model->device().description()},
                 {"repetitions", bench_options.repetitions},
                 {"ubatch", session->ubatch()},
                 {"kv_type", options.kv_type}};
    if (limit.read_bytes > 0) json["read_bytes_per_second"] = limit.read_bytes;
    if (limit.int8_ops > 0) json["int8_ops_per_second"] = limit.int8_ops;
    for (const Measurement& m : measurements) {
      json[m.name] = ToJson(m, bench_options.depth, limit);
    }
    json["memory"] = MemoryJson(*session);
    return WriteJson(json);
  }
  std::string text;
  for (const Measurement& m : measurements) {
    absl::StrAppendFormat(&text, "%-8s  %d tokens", m.name, m.tokens);
    if (bench_options.depth > 0) absl::StrAppendFormat(&text, " after %d", bench_options.depth);
    absl::StrAppendFormat(&text, "  %.2f +/- %.2f tok/s, %s\n", m.Mean(), m.Deviation(),
                          m.is_prompt ? Share(m.Ops() / 1e12, limit.int8_ops / 1e12, "TOPS")
                                      : Share(m.ReadBytes() / 1e9, limit.read_bytes / 1e9, "GB/s"));
  }
  for (const Measurement& m : measurements) {
    if (bench_options.profile) text += ProfileText(m);
  }
  BANTAM_RETURN_IF_ERROR(WriteStdout(text));
  std::string about = absl::StrFormat("device    %s\n", OneLine(model->device().description()));
  if (limit.read_bytes > 0) {
    absl::StrAppendFormat(&about, "machine   reads %.1f GB/s, int8 dot products %.3g TOPS\n",
                          limit.read_bytes / 1e9, limit.int8_ops / 1e12);
  }
  absl::StrAppendFormat(&about, "memory    %s\n", DescribeMemory(*session));
  WriteStderr(about);
  return absl::OkStatus();
}

CLI::Validator Between(int64_t low, int64_t high) { return CLI::Range(low, high).description(""); }

}  // namespace

int BenchMain(int argc, char** argv) {
  Options options;
  options.counts_experts = false;  // its tokens are made up
  BenchOptions bench;
  CLI::App app(
      "Measures how fast a model processes a prompt and generates, each from an empty context\n"
      "or after --depth tokens, beside what the machine can do at best.",
      argv[0]);
  AddModelOption(app, options);
  constexpr int64_t kMost = int64_t{1} << 24;
  app.add_option("-p,--prompt", bench.prompt, "Tokens of the prompt; 0: measure none")
      ->type_name("TOKENS")
      ->check(Between(0, kMost))
      ->capture_default_str();
  app.add_option("-n,--tokens", bench.generate, "Tokens to generate; 0: measure none")
      ->type_name("TOKENS")
      ->check(Between(0, kMost))
      ->capture_default_str();
  app.add_option("-r,--repetitions", bench.repetitions, "Runs of each, after one to warm up")
      ->type_name("N")
      ->check(Between(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--depth", bench.depth, "Tokens in the context before each run")
      ->type_name("TOKENS")
      ->check(Between(0, kMost))
      ->capture_default_str();
  app.add_flag("--profile", bench.profile,
               "Tell what each kernel takes, and allocations, graphs and waits per token");
  AddContextOptions(app, options);
  app.remove_option(app.get_option("--ctx"));
  AddDeviceOptions(app, options);
  AddTraceOption(app, options);
  AddOutputOptions(app, options);
  if (const auto code = Parse(app, argc, argv)) return *code;
  const absl::Status status = Run(options, bench);
  return status.ok() ? kOk : Fail(status);
}

}  // namespace bantam::cli
