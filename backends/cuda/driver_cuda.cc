// driver.h on the CUDA runtime, which is linked in and opens the driver itself.

#include <cuda_runtime.h>
#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
#endif

#include <type_traits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "backends/cuda/cublas_api.h"
#include "backends/cuda/driver.h"
#include "runtime/base/status.h"

namespace bantam::cuda::driver {
namespace {

#if __has_include(<cublas_v2.h>)
// What blas.cc takes for granted. All these enumerations are passed as int.
static_assert(CUBLAS_STATUS_SUCCESS == int{cublas::kSuccess});
static_assert(CUBLAS_STATUS_NOT_INITIALIZED == int{cublas::kNotInitialized});
static_assert(CUBLAS_STATUS_ALLOC_FAILED == int{cublas::kAllocFailed});
static_assert(CUBLAS_STATUS_INVALID_VALUE == int{cublas::kInvalidValue});
static_assert(CUBLAS_STATUS_EXECUTION_FAILED == int{cublas::kExecutionFailed});
static_assert(CUBLAS_STATUS_NOT_SUPPORTED == int{cublas::kNotSupported});
static_assert(CUBLAS_OP_N == int{cublas::kNone} && CUBLAS_OP_T == int{cublas::kTranspose});
static_assert(CUDA_R_32F == int{cublas::kF32} && CUDA_R_16F == int{cublas::kF16});
static_assert(CUDA_R_16BF == int{cublas::kBF16});
static_assert(CUBLAS_COMPUTE_32F == int{cublas::kCompute32F});
static_assert(CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION ==
              int{cublas::kDisallowReducedPrecisionReduction});
static_assert(CUBLAS_GEMM_DEFAULT == int{cublas::kDefaultAlgorithm});
// A function of the header has the parameters declared there, enumerations as int and pointers to
// the library's own types as pointers.
template <typename T>
struct PassedAs {
  using Type = std::conditional_t<std::is_enum_v<T>, int, T>;
};
template <>
struct PassedAs<cublasHandle_t> {
  using Type = cublas::Handle;
};
template <>
struct PassedAs<cublasHandle_t*> {
  using Type = cublas::Handle*;
};
template <>
struct PassedAs<cudaStream_t> {
  using Type = void*;
};
template <typename T>
using Passed = typename PassedAs<T>::Type;
template <typename Ours, typename R, typename... Params>
constexpr bool IsSame(R (*)(Params...)) {
  return std::is_same_v<Ours, Passed<R>(Passed<Params>...)>;
}
static_assert(IsSame<cublas::CreateFunction>(cublasCreate_v2));
static_assert(IsSame<cublas::DestroyFunction>(cublasDestroy_v2));
static_assert(IsSame<cublas::GetVersionFunction>(cublasGetVersion_v2));
static_assert(IsSame<cublas::SetMathModeFunction>(cublasSetMathMode));
static_assert(IsSame<cublas::SetStreamFunction>(cublasSetStream_v2));
static_assert(IsSame<cublas::SetWorkspaceFunction>(cublasSetWorkspace_v2));
static_assert(IsSame<cublas::GetStatusStringFunction>(cublasGetStatusString));
static_assert(IsSame<cublas::GemmFunction>(
    static_cast<cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int,
                                   int, const void*, const void*, cudaDataType, int, const void*,
                                   cudaDataType, int, const void*, void*, cudaDataType, int,
                                   cublasComputeType_t, cublasGemmAlgo_t)>(cublasGemmEx)));
#endif

absl::Status ToStatus(cudaError_t error, absl::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  const std::string message =
      absl::StrCat(what, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")");
  // An error that is not sticky is forgotten here, so that no later call reports it again. One that
  // is comes back at once.
  cudaGetLastError();
  switch (error) {
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(message);
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
      return absl::NotFoundError(message);
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorContained:
    case cudaErrorDevicesUnavailable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorUnknown:
      return absl::UnavailableError(absl::StrCat("the CUDA device is lost: ", message));
    default:
      return absl::InternalError(message);
  }
}

}  // namespace

absl::string_view BackendName() { return "cuda"; }

// Of the toolkit's own version first; the one before takes the same streams.
std::vector<std::string> CublasNames() {
  constexpr int kToolkit = CUDART_VERSION / 1000;
  return {absl::StrCat("libcublas.so.", kToolkit), absl::StrCat("libcublas.so.", kToolkit - 1)};
}

absl::StatusOr<int> DeviceCount() {
  int version = 0;
  if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0) {
    return absl::NotFoundError("no NVIDIA driver on this machine");
  }
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) {
    cudaGetLastError();
    return absl::NotFoundError(absl::StrCat(
        "the NVIDIA driver is for CUDA ", version / 1000, ".", version % 1000 / 10,
        "; this program needs ", CUDART_VERSION / 1000, ".", CUDART_VERSION % 1000 / 10));
  }
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    cudaGetLastError();
    return absl::NotFoundError("an NVIDIA driver, but no GPU it can use");
  }
  BANTAM_RETURN_IF_ERROR(ToStatus(error, "listing GPUs"));
  return count;
}

absl::StatusOr<DeviceInfo> Info(int device) {
  cudaDeviceProp properties;
  BANTAM_RETURN_IF_ERROR(ToStatus(cudaGetDeviceProperties(&properties, device), "asking a GPU"));
  int version = 0;
  BANTAM_RETURN_IF_ERROR(ToStatus(cudaDriverGetVersion(&version), "asking the driver"));
  DeviceInfo info;
  info.name = properties.name;
  info.hardware_id = absl::BytesToHexString(
      absl::string_view(properties.uuid.bytes, sizeof(properties.uuid.bytes)));
  info.capability = 10 * properties.major + properties.minor;
  info.driver = absl::StrCat("CUDA ", version / 1000, ".", version % 1000 / 10,
                             ", compute capability ", properties.major, ".", properties.minor);
  info.multiprocessors = properties.multiProcessorCount;
  info.is_integrated = properties.integrated != 0;
  info.memory = properties.totalGlobalMem;
  info.shared_bytes = properties.sharedMemPerBlockOptin;
  return info;
}

absl::Status SetDevice(int device) { return ToStatus(cudaSetDevice(device), "choosing a GPU"); }

void Reset(int device) {
  cudaSetDevice(device);  // whatever it says of the context that is to go
  cudaDeviceReset();
  cudaGetLastError();
}

absl::Status MemoryInfo(uint64_t& free, uint64_t& total) {
  size_t free_bytes = 0, total_bytes = 0;
  const absl::Status status =
      ToStatus(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for memory");
  free = free_bytes;
  total = total_bytes;
  return status;
}

absl::StatusOr<void*> Malloc(uint64_t bytes) {
  void* memory = nullptr;
  BANTAM_RETURN_IF_ERROR(
      ToStatus(cudaMalloc(&memory, bytes), absl::StrCat("allocating ", bytes, " bytes")));
  return memory;
}
void Free(void* memory) { cudaFree(memory); }

absl::StatusOr<void*> MallocHost(uint64_t bytes) {
  void* memory = nullptr;
  BANTAM_RETURN_IF_ERROR(
      ToStatus(cudaMallocHost(&memory, bytes), absl::StrCat("pinning ", bytes, " bytes")));
  return memory;
}
void FreeHost(void* memory) { cudaFreeHost(memory); }

absl::Status RegisterHost(const void* memory, uint64_t bytes) {
  // CUDA asks for memory it could write, but where it knows of reading only.
  void* const pages = const_cast<void*>(memory);
  cudaError_t error = cudaHostRegister(pages, bytes, cudaHostRegisterReadOnly);
  if (error == cudaErrorNotSupported || error == cudaErrorInvalidValue) {
    cudaGetLastError();
    error = cudaHostRegister(pages, bytes, cudaHostRegisterDefault);
  }
  return ToStatus(error, absl::StrCat("registering ", bytes, " bytes"));
}
void UnregisterHost(const void* memory) { cudaHostUnregister(const_cast<void*>(memory)); }

absl::StatusOr<Stream> NewStream() {
  cudaStream_t stream;
  BANTAM_RETURN_IF_ERROR(
      ToStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream"));
  return stream;
}
void FreeStream(Stream stream) { cudaStreamDestroy(static_cast<cudaStream_t>(stream)); }
absl::Status Synchronize(Stream stream) {
  return ToStatus(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "waiting for the GPU");
}

absl::StatusOr<Event> NewEvent() {
  cudaEvent_t event;
  BANTAM_RETURN_IF_ERROR(ToStatus(cudaEventCreate(&event), "making an event"));
  return event;
}
void FreeEvent(Event event) { cudaEventDestroy(static_cast<cudaEvent_t>(event)); }
absl::Status Record(Event event, Stream stream) {
  return ToStatus(
      cudaEventRecord(static_cast<cudaEvent_t>(event), static_cast<cudaStream_t>(stream)),
      "recording an event");
}
absl::Status Wait(Event event) {
  return ToStatus(cudaEventSynchronize(static_cast<cudaEvent_t>(event)), "waiting for the GPU");
}
absl::Status StreamWaits(Stream stream, Event event) {
  return ToStatus(
      cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), static_cast<cudaEvent_t>(event), 0),
      "waiting for an event");
}
absl::StatusOr<double> SecondsBetween(Event start, Event end) {
  float milliseconds = 0;
  BANTAM_RETURN_IF_ERROR(
      ToStatus(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(start),
                                    static_cast<cudaEvent_t>(end)),
               "timing"));
  return milliseconds * 1e-3;
}

absl::Status CopyToDevice(void* to, const void* from, uint64_t bytes, Stream stream) {
  return ToStatus(
      cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)),
      "copying to the GPU");
}
absl::Status CopyToHost(void* to, const void* from, uint64_t bytes, Stream stream) {
  return ToStatus(
      cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, static_cast<cudaStream_t>(stream)),
      "copying from the GPU");
}
absl::Status CopyBetween(void* to, int to_device, const void* from, int from_device, uint64_t bytes,
                         Stream stream) {
  return ToStatus(cudaMemcpyPeerAsync(to, to_device, from, from_device, bytes,
                                      static_cast<cudaStream_t>(stream)),
                  "copying between GPUs");
}
void ReachPeer(int device) {
  int self = 0, can = 0;
  if (cudaGetDevice(&self) == cudaSuccess &&
      cudaDeviceCanAccessPeer(&can, self, device) == cudaSuccess && can != 0) {
    cudaDeviceEnablePeerAccess(device, 0);
  }
  cudaGetLastError();  // reached already, or not at all
}
absl::Status Fill(void* to, int byte, uint64_t bytes, Stream stream) {
  return ToStatus(cudaMemsetAsync(to, byte, bytes, static_cast<cudaStream_t>(stream)), "filling");
}

absl::Status BeginCapture(Stream stream) {
  return ToStatus(
      cudaStreamBeginCapture(static_cast<cudaStream_t>(stream), cudaStreamCaptureModeRelaxed),
      "capturing a graph");
}
absl::StatusOr<GraphExec> EndCapture(Stream stream) {
  cudaGraph_t graph = nullptr;
  BANTAM_RETURN_IF_ERROR(ToStatus(cudaStreamEndCapture(static_cast<cudaStream_t>(stream), &graph),
                                  "capturing a graph"));
  cudaGraphExec_t exec = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphDestroy(graph);
  BANTAM_RETURN_IF_ERROR(ToStatus(error, "making a graph"));
  return exec;
}
absl::Status LaunchGraph(GraphExec graph, Stream stream) {
  return ToStatus(
      cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), static_cast<cudaStream_t>(stream)),
      "launching a graph");
}
void FreeGraph(GraphExec graph) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

absl::Status LaunchStatus() { return ToStatus(cudaGetLastError(), "launching a kernel"); }

}  // namespace bantam::cuda::driver
