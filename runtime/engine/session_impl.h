// What a session is made of. session_setup.cc makes it, session.cc uses it,
// session_save.cc writes it to a file.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/input_layout.h"
#include "runtime/engine/matmul_inputs.h"
#include "runtime/engine/program.h"
#include "runtime/engine/session_file.h"
#include "runtime/engine/window_ring.h"
#include "runtime/schedule/partition.h"

namespace bantam::engine {

// One shape class: the graph for a fixed number of rows, compiled.
struct Step {
  int64_t rows = 0;
  int64_t output_rows = 0;
  schedule::Partition partition;  // until compiled
  struct Output {
    int device = 0;
    uint64_t offset = 0;  // in the temporary buffer of that device
  };
  Output logits;
  Output likeliest, largest_logits;        // with SessionOptions::likeliest: ids i32, f32
  std::vector<MatMulInput> matmul_inputs;  // where they were asked for
  struct Routed {
    int layer = 0;
    Output ids;  // i32 {chosen, rows}
    int64_t chosen = 0, rows = 0;
  };
  std::vector<Routed> routed;                                           // where experts are counted
  const std::vector<std::unique_ptr<device::Buffer>>* temps = nullptr;  // by device
  std::unique_ptr<Program> program;
};

// Usually one for each device; null where nothing is on it.
using Buffers = std::vector<std::unique_ptr<device::Buffer>>;

// Of one device, for steps that take turns: their intermediate values and then their scratch.
struct TempRoom {
  uint64_t planned = 0, scratch = 0;
};

struct Session::Impl {
  std::shared_ptr<const Model> model;
  std::vector<std::shared_ptr<const Model>> lost_models;  // whose parts callers may still hold
  SessionOptions options;
  schedule::Placement placement;
  std::vector<std::unique_ptr<device::Stream>> streams;
  std::vector<uint64_t> alignments;  // by device
  mutable int refusing = -1;         // the device that last had no memory for something
  mutable int lost = -1;             // one that was lost before anything was made on it
  std::vector<Buffers> kv;           // by device: as many buffers as its limits ask for
  Buffers inputs;
  Buffers temp;                 // of every step in `steps`
  Buffers all_temp;             // of every step in `all_steps`
  std::vector<Step> steps;      // one output row; by increasing rows
  std::vector<Step> all_steps;  // as many output rows as rows; made on first use
  Buffers verify_temp;
  // Of temp, all_temp and verify_temp.
  std::vector<TempRoom> rooms, all_rooms, verify_rooms;
  std::vector<Step> verify_steps;  // the same, [i] with i + 2 rows; made by Create
  InputLayout layout{0, 0, 0, 1};
  std::vector<std::byte> staging;  // the inputs up to kv_cells
  // A second compilation of the largest step, to run while the first does (pipeline.h); none on one
  // device.
  struct Lane {
    std::vector<std::unique_ptr<device::Stream>> streams;
    Buffers inputs, temp;
    std::vector<TempRoom> rooms;
    std::unique_ptr<Program> program;
  } second;
  // For weights that come for a step (schedule/stream.h); both on one device.
  std::array<std::unique_ptr<device::Buffer>, 2> unit_buffers;
  std::vector<std::unique_ptr<device::HostRegistration>> registrations;  // of what comes
  std::vector<float> downloaded_logits;  // only where the device's memory is not the host's
  std::span<const float> logits;
  std::vector<TokenId> likeliest;  // by row of the last Decode; room for ubatch
  std::vector<float> largest_logits;
  std::vector<TokenId> tokens;  // the text; room for the whole context
  // Tokens of it that are in the KV cache: all, but after Truncate went back further than the
  // layers with a window remember.
  int64_t computed = 0;
  WindowRing ring;                 // of the layers with a window, if any
  std::vector<TokenId> moved;      // of Drop; as much room
  schedule::ExpertUse expert_use;  // counted by this session
  std::vector<int32_t> chosen;     // of one layer in one step
  int64_t steps_not_counted = 0;
  const Step* observed = nullptr;  // the step of the last Decode with kAll
  int64_t observed_tokens = 0;

  device::Device& device(size_t d) const { return *model->devices()[d]; }
  // Allocates on one device; remembers which one refused.
  absl::StatusOr<std::unique_ptr<device::Buffer>> Allocate(size_t d, uint64_t bytes);
  absl::Status Prepare();
  absl::Status AllocateAll();
  // Gives up something that is on `device` and no weight. False where there is nothing.
  bool MakeRoom(int device);
  bool MoveKvFrom(int device);
  void StopStreaming(int device);
  // Loads the model with less on `device`, and makes the session for that. The error is `refusal`
  // where that cannot be.
  absl::Status LoadWithLess(int device, const absl::Status& refusal);
  // Lets go of all that is on devices.
  void DropAll();
  absl::StatusOr<schedule::Partition> Build(int64_t rows, int64_t output_rows) const;
  absl::Status AllocateKv(const schedule::Partition& decode);
  absl::Status AllocateInputs(const schedule::Partition& decode);
  absl::StatusOr<Buffers> NewInputs(const schedule::Partition& decode);
  // Makes `rooms`, by device, large enough for a step too.
  absl::Status AddRoom(const schedule::Partition& partition, std::vector<TempRoom>& rooms);
  // Of steps of up to `rows` tokens.
  absl::StatusOr<Buffers> NewTemps(const std::vector<TempRoom>& rooms, int64_t rows);
  // The devices that compute something, of a session with such a step of one token.
  std::vector<int> DevicesUsed(const schedule::Partition& decode) const;
  // By device; null where nothing is computed.
  absl::StatusOr<std::vector<std::unique_ptr<device::Stream>>> NewStreams(
      const schedule::Partition& decode) const;
  absl::Status AllocateSecond(const schedule::Partition& decode);
  absl::Status AllocateUnits();
  // Whether the largest step is given weights, or would be with all memory there is.
  bool Streams() const { return placement.streaming.In(options.ubatch); }
  absl::Status CompileAll(std::vector<Step>& into, const std::vector<int64_t>& row_counts,
                          bool all_rows, Buffers& buffers, std::vector<TempRoom>& rooms_of);
  absl::StatusOr<std::unique_ptr<Program>> Compile(
      const schedule::Partition& partition,
      const std::vector<std::unique_ptr<device::Stream>>& with, const Buffers& from,
      const Buffers& temps, const std::vector<TempRoom>& rooms) const;
  absl::StatusOr<device::Binding> Bind(const graph::Value& value, int device,
                                       const Buffers& from) const;
  // The inputs of a step that computes `added`, to every device.
  absl::Status WriteInputs(int64_t rows, int64_t output_rows, std::span<const TokenId> added,
                           const Buffers& to);
  absl::Status RunStep(Step& step, std::span<const TokenId> added);
  // Which experts the first `tokens` of a step chose.
  absl::Status CountExperts(const Step& step, int64_t tokens);
  // After steps that were to compute `added` ended with `status`, which it returns.
  absl::Status Finish(const absl::Status& status, std::span<const TokenId> added);
  // `count` of the largest steps.
  absl::Status RunTwoAtATime(std::span<const TokenId> added, int64_t count);
  // Computes `added` in as few steps as there are to take; the last of them.
  absl::StatusOr<const Step*> RunSteps(std::span<const TokenId> added);
  // What Truncate left of the text may have to be computed again.
  absl::Status CatchUp();
  // Decode without recovering.
  absl::Status DecodeOnce(std::span<const TokenId> added, LogitsMode mode);
  // After an error of a lost device: loads the model on those that are left, where nothing is
  // computed yet. The error is `why` where that is no such error.
  absl::Status Recover(const absl::Status& why);
  int FindLost() const;  // a device; -1: none is
  absl::Status ReadLogits(const Step& step, const Buffers& temps, int64_t rows);
  // False when a largest logit is not finite.
  absl::StatusOr<bool> ReadLikeliest(const Step& step, const Buffers& temps, int64_t rows);

  int64_t position() const { return static_cast<int64_t>(tokens.size()); }
  // What a saved session must have been made with.
  SessionFileKind FileKind() const;

  // KV states by name, where each lives.
  absl::flat_hash_map<std::string, device::Binding> kv_states;
  struct KvPart {
    device::Binding where;
    uint64_t bytes_per_token;  // the cells of a state are its outermost dimension
    bool has_window;           // its cells are those of the ring
  };
  std::vector<KvPart> kv_parts;  // every state
  absl::Status ForEachPiece(
      const KvPart& part, int64_t begin, int64_t end,
      absl::FunctionRef<absl::Status(device::Binding, uint64_t bytes)> piece) const;
  int64_t output_width() const {
    return options.embeddings ? model->config().embedding_length : model->config().vocab_size;
  }
  uint64_t logits_bytes_per_row() const { return output_width() * sizeof(float); }
};

}  // namespace bantam::engine
