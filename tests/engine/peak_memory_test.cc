// Peak memory of a process that loads SmolLM2 and generates.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/engine/engine.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

struct Stated {
  bool ok = false;
  uint64_t file = 0, kv_cache = 0, compute = 0;
};

// In the child: everything a short answer needs, then what the session says it took.
Stated LoadAndGenerate(const std::string& path) {
  auto model = engine::Model::Load(path, {.device = "cpu"});
  if (!model.ok()) return {};
  auto session = engine::Session::Create(*model, {.context = 1024});
  if (!session.ok()) return {};
  const std::vector<int32_t> prompt(600, 100);
  if (!(*session)->Decode(prompt).ok()) return {};
  for (int32_t token = 200; token < 210; ++token) {
    if (!(*session)->Decode({&token, 1}).ok()) return {};
  }
  const engine::MemoryUse use = (*session)->memory();
  return {true, (*model)->file().file_bytes(), use.kv_cache, use.compute};
}

TEST(PeakMemory, IsFileAndCacheAndComputeBuffers) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory would be measured";
#endif
  const std::string path = testing::FetchedModel(testing::kSmolLm2);
  if (path.empty()) GTEST_SKIP() << "SmolLM2 is not fetched: run tests/models/fetch.sh";
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const Stated stated = LoadAndGenerate(path);
    const bool sent = write(pipe_ends[1], &stated, sizeof(stated)) == sizeof(stated);
    _exit(sent ? 0 : 1);
  }
  Stated stated;
  ASSERT_EQ(read(pipe_ends[0], &stated, sizeof(stated)), static_cast<ssize_t>(sizeof(stated)));
  int status = 0;
  struct rusage usage;
  ASSERT_EQ(wait4(child, &status, 0, &usage), child);
  ASSERT_TRUE(stated.ok);
  const uint64_t expected = stated.file + stated.kv_cache + stated.compute;
  const uint64_t peak = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  std::printf("peak %.1f MiB; file %.1f + KV cache %.1f + compute %.1f = %.1f MiB\n",
              peak / 1048576.0, stated.file / 1048576.0, stated.kv_cache / 1048576.0,
              stated.compute / 1048576.0, expected / 1048576.0);
  EXPECT_LE(peak, expected * 1.15);
}

}  // namespace
}  // namespace bantam
