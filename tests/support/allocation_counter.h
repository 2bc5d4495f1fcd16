// Counts every heap allocation of a test program. Replaces operator new, so it is to be included in
// one source file of a program only (each test is one file).
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace bantam::testing {
inline std::atomic<int64_t> allocation_count{0};
inline std::atomic<int64_t> allocated_bytes{0};
}  // namespace bantam::testing

// Not inlined: the compiler would otherwise pair malloc with a delete it can see and warn.
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  bantam::testing::allocation_count.fetch_add(1, std::memory_order_relaxed);
  bantam::testing::allocated_bytes.fetch_add(static_cast<int64_t>(size), std::memory_order_relaxed);
  return std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void* operator new(size_t size) {
  if (void* p = operator new(size, std::nothrow)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
