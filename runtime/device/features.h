// What a device has and what of it is used, for people.
#pragma once

#include <string>
#include <vector>

namespace bantam::device {

// A Device may also be this; `bantam devices -v` asks by dynamic_cast.
class HasFeatures {
 public:
  virtual ~HasFeatures() = default;
  // A line for each optional ability of the hardware or driver, and whether it is used.
  virtual std::vector<std::string> features() const = 0;
};

}  // namespace bantam::device
