// The time at which golden texts that show the date were made.
#pragma once

#include <ctime>

#include "nlohmann/json.hpp"

namespace bantam::chat {

// `now`: year, month, day, hour, minute, second.
inline std::tm FixedTime(const nlohmann::ordered_json& now) {
  std::tm time{};
  time.tm_year = now[0].get<int>() - 1900;
  time.tm_mon = now[1].get<int>() - 1;
  time.tm_mday = now[2].get<int>();
  time.tm_hour = now[3].get<int>();
  time.tm_min = now[4].get<int>();
  time.tm_sec = now[5].get<int>();
  std::mktime(&time);  // the day of the week and of the year
  return time;
}

}  // namespace bantam::chat
