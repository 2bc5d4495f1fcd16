#include "backends/cuda/gpu.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "absl/strings/str_cat.h"
#include "backends/cuda/settings.h"
#include "runtime/base/status.h"

namespace bantam::cuda {

absl::StatusOr<std::shared_ptr<Gpu>> Gpu::Open(int device, const driver::DeviceInfo& info) {
  static std::mutex mutex;
  static auto* const open = new std::map<int, std::weak_ptr<Gpu>>;
  std::lock_guard lock(mutex);
  std::weak_ptr<Gpu>& known = (*open)[device];
  if (std::shared_ptr<Gpu> gpu = known.lock()) {
    BANTAM_RETURN_IF_ERROR(gpu->Use());
    return gpu;
  }
  std::shared_ptr<Gpu> gpu(new Gpu(device, info));
  BANTAM_RETURN_IF_ERROR(gpu->Use());
  // Copies must work when memory is short, so what they need comes first.
  BANTAM_RETURN_IF_ERROR(gpu->Prepare());
  known = gpu;
  return gpu;
}

Gpu::~Gpu() {
  if (lost_) {
    // A handle must not be used on the context to come, and cannot be on this one.
    for (auto& [names, known] : blas_) static_cast<void>(known.blas.release());
    driver::Reset(device_);  // and with it all that there was
    return;
  }
  if (!driver::SetDevice(device_).ok()) return;
  blas_.clear();
  for (Piece& piece : pieces_) {
    if (piece.done != nullptr) driver::FreeEvent(piece.done);
    if (piece.memory != nullptr) driver::FreeHost(piece.memory);
  }
  if (copies_ != nullptr) driver::FreeStream(copies_);
}

absl::Status Gpu::Prepare() {
  BANTAM_ASSIGN_OR_RETURN(copies_, driver::NewStream());
  for (Piece& piece : pieces_) {
    BANTAM_ASSIGN_OR_RETURN(void* const memory, driver::MallocHost(kPieceBytes));
    piece.memory = static_cast<std::byte*>(memory);
    BANTAM_ASSIGN_OR_RETURN(piece.done, driver::NewEvent());
  }
  return absl::OkStatus();
}

absl::Status Gpu::Note(absl::Status status) const {
  if (absl::IsUnavailable(status)) lost_ = true;
  return status;
}

absl::Status Gpu::Use() const {
  if (lost_) return absl::UnavailableError("the CUDA device is lost; load the model again");
  return Note(driver::SetDevice(device_));
}

absl::StatusOr<BlasUse> Gpu::UseBlas(const std::string& library) {
  if (library == kNoCublas) return BlasUse{nullptr, "own kernels, as BANTAM_CUDA_CUBLAS is 0"};
  BANTAM_RETURN_IF_ERROR(Use());
  std::lock_guard lock(blas_mutex_);
  const std::vector<std::string> names =
      library.empty() ? driver::CublasNames() : std::vector{library};
  // What was found stays so, as memory was predicted by it.
  const auto known = blas_.find(names);
  if (known != blas_.end() && (library.empty() || known->second.blas != nullptr)) {
    return BlasUse{known->second.blas.get(), known->second.what};
  }
  auto opened = Blas::Open(names, info_.capability);
  KnownBlas found;
  if (opened.ok()) {
    found = {*std::move(opened), ""};
    found.what = found.blas->name();
  } else if (library.empty() && absl::IsNotFound(opened.status())) {
    found.what = absl::StrCat("own kernels: ", opened.status().message());
  } else {
    return Note(library.empty() ? opened.status()
                                : Annotate(opened.status(), "BANTAM_CUDA_CUBLAS"));
  }
  const KnownBlas& made = blas_.insert_or_assign(names, std::move(found)).first->second;
  return BlasUse{made.blas.get(), made.what};
}

absl::StatusOr<void*> Gpu::Allocate(uint64_t bytes) {
  BANTAM_RETURN_IF_ERROR(Use());
  auto memory = driver::Malloc(bytes);
  if (!memory.ok()) return Note(memory.status());
  std::lock_guard lock(copy_mutex_);
  absl::Status status = driver::Fill(*memory, 0, bytes, copies_);
  status.Update(driver::Synchronize(copies_));
  if (status.ok()) return memory;
  driver::Free(*memory);
  return Note(status);
}

void Gpu::Free(void* memory) {
  if (memory != nullptr && driver::SetDevice(device_).ok()) driver::Free(memory);
}

absl::Status Gpu::CopyIn(void* to, std::span<const std::byte> data) {
  BANTAM_RETURN_IF_ERROR(Use());
  std::lock_guard lock(copy_mutex_);
  auto* at = static_cast<std::byte*>(to);
  for (int used = 0; !data.empty();) {
    if (const auto pinned = RegisteredFrom(data.data()); !pinned.empty()) {
      const uint64_t count = std::min(data.size(), pinned.size());
      BANTAM_RETURN_IF_ERROR(Note(driver::CopyToDevice(at, data.data(), count, copies_)));
      data = data.subspan(count);
      at += count;
      continue;
    }
    Piece& piece = pieces_[used % kPieces];
    if (used >= kPieces) BANTAM_RETURN_IF_ERROR(Note(driver::Wait(piece.done)));
    ++used;
    // Up to where registered memory begins.
    const auto next = registered_.upper_bound(data.data());
    const uint64_t before =
        next == registered_.end() ? data.size() : static_cast<uint64_t>(next->first - data.data());
    const uint64_t count = std::min({static_cast<uint64_t>(data.size()), kPieceBytes, before});
    std::memcpy(piece.memory, data.data(), count);
    BANTAM_RETURN_IF_ERROR(Note(driver::CopyToDevice(at, piece.memory, count, copies_)));
    BANTAM_RETURN_IF_ERROR(Note(driver::Record(piece.done, copies_)));
    data = data.subspan(count);
    at += count;
  }
  return Note(driver::Synchronize(copies_));
}

absl::Status Gpu::CopyOut(const void* from, std::span<std::byte> data) {
  BANTAM_RETURN_IF_ERROR(Use());
  std::lock_guard lock(copy_mutex_);
  const auto* at = static_cast<const std::byte*>(from);
  const uint64_t pieces = (data.size() + kPieceBytes - 1) / kPieceBytes;
  auto part = [&](uint64_t i) {
    return data.subspan(i * kPieceBytes, std::min(kPieceBytes, data.size() - i * kPieceBytes));
  };
  // Piece i is emptied once kPieces - 1 more are on their way.
  for (uint64_t i = 0; i < pieces + kPieces - 1; ++i) {
    if (i < pieces) {
      Piece& piece = pieces_[i % kPieces];
      BANTAM_RETURN_IF_ERROR(
          Note(driver::CopyToHost(piece.memory, at + i * kPieceBytes, part(i).size(), copies_)));
      BANTAM_RETURN_IF_ERROR(Note(driver::Record(piece.done, copies_)));
    }
    if (i + 1 < kPieces) continue;
    const uint64_t ready = i + 1 - kPieces;
    if (ready >= pieces) continue;
    Piece& piece = pieces_[ready % kPieces];
    BANTAM_RETURN_IF_ERROR(Note(driver::Wait(piece.done)));
    std::memcpy(part(ready).data(), piece.memory, part(ready).size());
  }
  return absl::OkStatus();
}

absl::Status Gpu::CopyFrom(void* to, const Gpu& other, const void* from, uint64_t bytes) {
  BANTAM_RETURN_IF_ERROR(other.Use());
  BANTAM_RETURN_IF_ERROR(Use());
  std::lock_guard lock(copy_mutex_);
  if (&other != this && peers_.insert(other.device_).second) driver::ReachPeer(other.device_);
  BANTAM_RETURN_IF_ERROR(
      Note(driver::CopyBetween(to, device_, from, other.device_, bytes, copies_)));
  return Note(driver::Synchronize(copies_));
}

namespace {

// Whole pages, as registering takes them.
std::span<const std::byte> PagesWithin(std::span<const std::byte> data) {
  constexpr uint64_t kPage = 4096;
  const auto begin = reinterpret_cast<uintptr_t>(data.data()), end = begin + data.size();
  const uintptr_t first = (begin + kPage - 1) / kPage * kPage, last = end / kPage * kPage;
  if (first >= last) return {};
  return data.subspan(first - begin, last - first);
}

}  // namespace

std::span<const std::byte> Gpu::RegisteredFrom(const std::byte* at) const {
  auto found = registered_.upper_bound(at);
  if (found == registered_.begin()) return {};
  --found;
  return at < found->second ? std::span(at, found->second) : std::span<const std::byte>();
}

absl::Status Gpu::Register(std::span<const std::byte> data) {
  const std::span<const std::byte> pages = PagesWithin(data);
  BANTAM_RETURN_IF_ERROR(Use());
  if (pages.empty()) return absl::OkStatus();
  std::lock_guard lock(copy_mutex_);
  const auto next = registered_.lower_bound(pages.data());
  if (!RegisteredFrom(pages.data()).empty() ||
      (next != registered_.end() && next->first < pages.data() + pages.size())) {
    return absl::AlreadyExistsError("host memory that is registered already");
  }
  BANTAM_RETURN_IF_ERROR(Note(driver::RegisterHost(pages.data(), pages.size())));
  registered_[pages.data()] = pages.data() + pages.size();
  return absl::OkStatus();
}

void Gpu::Unregister(std::span<const std::byte> data) {
  const std::span<const std::byte> pages = PagesWithin(data);
  std::lock_guard lock(copy_mutex_);
  if (registered_.erase(pages.data()) == 0 || lost_ || !driver::SetDevice(device_).ok()) return;
  driver::UnregisterHost(pages.data());
}

}  // namespace bantam::cuda
