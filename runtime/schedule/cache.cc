#include "runtime/schedule/cache.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "runtime/base/atomic_file.h"

namespace bantam::schedule {
namespace {

using nlohmann::json;

// To be raised when kernels or the measuring change.
constexpr int kVersion = 3;

std::string PathIn(const std::string& folder) { return folder + "/devices.json"; }

}  // namespace

std::string CacheFolder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return absl::StrCat(cache, "/bantam");
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return absl::StrCat(home, "/.cache/bantam");
  }
  return "";
}

json ReadCache(const std::string& folder) {
  if (folder.empty()) return json::object();
  std::ifstream in(PathIn(folder));
  json cache = json::parse(in, nullptr, /*allow_exceptions=*/false);
  return cache.is_object() ? cache : json::object();
}

void WriteCache(const std::string& folder, const json& cache) {
  if (folder.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  auto file = AtomicFile::Create(PathIn(folder));
  if (!file.ok()) return;
  const std::string text =
      cache.dump(2, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace) + "\n";
  if (!(*file)->Append(std::as_bytes(std::span(text))).ok()) return;
  (*file)->Commit().IgnoreError();
}

std::string CacheKey(const std::string& name, const std::string& description,
                     const std::string& what) {
  return absl::StrCat(name, "; ", description, "; ", what, "; ", BANTAM_VERSION, ".", kVersion);
}

}  // namespace bantam::schedule
