#include "runtime/eval/log_probs_file.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_format.h"
#include "runtime/base/crc32.h"
#include "runtime/base/status.h"
#include "runtime/eval/log_probs.h"

namespace bantam::eval {
namespace {

using tokenizer::TokenId;

struct FileHeader {
  std::array<char, 8> magic;
  uint32_t version;
  uint32_t vocab;
  uint32_t vocabulary_checksum;
  uint32_t window;
  uint32_t windows;
};
static_assert(sizeof(FileHeader) == 28);

constexpr std::array<char, 8> kMagic = {'b', 'a', 'n', 't', 'a', 'm', 'L', 'P'};
constexpr uint32_t kVersion = 1;

struct BlockHeader {
  uint64_t bytes;
  uint32_t checksum;
};
constexpr size_t kBlockHeaderBytes = 12;

template <typename T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

absl::StatusOr<FileHeader> ReadHeader(const MappedFile& file) {
  FileHeader header;
  const std::span<const std::byte> data = file.data();
  if (data.size() < sizeof(header) || std::memcmp(data.data(), kMagic.data(), kMagic.size()) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(),
                     ": is no file of log-probabilities, as bantam perplexity --save-logits "
                     "writes them"));
  }
  std::memcpy(&header, data.data(), sizeof(header));
  if (header.version != kVersion) {
    return absl::UnimplementedError(
        absl::StrFormat("%s: log-probabilities of version %d; this program reads version %d",
                        file.path(), header.version, kVersion));
  }
  return header;
}

}  // namespace

uint32_t VocabularyChecksum(const tokenizer::Tokenizer& tokenizer) {
  uint32_t crc = 0;
  const std::byte zero{0};
  for (TokenId id = 0; id < tokenizer.size(); ++id) {
    const absl::string_view text = tokenizer.text(id);
    crc = Crc32(std::as_bytes(std::span(text.data(), text.size())), crc);
    crc = Crc32({&zero, 1}, crc);
  }
  return crc;
}

absl::StatusOr<std::unique_ptr<LogProbsWriter>> LogProbsWriter::Create(const std::string& path,
                                                                       const engine::Model& model,
                                                                       const Windows& windows) {
  BANTAM_ASSIGN_OR_RETURN(auto file, AtomicFile::Create(path));
  FileHeader header{kMagic,
                    kVersion,
                    static_cast<uint32_t>(model.config().vocab_size),
                    VocabularyChecksum(model.tokenizer()),
                    static_cast<uint32_t>(windows.size),
                    static_cast<uint32_t>(windows.count)};
  const auto tokens = std::as_bytes(std::span(windows.tokens));
  const uint32_t crc = Crc32(tokens, Crc32(BytesOf(header)));
  for (const std::span<const std::byte> bytes : {BytesOf(header), tokens, BytesOf(crc)}) {
    BANTAM_RETURN_IF_ERROR(file->Append(bytes));
  }
  return std::unique_ptr<LogProbsWriter>(new LogProbsWriter(std::move(file), windows.scored()));
}

absl::Status LogProbsWriter::AddBatch(const engine::Session& session,
                                      std::span<const TokenId> targets, ThreadPool& pool) {
  const size_t first = rows_.size();
  rows_.resize(first + targets.size());
  std::vector<absl::Status> statuses(targets.size());
  pool.ParallelFor(
      static_cast<int64_t>(targets.size()), 1, [&](int64_t begin, int64_t end, int /*worker*/) {
        for (int64_t row = begin; row < end; ++row) {
          statuses[row] = EncodeLogProbs(session.Logits(row), targets[row], rows_[first + row]);
        }
      });
  for (const absl::Status& status : statuses) BANTAM_RETURN_IF_ERROR(status);
  if (static_cast<int64_t>(rows_.size()) < rows_per_window_) return absl::OkStatus();
  return EndWindow();
}

absl::Status LogProbsWriter::EndWindow() {
  BlockHeader header{0, 0};
  for (const std::string& row : rows_) {
    header.bytes += row.size();
    header.checksum = Crc32(std::as_bytes(std::span(row)), header.checksum);
  }
  BANTAM_RETURN_IF_ERROR(file_->Append(BytesOf(header.bytes)));
  BANTAM_RETURN_IF_ERROR(file_->Append(BytesOf(header.checksum)));
  for (const std::string& row : rows_) {
    BANTAM_RETURN_IF_ERROR(file_->Append(std::as_bytes(std::span(row))));
  }
  rows_.clear();
  return absl::OkStatus();
}

absl::Status LogProbsFile::Damaged(absl::string_view what) const {
  return absl::DataLossError(
      absl::StrCat(file_->path(), ": these log-probabilities are damaged: ", what));
}

absl::StatusOr<std::unique_ptr<LogProbsFile>> LogProbsFile::Open(const std::string& path,
                                                                 const engine::Model& model) {
  BANTAM_ASSIGN_OR_RETURN(auto mapped, MappedFile::Open(path));
  std::unique_ptr<LogProbsFile> file(new LogProbsFile(std::move(mapped)));
  BANTAM_RETURN_IF_ERROR(file->Read(model));
  return file;
}

absl::Status LogProbsFile::Read(const engine::Model& model) {
  BANTAM_ASSIGN_OR_RETURN(const FileHeader header, ReadHeader(*file_));
  std::span<const std::byte> rest = file_->data();
  const uint64_t token_bytes = uint64_t{header.window} * header.windows * sizeof(TokenId);
  const uint64_t checked = sizeof(header) + token_bytes;
  if (header.window < kMinWindow || header.windows == 0 || header.window > INT32_MAX ||
      rest.size() < checked + sizeof(uint32_t)) {
    return Damaged("the tokens are cut off");
  }
  uint32_t crc;
  std::memcpy(&crc, rest.data() + checked, sizeof(crc));
  if (crc != Crc32(rest.first(checked))) return Damaged("the checksum of the tokens is wrong");
  vocab_ = header.vocab;
  if (vocab_ != model.config().vocab_size ||
      header.vocabulary_checksum != VocabularyChecksum(model.tokenizer())) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s: was made by a model with another vocabulary (of %d tokens) than %s (of %d)",
        file_->path(), vocab_, model.file().path(), model.config().vocab_size));
  }
  windows_.size = header.window;
  windows_.count = header.windows;
  windows_.tokens.resize(token_bytes / sizeof(TokenId));
  std::ranges::copy(rest.subspan(sizeof(header), token_bytes),
                    std::as_writable_bytes(std::span(windows_.tokens)).begin());
  for (const TokenId token : windows_.tokens) {
    if (token < 0 || token >= vocab_) return Damaged("a token is outside the vocabulary");
  }
  rest = rest.subspan(checked + sizeof(crc));
  for (int64_t i = 0; i < windows_.count; ++i) {
    BlockHeader block;
    if (rest.size() < kBlockHeaderBytes) return Damaged(absl::StrCat("window ", i, " is missing"));
    std::memcpy(&block.bytes, rest.data(), sizeof(block.bytes));
    std::memcpy(&block.checksum, rest.data() + sizeof(block.bytes), sizeof(block.checksum));
    rest = rest.subspan(kBlockHeaderBytes);
    if (block.bytes > rest.size()) return Damaged(absl::StrCat("window ", i, " is cut off"));
    blocks_.push_back(rest.first(block.bytes));
    checksums_.push_back(block.checksum);
    rest = rest.subspan(block.bytes);
  }
  if (!rest.empty()) return Damaged("something follows the last window");
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::span<const std::byte>>> LogProbsFile::Rows(int64_t window) const {
  std::span<const std::byte> rest = blocks_[window];
  if (Crc32(rest) != checksums_[window]) {
    return Damaged(absl::StrCat("the checksum of window ", window, " is wrong"));
  }
  std::vector<std::span<const std::byte>> rows;
  for (int64_t i = 0; i < windows_.scored(); ++i) {
    const absl::StatusOr<size_t> bytes = EncodedBytes(rest, vocab_);
    if (!bytes.ok()) return Damaged(bytes.status().message());
    rows.push_back(rest.first(*bytes));
    rest = rest.subspan(*bytes);
  }
  if (!rest.empty()) return Damaged(absl::StrCat("window ", window, " has too many rows"));
  return rows;
}

absl::StatusOr<int64_t> WindowSizeOf(const std::string& path) {
  BANTAM_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  BANTAM_ASSIGN_OR_RETURN(const FileHeader header, ReadHeader(*file));
  return header.window;
}

}  // namespace bantam::eval
