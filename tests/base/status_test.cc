#include "runtime/base/status.h"

#include <gtest/gtest.h>

#include <memory>

namespace bantam {
namespace {

absl::Status ReturnIfError(const absl::Status& status, bool& reached) {
  BANTAM_RETURN_IF_ERROR(status);
  reached = true;
  return absl::OkStatus();
}

TEST(Status, ReturnIfError) {
  bool reached = false;
  EXPECT_TRUE(ReturnIfError(absl::OkStatus(), reached).ok());
  EXPECT_TRUE(reached);
  reached = false;
  EXPECT_EQ(ReturnIfError(absl::NotFoundError("gone"), reached), absl::NotFoundError("gone"));
  EXPECT_FALSE(reached);
}

absl::StatusOr<int> Sum(absl::StatusOr<std::unique_ptr<int>> a, absl::StatusOr<int> b) {
  BANTAM_ASSIGN_OR_RETURN(const std::unique_ptr<int> first, std::move(a));
  int second = 0;
  BANTAM_ASSIGN_OR_RETURN(second, b);
  return *first + second;
}

TEST(Status, AssignOrReturn) {
  EXPECT_EQ(*Sum(std::make_unique<int>(2), 3), 5);
  EXPECT_EQ(Sum(absl::InternalError("x"), 3).status(), absl::InternalError("x"));
  EXPECT_EQ(Sum(std::make_unique<int>(2), absl::AbortedError("y")).status(),
            absl::AbortedError("y"));
}

TEST(Status, AnnotateKeepsTheCode) {
  EXPECT_TRUE(Annotate(absl::OkStatus(), "file").ok());
  EXPECT_EQ(Annotate(absl::DataLossError("cut"), "m.gguf"), absl::DataLossError("m.gguf: cut"));
}

}  // namespace
}  // namespace bantam
