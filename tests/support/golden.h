// Reading golden files of plain numbers.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

namespace bantam::testing {

// The whole file as values of T. Fails the test when it cannot be read.
template <typename T>
std::vector<T> ReadGolden(const std::string& name) {
  const std::string path = std::string(BANTAM_GOLDEN_DIR) + "/" + name;
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  EXPECT_TRUE(in.good()) << "cannot read " << path;
  if (!in.good()) return {};
  std::vector<T> values(static_cast<size_t>(in.tellg()) / sizeof(T));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(values.data()),
          static_cast<std::streamsize>(values.size() * sizeof(T)));
  return values;
}

}  // namespace bantam::testing
