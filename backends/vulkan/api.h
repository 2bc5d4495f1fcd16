// Vulkan-Hpp as this backend uses it: results instead of exceptions, owning handles, and functions
// found at run time, for nothing links against a loader that may not be there.
//
// For files that call Vulkan. What only names a handle or holds what a driver said (dispatch.h,
// traits.h) uses the types of C, to which those of C++ convert, and compiles in a tenth of the
// time.
#pragma once

#define VK_NO_PROTOTYPES
#define VULKAN_HPP_NO_EXCEPTIONS
#define VULKAN_HPP_DISPATCH_LOADER_DYNAMIC 1
#define VULKAN_HPP_ENABLE_DYNAMIC_LOADER_TOOL 0
// Each GPU has a table of functions of its own, which every call is given.
#define VULKAN_HPP_NO_DEFAULT_DISPATCHER
// What fails is told by its result, in debug builds too.
#define VULKAN_HPP_ASSERT(condition) static_cast<void>(0)
#define VULKAN_HPP_ASSERT_ON_RESULT(condition) static_cast<void>(0)
// Structures are aggregates, for designated initializers.
#define VULKAN_HPP_NO_CONSTRUCTORS
#define VULKAN_HPP_NO_SETTERS
#define VULKAN_HPP_NO_TO_STRING
#include <utility>
#include <vulkan/vulkan.hpp>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "backends/vulkan/cooperative_matrix.h"

namespace bantam::vulkan {

#if VK_HEADER_VERSION >= 301
using Dispatcher = vk::detail::DispatchLoaderDynamic;
#else
using Dispatcher = vk::DispatchLoaderDynamic;
#endif

// Owns an object, which it destroys by a function of the dispatcher that made it.
template <typename Object>
using Unique = vk::UniqueHandle<Object, Dispatcher>;

// OK for success; kResourceExhausted when memory is out, kUnavailable when the device is lost, else
// kInternal. `what` says what was being done.
absl::Status ToStatus(vk::Result result, absl::string_view what);

// Moves what was made to `to`, unless making it failed.
template <typename Made, typename To>
absl::Status Take(vk::ResultValue<Made>&& made, To& to, absl::string_view what) {
  if (made.result != vk::Result::eSuccess) {
    // What a driver leaves there when it fails is not to be destroyed.
    if constexpr (requires { made.value.release(); }) made.value.release();
    return ToStatus(made.result, what);
  }
  to = std::move(made.value);
  return absl::OkStatus();
}

}  // namespace bantam::vulkan
