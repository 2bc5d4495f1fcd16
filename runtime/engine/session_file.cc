#include "runtime/engine/session_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace bantam::engine {
namespace {

constexpr absl::string_view kMagic = "BNTMSESS";
constexpr uint32_t kVersion = 2;
constexpr uint64_t kHeaderBytes = 64;
constexpr uint64_t kChecksumBytes = 8;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t kv_type;
  uint64_t model;
  uint64_t state_bytes_per_token;
  uint64_t window_bytes_per_token;
  uint64_t tokens;
  uint64_t in_windows;
  uint64_t note_bytes;
};
static_assert(sizeof(Header) == kHeaderBytes && std::endian::native == std::endian::little);

std::span<const std::byte> BytesOf(absl::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

void AddValue(const gguf::MetaValue& value, Checksum& sum) {
  if (const auto* text = std::get_if<absl::string_view>(&value)) return sum.Add(*text);
  if (const auto* array = std::get_if<std::shared_ptr<const gguf::MetaArray>>(&value)) {
    sum.Add((*array)->count);
    sum.Add((*array)->raw);
    for (absl::string_view text : (*array)->strings) sum.Add(text);
    for (const gguf::MetaValue& inner : (*array)->arrays) AddValue(inner, sum);
    return;
  }
  std::visit(
      [&sum](const auto& number) {
        if constexpr (std::is_arithmetic_v<std::decay_t<decltype(number)>>) {
          sum.Add(std::as_bytes(std::span(&number, 1)));
        }
      },
      value);
}

// Can be undone for a given word: two states that differ stay different.
uint64_t Mix(uint64_t state, uint64_t word) {
  return std::rotl((state ^ word) * 0x9E3779B97F4A7C15, 31);
}

}  // namespace

void Checksum::Add(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t filled = size_ % 8;
    const size_t taken = std::min<size_t>(8 - filled, bytes.size());
    std::memcpy(reinterpret_cast<std::byte*>(&pending_) + filled, bytes.data(), taken);
    size_ += taken;
    bytes = bytes.subspan(taken);
    if (filled + taken == 8) state_ = Mix(state_, std::exchange(pending_, 0));
  }
}

uint64_t Checksum::value() const { return Mix(Mix(state_, pending_), size_); }

uint64_t FingerprintOf(const gguf::File& file) {
  Checksum sum;
  for (const gguf::KeyValue& entry : file.metadata()) {
    if (absl::StartsWith(entry.key, "general.") && entry.key != "general.architecture") continue;
    if (entry.key == "tokenizer.chat_template" || absl::StartsWith(entry.key, "split.")) continue;
    sum.Add(entry.key);
    AddValue(entry.value, sum);
  }
  constexpr size_t kSample = 64;
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    sum.Add(tensor.name);
    sum.Add(static_cast<uint64_t>(tensor.type));
    for (int64_t n : tensor.shape) sum.Add(static_cast<uint64_t>(n));
    const size_t size = tensor.data.size();
    for (size_t at : {size_t{0}, size / 3, size - std::min(size, kSample)}) {
      sum.Add(tensor.data.subspan(at, std::min(kSample, size - at)));
    }
  }
  return sum.value();
}

absl::StatusOr<std::unique_ptr<SessionFileWriter>> SessionFileWriter::Create(
    const std::string& path, const SessionFileKind& kind, std::span<const int32_t> tokens,
    uint64_t in_windows, absl::string_view note) {
  auto writer = std::make_unique<SessionFileWriter>();
  BANTAM_ASSIGN_OR_RETURN(writer->file_, AtomicFile::Create(path));
  Header header = {{},
                   kVersion,
                   static_cast<uint32_t>(kind.kv_type),
                   kind.model,
                   kind.state_bytes_per_token,
                   kind.window_bytes_per_token,
                   tokens.size(),
                   in_windows,
                   note.size()};
  std::copy(kMagic.begin(), kMagic.end(), header.magic);
  BANTAM_RETURN_IF_ERROR(writer->Append(std::as_bytes(std::span(&header, 1))));
  BANTAM_RETURN_IF_ERROR(writer->Append(std::as_bytes(tokens)));
  BANTAM_RETURN_IF_ERROR(writer->Append(BytesOf(note)));
  return writer;
}

absl::Status SessionFileWriter::Append(std::span<const std::byte> state) {
  checksum_.Add(state);
  return file_->Append(state);
}

absl::Status SessionFileWriter::Commit() {
  const uint64_t sum = checksum_.value();
  BANTAM_RETURN_IF_ERROR(file_->Append(std::as_bytes(std::span(&sum, 1))));
  return file_->Commit();
}

absl::StatusOr<SessionFile> SessionFile::Open(const std::string& path,
                                              const SessionFileKind& kind) {
  SessionFile session;
  BANTAM_ASSIGN_OR_RETURN(session.file_, MappedFile::Open(path));
  const std::span<const std::byte> all = session.file_->data();
  const auto damaged = [&path](absl::string_view how) {
    return absl::DataLossError(absl::StrCat(path, ": the session file is damaged: ", how));
  };
  Header header;
  if (all.size() < kHeaderBytes + kChecksumBytes ||
      absl::string_view(reinterpret_cast<const char*>(all.data()), kMagic.size()) != kMagic) {
    return absl::DataLossError(absl::StrCat(path, ": this is no session file"));
  }
  std::memcpy(&header, all.data(), sizeof(header));
  if (header.version != kVersion) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": a session file of version ",
                                                      header.version, "; expected ", kVersion));
  }
  // Without overflow: each part in turn, from what is left.
  const uint64_t body = all.size() - kHeaderBytes - kChecksumBytes;
  uint64_t left = body;
  const auto take = [&left](uint64_t count, uint64_t bytes) {
    if (bytes != 0 && count > left / bytes) return false;
    left -= count * bytes;
    return true;
  };
  if (!take(header.note_bytes, 1) || !take(header.tokens, sizeof(int32_t)) ||
      !take(header.tokens, header.state_bytes_per_token) ||
      !take(header.in_windows, header.window_bytes_per_token)) {
    return damaged("it is shorter than it says");
  }
  if (left != 0 || header.in_windows > header.tokens) {
    return damaged(
        absl::StrCat("it has ", all.size(), " bytes, not those of ", header.tokens, " tokens"));
  }
  Checksum sum;
  sum.Add(all.first(all.size() - kChecksumBytes));
  uint64_t stored;
  std::memcpy(&stored, all.data() + all.size() - kChecksumBytes, kChecksumBytes);
  if (sum.value() != stored) return damaged("its checksum is wrong");
  if (header.model != kind.model) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": the session was saved with another model"));
  }
  if (header.kv_type != static_cast<uint32_t>(kind.kv_type)) {
    const std::string found =
        header.kv_type < static_cast<uint32_t>(quant::kTypeIdLimit)
            ? std::string(quant::Name(static_cast<quant::Type>(header.kv_type)))
            : absl::StrCat(header.kv_type);
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": the session was saved with a KV cache of type ", found, "; this is ",
                     quant::Name(kind.kv_type)));
  }
  const auto per_token = [](uint64_t all_layers, uint64_t windows) {
    return absl::StrCat(all_layers, " and ", windows);
  };
  if (header.tokens > 0 && (header.state_bytes_per_token != kind.state_bytes_per_token ||
                            header.window_bytes_per_token != kind.window_bytes_per_token)) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": the session has ",
        per_token(header.state_bytes_per_token, header.window_bytes_per_token),
        " bytes of KV cache for each token, in layers without and with a window; this model ",
        per_token(kind.state_bytes_per_token, kind.window_bytes_per_token)));
  }
  std::span<const std::byte> rest = all.subspan(kHeaderBytes, body);
  session.tokens_.resize(header.tokens);
  std::ranges::copy(rest.first(4 * header.tokens),
                    std::as_writable_bytes(std::span(session.tokens_)).begin());
  rest = rest.subspan(4 * header.tokens);
  session.in_windows_ = header.in_windows;
  session.note_ = {reinterpret_cast<const char*>(rest.data()), header.note_bytes};
  session.state_ = rest.subspan(header.note_bytes);
  return session;
}

}  // namespace bantam::engine
