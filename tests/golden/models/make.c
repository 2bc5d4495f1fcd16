// Writes what llama.cpp computes for a list of token ids; README.md says how to build it.
//
//   make MODEL.gguf IDS.i32 OUT.f32 PROMPT CONTEXT
//
// A language model: the logits of every token, the first PROMPT decoded as one batch, the others one
// by one. An encoder: the final embedding of each of the first PROMPT tokens, then the text's, pooled
// as the model says. KV cache in F32, flash attention off.
#include <stdio.h>
#include <stdlib.h>

#include "llama.h"

static void fail(const char* what) {
  fprintf(stderr, "make: %s\n", what);
  exit(1);
}

static struct llama_context* open_context(struct llama_model* model, int context, int encoder,
                                          int pooled) {
  struct llama_context_params params = llama_context_default_params();
  params.n_ctx = params.n_batch = params.n_ubatch = (uint32_t)context;
  params.n_threads = params.n_threads_batch = 1;
  params.type_k = params.type_v = GGML_TYPE_F32;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.embeddings = encoder;
  params.pooling_type = pooled ? LLAMA_POOLING_TYPE_UNSPECIFIED : LLAMA_POOLING_TYPE_NONE;
  struct llama_context* made = llama_init_from_model(model, params);
  if (made == NULL) fail("cannot make a context");
  return made;
}

static void decode(struct llama_context* context, const int* ids, int first, int count) {
  struct llama_batch batch = llama_batch_init(count, 0, 1);
  batch.n_tokens = count;
  for (int i = 0; i < count; ++i) {
    batch.token[i] = ids[first + i];
    batch.pos[i] = first + i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
  }
  if (llama_decode(context, batch) != 0) fail("cannot decode");
  llama_batch_free(batch);
}

int main(int argc, char** argv) {
  if (argc != 6) fail("expected MODEL IDS OUT PROMPT CONTEXT");
  const int prompt = atoi(argv[4]), size = atoi(argv[5]);
  static int ids[1 << 16];
  FILE* in = fopen(argv[2], "rb");
  const int count = in == NULL ? 0 : (int)fread(ids, sizeof(int), 1 << 16, in);
  FILE* out = fopen(argv[3], "wb");
  if (count < prompt || out == NULL) fail("cannot read the ids or write the result");
  llama_backend_init();
  struct llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == NULL) fail("cannot load the model");
  const int vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
  const int width = llama_model_n_embd(model);
  char architecture[64];
  llama_model_meta_val_str(model, "general.architecture", architecture, sizeof(architecture));
  char key[96], value[32];
  snprintf(key, sizeof(key), "%s.pooling_type", architecture);
  const int encoder = llama_model_meta_val_str(model, key, value, sizeof(value)) > 0;

  struct llama_context* context = open_context(model, size, encoder, 0);
  decode(context, ids, 0, prompt);
  for (int i = 0; i < prompt; ++i) {
    if (encoder) {
      fwrite(llama_get_embeddings_ith(context, i), sizeof(float), width, out);
    } else {
      fwrite(llama_get_logits_ith(context, i), sizeof(float), vocab, out);
    }
  }
  if (encoder) {
    struct llama_context* pooled = open_context(model, size, 1, 1);
    decode(pooled, ids, 0, prompt);
    fwrite(llama_get_embeddings_seq(pooled, 0), sizeof(float), width, out);
  } else {
    for (int i = prompt; i < count; ++i) {
      decode(context, ids, i, 1);
      fwrite(llama_get_logits_ith(context, 0), sizeof(float), vocab, out);
    }
  }
  return fclose(out) == 0 ? 0 : 1;
}
