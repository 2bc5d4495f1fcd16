// A session on disk: what session_file.h lays out, from and to the KV cache.
#include <algorithm>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/base/status.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/session_impl.h"

namespace bantam::engine {

SessionFileKind Session::Impl::FileKind() const {
  SessionFileKind kind;
  kind.model = FingerprintOf(model->file());
  kind.kv_type = options.kv_type;
  for (const KvPart& part : kv_parts) {
    (part.has_window ? kind.window_bytes_per_token : kind.state_bytes_per_token) +=
        part.bytes_per_token;
  }
  return kind;
}

// Calls `piece` with the places of the cells of the tokens `begin` to `end`, in their order; a ring
// may have them in two pieces.
absl::Status Session::Impl::ForEachPiece(
    const KvPart& part, int64_t begin, int64_t end,
    absl::FunctionRef<absl::Status(device::Binding, uint64_t bytes)> piece) const {
  while (begin < end) {
    const int64_t cell = part.has_window ? ring.CellOf(begin) : begin;
    const int64_t count = part.has_window ? std::min(end - begin, ring.size() - cell) : end - begin;
    BANTAM_RETURN_IF_ERROR(piece(
        {part.where.buffer, part.where.offset + static_cast<uint64_t>(cell) * part.bytes_per_token},
        static_cast<uint64_t>(count) * part.bytes_per_token));
    begin += count;
  }
  return absl::OkStatus();
}

absl::Status Session::Save(const std::string& path, absl::string_view note) const {
  const Impl& s = *impl_;
  // A text that must be computed again has nothing to save of the layers with a window.
  const int64_t from = s.computed < s.position() ? s.position() : s.ring.begin();
  BANTAM_ASSIGN_OR_RETURN(
      auto file, SessionFileWriter::Create(path, s.FileKind(), s.tokens,
                                           s.ring.size() > 0 ? s.position() - from : 0, note));
  std::vector<std::byte> state;
  for (const Impl::KvPart& part : s.kv_parts) {
    BANTAM_RETURN_IF_ERROR(
        s.ForEachPiece(part, part.has_window ? from : 0, s.position(),
                       [&](device::Binding where, uint64_t bytes) -> absl::Status {
                         state.resize(bytes);
                         BANTAM_RETURN_IF_ERROR(where.buffer->Download(where.offset, state));
                         return file->Append(state);
                       }));
  }
  return file->Commit();
}

absl::StatusOr<std::string> Session::Restore(const std::string& path) {
  Impl& s = *impl_;
  BANTAM_ASSIGN_OR_RETURN(const SessionFile file, SessionFile::Open(path, s.FileKind()));
  const auto count = static_cast<int64_t>(file.tokens().size());
  if (count > s.options.context) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%s: the session has %d tokens; the context only room for %d", path, count,
                        s.options.context));
  }
  for (TokenId token : file.tokens()) {
    if (token >= 0 && token < s.model->config().vocab_size) continue;
    return absl::DataLossError(absl::StrCat(path, ": token ", token, " is not in the vocabulary"));
  }
  BANTAM_RETURN_IF_ERROR(Truncate(0));
  std::span<const std::byte> state = file.state();
  const int64_t saved_from = count - static_cast<int64_t>(file.in_windows());
  // A ring that is smaller than that of the session saved has room for the last ones.
  const int64_t from = std::max(saved_from, count - s.ring.size());
  for (const Impl::KvPart& part : s.kv_parts) {
    if (part.has_window) state = state.subspan((from - saved_from) * part.bytes_per_token);
    BANTAM_RETURN_IF_ERROR(
        s.ForEachPiece(part, part.has_window ? from : 0, count,
                       [&](device::Binding where, uint64_t bytes) -> absl::Status {
                         const auto piece = state.first(bytes);
                         state = state.subspan(bytes);
                         return where.buffer->Upload(where.offset, piece);
                       }));
  }
  s.tokens.assign(file.tokens().begin(), file.tokens().end());
  s.computed = count;
  if (s.ring.size() == 0) return std::string(file.note());
  s.ring.Clear(from);
  for (int64_t position = from; position < count; ++position) s.ring.Add(position);
  if (!s.ring.Covers(count)) {
    s.ring.Clear(0);
    s.computed = 0;
  }
  return std::string(file.note());
}

}  // namespace bantam::engine
