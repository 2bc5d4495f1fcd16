// Writes the golden ids of one vocabulary, as llama.cpp computes them. Not part of the build;
// README.md says how to run it and how the file is laid out.
#include <llama.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE* out;

static void PutVarint(uint64_t v) {
  for (; v >= 0x80; v >>= 7) fputc((int)(v & 0x7F) | 0x80, out);
  fputc((int)v, out);
}

static uint64_t Fnv1a(uint64_t hash, const void* data, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    hash = (hash ^ ((const uint8_t*)data)[i]) * 0x100000001B3u;
  }
  return hash;
}

// A hash of the bytes of all tokens, each with its length before it.
static uint64_t HashPieces(const struct llama_vocab* vocab, bool special) {
  uint64_t hash = 0xCBF29CE484222325u;
  static char piece[1 << 16];
  for (int32_t id = 0; id < llama_vocab_n_tokens(vocab); ++id) {
    int32_t n = llama_token_to_piece(vocab, id, piece, sizeof piece - 1, 0, special);
    if (n < 0) abort();
    piece[n] = '\0';
    // A placeholder for characters that spell no byte; they stand for themselves.
    if (strstr(piece, "[UNK_BYTE_0x") != NULL) {
      n = snprintf(piece, sizeof piece, "%s", llama_vocab_get_text(vocab, id));
    }
    hash = Fnv1a(hash, &n, sizeof n);
    hash = Fnv1a(hash, piece, (size_t)n);
  }
  return hash;
}

static void PutIds(const struct llama_vocab* vocab, const char* text, uint32_t size, bool special) {
  const int32_t max = (int32_t)(4 * size + 16);
  llama_token* ids = malloc((size_t)max * sizeof *ids);
  const int32_t n = llama_tokenize(vocab, text, (int32_t)size, ids, max, special, special);
  if (n < 0) abort();
  PutVarint((uint64_t)n);
  for (int32_t i = 0; i < n; ++i) PutVarint((uint64_t)ids[i]);
  free(ids);
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: make VOCABULARY.gguf CORPUS OUT\n");
    return 1;
  }
  llama_backend_init();
  struct llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  struct llama_model* model = llama_model_load_from_file(argv[1], params);
  FILE* in = fopen(argv[2], "rb");
  out = fopen(argv[3], "wb");
  if (model == NULL || in == NULL || out == NULL) return 1;
  const struct llama_vocab* vocab = llama_model_get_vocab(model);

  const uint64_t hashes[2] = {HashPieces(vocab, false), HashPieces(vocab, true)};
  fwrite(hashes, sizeof hashes, 1, out);
  PutVarint((uint64_t)(llama_vocab_bos(vocab) + 1));
  PutVarint((uint64_t)(llama_vocab_eos(vocab) + 1));
  PutVarint(llama_vocab_get_add_bos(vocab));
  PutVarint(llama_vocab_get_add_eos(vocab));
  uint64_t ends = 0;
  const int32_t tokens = llama_vocab_n_tokens(vocab);
  for (int32_t id = 0; id < tokens; ++id) ends += llama_vocab_is_eog(vocab, id);
  PutVarint(ends);
  for (int32_t id = 0; id < tokens; ++id) {
    if (llama_vocab_is_eog(vocab, id)) PutVarint((uint64_t)id);
  }
  uint32_t size;
  while (fread(&size, sizeof size, 1, in) == 1) {
    char* text = malloc(size + 1);
    if (fread(text, 1, size, in) != size) return 1;
    PutIds(vocab, text, size, false);
    PutIds(vocab, text, size, true);
    free(text);
  }
  llama_model_free(model);
  return fclose(out) == 0 ? 0 : 1;
}
