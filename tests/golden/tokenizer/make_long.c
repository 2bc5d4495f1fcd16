// What llama.cpp makes of a long text: "name, tokens, FNV-1a of the ids" for long.txt, and on the
// error output the shortest of some times; README.md says how to build it.
//
//   make_long TEXT RUNS VOCABULARY.gguf...
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "llama.h"

static void quiet(enum ggml_log_level level, const char* text, void* data) {
  (void)level, (void)text, (void)data;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char** argv) {
  if (argc < 4) return 1;
  FILE* in = fopen(argv[1], "rb");
  static char text[1 << 21];
  const size_t size = in == NULL ? 0 : fread(text, 1, sizeof(text), in);
  int32_t* ids = malloc(sizeof(int32_t) * (size + 8));
  llama_log_set(quiet, NULL);
  llama_backend_init();
  for (int i = 3; i < argc; ++i) {
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = 1;
    struct llama_model* model = llama_model_load_from_file(argv[i], params);
    if (model == NULL) return 1;
    const struct llama_vocab* vocab = llama_model_get_vocab(model);
    double best = 1e9;
    int count = 0;
    for (int run = 0; run < atoi(argv[2]); ++run) {
      const double start = now();
      count = llama_tokenize(vocab, text, (int32_t)size, ids, (int32_t)size + 8, 0, 0);
      if (now() - start < best) best = now() - start;
    }
    uint64_t hash = 0xCBF29CE484222325u;
    for (int k = 0; k < 4 * count; ++k) hash = (hash ^ ((uint8_t*)ids)[k]) * 0x100000001B3u;
    const char* name = strstr(argv[i], "ggml-vocab-");
    name = name == NULL ? "smollm2" : name + strlen("ggml-vocab-");
    printf("%.*s %d %016llx\n", (int)strcspn(name, "."), name, count, (unsigned long long)hash);
    fprintf(stderr, "%.*s: %.1f MB/s\n", (int)strcspn(name, "."), name, 1e-6 * (double)size / best);
    llama_model_free(model);
  }
  return 0;
}
