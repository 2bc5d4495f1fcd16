// Files of log-probabilities (log_probs.md): writing one while a model is measured, reading one
// while another is.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/thread_pool.h"
#include "runtime/engine/engine.h"
#include "runtime/eval/windows.h"

namespace bantam::eval {

// Identifies a vocabulary: token ids of another cannot be compared.
uint32_t VocabularyChecksum(const tokenizer::Tokenizer& tokenizer);

// Collects the predictions of all windows in order; nothing stands at `path` until Commit, after
// the last. Not thread-safe.
class LogProbsWriter {
 public:
  static absl::StatusOr<std::unique_ptr<LogProbsWriter>> Create(const std::string& path,
                                                                const engine::Model& model,
                                                                const Windows& windows);
  // Encodes the session's logits, row i of which predicts targets[i]. No batch spans windows.
  absl::Status AddBatch(const engine::Session& session, std::span<const tokenizer::TokenId> targets,
                        ThreadPool& pool);
  absl::Status Commit() { return file_->Commit(); }
  uint64_t size() const { return file_->size(); }

 private:
  LogProbsWriter(std::unique_ptr<AtomicFile> file, int64_t rows_per_window)
      : file_(std::move(file)), rows_per_window_(rows_per_window) {}
  absl::Status EndWindow();

  std::unique_ptr<AtomicFile> file_;
  const int64_t rows_per_window_;
  std::vector<std::string> rows_;  // of the current window
};

// Immutable and thread-safe once open.
class LogProbsFile {
 public:
  // Errors name the file and what is wrong with it. kFailedPrecondition when the model's vocabulary
  // is another than the file's.
  static absl::StatusOr<std::unique_ptr<LogProbsFile>> Open(const std::string& path,
                                                            const engine::Model& model);
  const Windows& windows() const { return windows_; }
  // The encoded rows of a window, checked against their checksum.
  absl::StatusOr<std::vector<std::span<const std::byte>>> Rows(int64_t window) const;

 private:
  explicit LogProbsFile(std::unique_ptr<MappedFile> file) : file_(std::move(file)) {}
  absl::Status Read(const engine::Model& model);
  absl::Status Damaged(absl::string_view what) const;

  std::unique_ptr<MappedFile> file_;
  Windows windows_;
  int64_t vocab_ = 0;
  std::vector<std::span<const std::byte>> blocks_;  // rows, by window
  std::vector<uint32_t> checksums_;                 // of blocks_
};

// The window size a file was made with, for choosing the context before its model is loaded.
absl::StatusOr<int64_t> WindowSizeOf(const std::string& path);

}  // namespace bantam::eval
