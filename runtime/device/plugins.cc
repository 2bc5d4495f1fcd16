// Plug-ins: finding the folder and opening what is in it.

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <set>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/device/registry.h"

namespace bantam::device {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kPrefix = "bantam_backend_";
constexpr absl::string_view kSuffix = ".so";

bool IsPluginName(absl::string_view name) {
  return name.size() > kPrefix.size() + kSuffix.size() && absl::StartsWith(name, kPrefix) &&
         absl::EndsWith(name, kSuffix);
}

// Empty when all went well, else the problem. A plug-in that registered stays open for good: its
// code is behind the backend's virtual functions.
std::string OpenPlugin(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    const std::string message = why != nullptr ? why : "cannot be opened";
    return absl::StrContains(message, path) ? message : absl::StrCat(path, ": ", message);
  }
  std::string problem;
  auto abi = reinterpret_cast<int (*)()>(dlsym(library, kPluginAbiSymbol));
  auto register_backend = reinterpret_cast<void (*)()>(dlsym(library, kPluginRegisterSymbol));
  if (abi == nullptr || register_backend == nullptr) {
    problem = absl::StrCat(path, ": not a Bantam plug-in: it lacks the symbol ",
                           abi == nullptr ? kPluginAbiSymbol : kPluginRegisterSymbol);
  } else if (const int version = abi(); version != kPluginAbi) {
    problem = absl::StrCat(path, ": built for plug-in ABI ", version, ", but this Bantam has ABI ",
                           kPluginAbi, "; install the plug-in of the same release");
  }
  if (!problem.empty()) {
    dlclose(library);
    return problem;
  }
  register_backend();
  return "";
}

}  // namespace

std::vector<std::string> LoadPlugins(const std::string& folder) {
  // Held while plug-ins register, so that no second caller returns before they have.
  static std::mutex mutex;
  static auto* tried = new std::set<std::string>;
  std::lock_guard lock(mutex);

  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error == std::errc::no_such_file_or_directory) return {};
  std::vector<std::string> paths;
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    if (IsPluginName(entries->path().filename().string())) {
      paths.push_back(entries->path().string());
    }
  }
  std::vector<std::string> problems;
  if (error) {
    problems.push_back(absl::StrCat(folder, ": cannot look for plug-ins: ", error.message()));
  }
  std::sort(paths.begin(), paths.end());  // the file system's order is arbitrary
  for (const std::string& path : paths) {
    const fs::path real = fs::weakly_canonical(path, error);
    if (!tried->insert(error ? path : real.string()).second) continue;
    // A bare name would be searched for in the system's library folders.
    std::string problem = OpenPlugin(fs::absolute(path, error).string());
    if (!problem.empty()) problems.push_back(std::move(problem));
  }
  return problems;
}

std::string DefaultPluginFolder() {
  if (const char* folder = std::getenv("BANTAM_PLUGIN_PATH")) return folder;
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&DefaultPluginFolder), &info) == 0 ||
      info.dli_fname == nullptr) {
    return "";
  }
  std::error_code error;
  const fs::path library = fs::absolute(info.dli_fname, error);
  return error ? "" : (library.parent_path() / "bantam").string();
}

}  // namespace bantam::device
