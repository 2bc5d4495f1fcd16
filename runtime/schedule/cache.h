// The file in which measured speeds are kept between runs.
#pragma once

#include <string>

#include "nlohmann/json.hpp"

namespace bantam::schedule {

// $XDG_CACHE_HOME/bantam, else ~/.cache/bantam; "" where neither is known.
std::string CacheFolder();

// `folder`/devices.json. It is a cache: one that is damaged is as good as none, and that it cannot
// be written is no error. With "" for a folder nothing is kept.
nlohmann::json ReadCache(const std::string& folder);
void WriteCache(const std::string& folder, const nlohmann::json& cache);

// A name for what of `device` was measured, which a change of its driver, of its threads or of the
// kernels makes another.
std::string CacheKey(const std::string& name, const std::string& description,
                     const std::string& what);

}  // namespace bantam::schedule
