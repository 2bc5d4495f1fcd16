/*
 * Bantam runs large language models (GGUF files) on the computer you own. This is its C interface;
 * bantam.hpp wraps it for C++.
 *
 * Errors. A function that can fail returns a bantam_code and takes `error`, which may be NULL. It
 * sets *error to NULL on success, and on failure to an object with the code and a one-line message,
 * which the caller frees with bantam_error_free. A failed call sets its other outputs to NULL or 0
 * and leaves the handles it was given usable. A NULL where a pointer is required, or a number out
 * of range, is BANTAM_INVALID_ARGUMENT. Functions without a bantam_code take NULL handles and
 * return what their comment says. Nothing is thrown and nothing aborts the program; memory running
 * out is BANTAM_RESOURCE_EXHAUSTED.
 *
 * Ownership. Whatever a function hands out as `char**` or `int32_t**` is the caller's, freed with
 * bantam_free; text is UTF-8, NUL-terminated, and its length, without the NUL, is stored too unless
 * `length` is NULL. What it hands out as `const T**` stays the handle's. Each handle has a _free
 * function that accepts NULL. Handles may be freed in any order: a session or decoder keeps its
 * model alive.
 *
 * Threads. A model never changes once loaded: any threads may use it at the same time. A session, a
 * sampler or a decoder is used by one thread at a time; different ones may run at the same time,
 * also on one model. Callbacks run on the thread that made the call and must not use the session or
 * the sampler of that call. After fork, only the parent may go on using handles.
 *
 * Growth. Structures that may grow begin with their own size: start from the matching _INIT macro.
 * A program built against an older bantam.h runs with a newer library.
 *
 * Sizes are in bytes, times in seconds. Tokens are ids in the model's vocabulary, 0 to
 * vocab_size - 1; BANTAM_NO_TOKEN stands for none.
 */
#ifndef BANTAM_BANTAM_H_
#define BANTAM_BANTAM_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define BANTAM_API __attribute__((visibility("default")))
#else
#define BANTAM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The library's version, "0.1.0". */
BANTAM_API const char* bantam_version(void);

/* ---- Errors ---- */

/* The canonical codes of Google APIs, by number. */
typedef enum bantam_code {
  BANTAM_OK = 0,
  BANTAM_CANCELLED = 1,
  BANTAM_UNKNOWN = 2,
  BANTAM_INVALID_ARGUMENT = 3,    /* the file or an argument is wrong; the message says how */
  BANTAM_NOT_FOUND = 5,           /* no such file, key or device */
  BANTAM_PERMISSION_DENIED = 7,   /* the file may not be read */
  BANTAM_RESOURCE_EXHAUSTED = 8,  /* memory, or room in the context */
  BANTAM_FAILED_PRECONDITION = 9, /* not possible in this state, or with this model */
  BANTAM_OUT_OF_RANGE = 11,       /* an index past the end */
  BANTAM_UNIMPLEMENTED = 12,      /* an architecture, type or construct not supported yet */
  BANTAM_INTERNAL = 13,           /* a defect in Bantam */
  BANTAM_UNAVAILABLE = 14,        /* a device or driver does not answer */
  BANTAM_DATA_LOSS = 15           /* the model file is damaged */
} bantam_code;

typedef struct bantam_error bantam_error;

/* BANTAM_OK when `error` is NULL. */
BANTAM_API bantam_code bantam_error_code(const bantam_error* error);
/* One line without a newline at its end; valid until the error is freed. "" when `error` is NULL.
 */
BANTAM_API const char* bantam_error_message(const bantam_error* error);
BANTAM_API void bantam_error_free(bantam_error* error);

/* "INVALID_ARGUMENT"; "" for a number that is no code. */
BANTAM_API const char* bantam_code_name(bantam_code code);

/* Frees text and arrays that Bantam handed out. NULL is fine. */
BANTAM_API void bantam_free(void* memory);

/* ---- Models ---- */

typedef struct bantam_model bantam_model;

typedef struct bantam_model_options {
  size_t size;
  /* Which device computes: "cpu", "vulkan:0", ...; NULL or "auto" chooses. */
  const char* device;
  /* CPU threads; 0: one for each core the process may use. */
  int32_t threads;
  /* Called now and then while loading with the share done, 0 to 1. May be NULL. */
  void (*progress)(double share, void* user_data);
  void* user_data;
  /* Not 0: the CPU uses weights where they lie in the mapped file, which other processes share and
   * the system can drop, though it reads them faster rearranged in memory of its own. */
  int32_t no_repack;
} bantam_model_options;
/* clang-format off */
#define BANTAM_MODEL_OPTIONS_INIT {sizeof(bantam_model_options), NULL, 0, NULL, NULL, 0}
/* clang-format on */

/* Opens a GGUF file; of a split model, any part. `options` may be NULL. */
BANTAM_API bantam_code bantam_model_load(const char* path, const bantam_model_options* options,
                                         bantam_model** model, bantam_error** error);
BANTAM_API void bantam_model_free(bantam_model* model);

#define BANTAM_NO_TOKEN (-1)

typedef struct bantam_model_info {
  size_t size;
  const char* architecture; /* "llama"; these three live as long as the model */
  const char* name;         /* "" when the file gives none */
  const char* device;       /* the device it was loaded on */
  int64_t vocab_size;
  int64_t context_length; /* tokens the model was trained for */
  int64_t embedding_length;
  int64_t block_count;
  int64_t head_count;
  int64_t head_count_kv;
  uint64_t parameter_count; /* elements of all tensors */
  uint64_t file_bytes;      /* all parts */
  uint64_t weight_bytes;    /* of the tensors in use */
  uint64_t mapped_bytes;    /* how many of those stay in the mapped file */
  int32_t bos_token;        /* beginning of text; BANTAM_NO_TOKEN when there is none */
  int32_t eos_token;        /* end of text */
  int32_t eot_token;        /* end of a turn */
  int32_t has_chat_template;
} bantam_model_info;
/* clang-format off */
#define BANTAM_MODEL_INFO_INIT \
  {sizeof(bantam_model_info), NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
/* clang-format on */

BANTAM_API bantam_code bantam_model_get_info(const bantam_model* model, bantam_model_info* info,
                                             bantam_error** error);

/* The file's metadata. 0 when `model` is NULL. */
BANTAM_API size_t bantam_model_metadata_count(const bantam_model* model);
/* The key at `index`, in the order of the file. */
BANTAM_API bantam_code bantam_model_metadata_key(const bantam_model* model, size_t index,
                                                 char** key, size_t* length, bantam_error** error);
/* A value as text: a string as it is, a number or a bool written out, an array as JSON.
 * BANTAM_NOT_FOUND when there is no such key. */
BANTAM_API bantam_code bantam_model_metadata_value(const bantam_model* model, const char* key,
                                                   char** text, size_t* length,
                                                   bantam_error** error);

/* ---- Text and tokens ---- */

/* As a length: the text ends at its NUL. */
#define BANTAM_NUL_TERMINATED ((size_t)-1)

enum {
  BANTAM_ADD_SPECIAL = 1,  /* put BOS and EOS where the model wants them */
  BANTAM_PARSE_SPECIAL = 2 /* <|im_start|> in the text is that token, not its letters */
};

/* `text` may hold any bytes; NULL only with length 0. `flags`: a sum of the above. `tokens` is the
 * caller's to free also when *count is 0. */
BANTAM_API bantam_code bantam_tokenize(const bantam_model* model, const char* text, size_t length,
                                       uint32_t flags, int32_t** tokens, size_t* count,
                                       bantam_error** error);

/* The text of `count` tokens. Control tokens such as <|im_start|> show only when `render_special`
 * is not 0. A byte sequence that is not UTF-8 is handed out as it is. */
BANTAM_API bantam_code bantam_detokenize(const bantam_model* model, const int32_t* tokens,
                                         size_t count, int render_special, char** text,
                                         size_t* length, bantam_error** error);

/* The bytes of one token: possibly a part of a character. BANTAM_OUT_OF_RANGE when the vocabulary
 * has no such token. */
BANTAM_API bantam_code bantam_token_bytes(const bantam_model* model, int32_t token,
                                          int render_special, char** bytes, size_t* length,
                                          bantam_error** error);

/* 1 when `token` ends an answer, else 0; 0 when `model` is NULL. */
BANTAM_API int bantam_token_is_end(const bantam_model* model, int32_t token);

/* Turns a stream of tokens into a stream of whole UTF-8 characters. */
typedef struct bantam_decoder bantam_decoder;
BANTAM_API bantam_code bantam_decoder_create(const bantam_model* model, int render_special,
                                             bantam_decoder** decoder, bantam_error** error);
BANTAM_API void bantam_decoder_free(bantam_decoder* decoder);
/* The characters that `token` completed, possibly none. *text is NUL-terminated and valid until the
 * next call with this decoder. */
BANTAM_API bantam_code bantam_decoder_push(bantam_decoder* decoder, int32_t token,
                                           const char** text, size_t* length, bantam_error** error);
/* What is left at the end: U+FFFD when a character is unfinished, else nothing. */
BANTAM_API bantam_code bantam_decoder_finish(bantam_decoder* decoder, const char** text,
                                             size_t* length, bantam_error** error);

typedef struct bantam_chat_message {
  const char* role; /* "system", "user", "assistant" */
  const char* content;
} bantam_chat_message;

/* A conversation as the text the model was trained on, by the chat template in its file. Tokenize
 * it with BANTAM_PARSE_SPECIAL, and without BANTAM_ADD_SPECIAL, as the template writes BOS itself.
 * `add_generation_prompt` not 0: the text ends where the assistant's answer begins.
 * BANTAM_FAILED_PRECONDITION when the file has no template or the template refuses the
 * conversation, BANTAM_UNIMPLEMENTED when it uses something unsupported. */
BANTAM_API bantam_code bantam_format_chat(const bantam_model* model,
                                          const bantam_chat_message* messages, size_t count,
                                          int add_generation_prompt, char** text, size_t* length,
                                          bantam_error** error);

/* ---- Sessions: one text being read and continued ---- */

typedef struct bantam_session bantam_session;

/* Element types of the KV cache. */
enum { BANTAM_KV_F16 = 0, BANTAM_KV_F32 = 1, BANTAM_KV_Q8_0 = 2, BANTAM_KV_Q4_0 = 3 };

typedef struct bantam_session_options {
  size_t size;
  int64_t context; /* tokens the KV cache has room for; 0: what the model was trained for */
  int64_t ubatch;  /* most tokens computed in one step; 0: the default, 512 */
  int32_t kv_type;
  /* Speculative decoding in bantam_generate: most tokens guessed ahead; 0: none, at most 64. The
   * tokens generated are the same with and without. */
  int64_t draft_tokens;
  /* What guesses: a smaller model of the same vocabulary; NULL: what followed the same tokens
   * before. */
  const bantam_model* draft_model;
} bantam_session_options;
/* clang-format off */
#define BANTAM_SESSION_OPTIONS_INIT {sizeof(bantam_session_options), 0, 0, BANTAM_KV_F16, 0, NULL}
/* clang-format on */

/* Allocates everything the session will need. `options` may be NULL. BANTAM_INVALID_ARGUMENT for a
 * context the model cannot have, BANTAM_RESOURCE_EXHAUSTED when memory does not suffice. */
BANTAM_API bantam_code bantam_session_create(const bantam_model* model,
                                             const bantam_session_options* options,
                                             bantam_session** session, bantam_error** error);
BANTAM_API void bantam_session_free(bantam_session* session);

/* Which logits a decode computes. */
typedef enum bantam_logits {
  BANTAM_LOGITS_NONE = 0,
  BANTAM_LOGITS_LAST = 1, /* of the last token: row 0 */
  BANTAM_LOGITS_ALL = 2   /* of every token: as many rows, at most ubatch */
} bantam_logits;

/* Appends tokens to the text. Invalid tokens (BANTAM_INVALID_ARGUMENT) and a full context
 * (BANTAM_RESOURCE_EXHAUSTED) leave the session as it was. No tokens: nothing happens. */
BANTAM_API bantam_code bantam_session_decode(bantam_session* session, const int32_t* tokens,
                                             size_t count, bantam_logits logits,
                                             bantam_error** error);

/* One row of the last decode's logits: vocab_size numbers, before softmax. Valid until the session
 * is next decoded, truncated or freed. BANTAM_OUT_OF_RANGE when that row was not computed. */
BANTAM_API bantam_code bantam_session_logits(const bantam_session* session, size_t row,
                                             const float** logits, size_t* count,
                                             bantam_error** error);

/* Tokens in the text so far, the most it may have, and the most in one step. 0 for NULL. */
BANTAM_API int64_t bantam_session_position(const bantam_session* session);
BANTAM_API int64_t bantam_session_context(const bantam_session* session);
BANTAM_API int64_t bantam_session_ubatch(const bantam_session* session);

/* Forgets the tokens from `position` on; 0 starts a new text. BANTAM_OUT_OF_RANGE when the text is
 * not that long. */
BANTAM_API bantam_code bantam_session_truncate(bantam_session* session, int64_t position,
                                               bantam_error** error);

/* Takes `count` tokens out of the text, from `begin` on; what follows is computed again, as if they
 * had never been there. BANTAM_OUT_OF_RANGE past the end. */
BANTAM_API bantam_code bantam_session_drop(bantam_session* session, int64_t begin, int64_t count,
                                           bantam_error** error);

/* Writes the text and its KV cache to a file, with a note of any bytes that restoring gives back
 * (NULL with length 0: none). A failure leaves what the file was. */
BANTAM_API bantam_code bantam_session_save(const bantam_session* session, const char* path,
                                           const char* note, size_t length, bantam_error** error);
/* Replaces the session's text by a saved one. BANTAM_FAILED_PRECONDITION when it was saved with
 * another model or KV type, BANTAM_DATA_LOSS when the file is damaged, BANTAM_RESOURCE_EXHAUSTED
 * when the context is too small; the session is unchanged then. *note is for bantam_free; `note`
 * and `length` may be NULL. There are no logits until the next decode. */
BANTAM_API bantam_code bantam_session_restore(bantam_session* session, const char* path,
                                              char** note, size_t* length, bantam_error** error);

typedef struct bantam_memory_use {
  size_t size;
  uint64_t weights; /* of the model, shared by its sessions */
  uint64_t kv_cache;
  uint64_t compute; /* intermediate values and inputs */
} bantam_memory_use;
/* clang-format off */
#define BANTAM_MEMORY_USE_INIT {sizeof(bantam_memory_use), 0, 0, 0}
/* clang-format on */

BANTAM_API bantam_code bantam_session_get_memory(const bantam_session* session,
                                                 bantam_memory_use* memory, bantam_error** error);

/* ---- Samplers: choosing the next token ---- */

typedef struct bantam_sampler bantam_sampler;

typedef struct bantam_logit_bias {
  int32_t token;
  float bias; /* added to the logit; -INFINITY: never */
} bantam_logit_bias;

typedef struct bantam_sampler_options {
  size_t size;
  float temperature;                   /* 0: always the most likely token */
  int32_t top_k;                       /* 0: off */
  float top_p;                         /* 1: off */
  float min_p;                         /* 0: off */
  float typical_p;                     /* 1: off */
  float repeat_penalty;                /* 1: off */
  float frequency_penalty;             /* 0: off */
  float presence_penalty;              /* 0: off */
  int32_t penalty_last_n;              /* tokens the penalties look back on; -1: all, 0: none */
  uint64_t seed;                       /* the same seed, options and logits give the same tokens */
  const bantam_logit_bias* logit_bias; /* copied */
  size_t logit_bias_count;
  /* DRY: a token that makes the text's end a copy of n tokens longer loses
   * multiplier * base^(n - allowed_length). */
  float dry_multiplier; /* 0: off */
  float dry_base;
  int32_t dry_allowed_length;
  int32_t dry_last_n;          /* tokens looked back on; -1: all */
  const int32_t* dry_breakers; /* tokens that copies do not reach over; copied */
  size_t dry_breaker_count;
  /* XTC: with this probability, of the tokens that have `threshold` only the unlikeliest stays. */
  float xtc_probability; /* 0: off */
  float xtc_threshold;
  /* Mirostat 2.0 in place of top-k, top-p, min-p, typical and XTC. */
  int32_t mirostat;   /* 0: off, 2: on */
  float mirostat_tau; /* mean surprise aimed at, in bits */
  float mirostat_eta; /* learning rate */
} bantam_sampler_options;
/* clang-format off */
#define BANTAM_SAMPLER_OPTIONS_INIT \
  {sizeof(bantam_sampler_options), 0.8f, 40, 0.95f, 0.05f, 1.0f, 1.0f, 0.0f, 0.0f, 64, 0, \
   NULL, 0, 0.0f, 1.75f, 2, -1, NULL, 0, 0.0f, 0.1f, 0, 5.0f, 0.1f}
/* clang-format on */

/* A sampler for this model's vocabulary. `options` may be NULL. */
BANTAM_API bantam_code bantam_sampler_create(const bantam_model* model,
                                             const bantam_sampler_options* options,
                                             bantam_sampler** sampler, bantam_error** error);
BANTAM_API void bantam_sampler_free(bantam_sampler* sampler);

/* From now on only tokens that a grammar allows are picked; the text of the grammar begins with the
 * next token. GBNF, or a JSON schema (BANTAM_UNIMPLEMENTED names what is not supported).
 * `length` may be BANTAM_NUL_TERMINATED. Text of length 0: no grammar. */
BANTAM_API bantam_code bantam_sampler_set_grammar(bantam_sampler* sampler,
                                                  const bantam_model* model, const char* gbnf,
                                                  size_t length, bantam_error** error);
BANTAM_API bantam_code bantam_sampler_set_json_schema(bantam_sampler* sampler,
                                                      const bantam_model* model, const char* schema,
                                                      size_t length, bantam_error** error);

/* Picks a token from `count` logits, which must be vocab_size. BANTAM_FAILED_PRECONDITION when the
 * grammar allows none. */
BANTAM_API bantam_code bantam_sampler_sample(bantam_sampler* sampler, const float* logits,
                                             size_t count, int32_t* token, bantam_error** error);
/* Records a token of the text, of the prompt or chosen, for the penalties. The token that was
 * picked last also moves the grammar on. */
BANTAM_API bantam_code bantam_sampler_accept(bantam_sampler* sampler, int32_t token,
                                             bantam_error** error);
/* Forgets the text and starts the random numbers and the grammar again. NULL is fine. */
BANTAM_API void bantam_sampler_reset(bantam_sampler* sampler);

/* ---- Generating ---- */

/* Called for every generated token but the one that ends the answer, with the whole characters it
 * completed (possibly none: length 0), NUL-terminated and valid during the call. When the answer
 * ends within a character, one more call brings U+FFFD with BANTAM_NO_TOKEN. Return 0 to go on;
 * anything else stops. */
typedef int (*bantam_text_callback)(const char* text, size_t length, int32_t token,
                                    void* user_data);

typedef struct bantam_generate_options {
  size_t size;
  int64_t max_tokens;            /* 0: until the model ends its answer or the context is full */
  bantam_text_callback callback; /* may be NULL */
  void* user_data;
  int32_t render_special; /* not 0: control tokens show in the text */
  int64_t keep;           /* first tokens that a context shift never forgets */
  /* Not 0: when the context is full, forget the older half of the text and go on. */
  int32_t context_shift;
} bantam_generate_options;
/* clang-format off */
#define BANTAM_GENERATE_OPTIONS_INIT {sizeof(bantam_generate_options), 0, NULL, NULL, 0, 0, 0}
/* clang-format on */

typedef enum bantam_stop {
  BANTAM_STOP_END = 0,         /* the model ended its answer, or the grammar did */
  BANTAM_STOP_MAX_TOKENS = 1,  /* max_tokens were generated */
  BANTAM_STOP_CALLBACK = 2,    /* the callback asked for it */
  BANTAM_STOP_CONTEXT_FULL = 3 /* there is no room for another token */
} bantam_stop;

typedef struct bantam_generate_result {
  size_t size;
  bantam_stop stop;
  int64_t prompt_tokens;
  int64_t generated_tokens; /* without the one that ends the answer */
  double prompt_seconds;    /* reading the prompt */
  double generate_seconds;  /* everything after */
  int64_t drafted_tokens;   /* guessed ahead */
  int64_t accepted_tokens;  /* of these, those that were right */
} bantam_generate_result;
/* clang-format off */
#define BANTAM_GENERATE_RESULT_INIT \
  {sizeof(bantam_generate_result), BANTAM_STOP_END, 0, 0, 0.0, 0.0, 0, 0}
/* clang-format on */

/* Appends the prompt to the session's text, then generates. Without a prompt (count 0) it goes on
 * from the last decode or generate. The sampler is told of every token of the prompt and of the
 * answer. When it returns, the session's text holds both, the token that ended the answer included,
 * as far as the context had room: the next turn's prompt is what follows. `options` and `result`
 * may be NULL. BANTAM_RESOURCE_EXHAUSTED when the prompt does not fit, BANTAM_FAILED_PRECONDITION
 * when there is nothing to go on from. */
BANTAM_API bantam_code bantam_generate(bantam_session* session, bantam_sampler* sampler,
                                       const int32_t* prompt, size_t count,
                                       const bantam_generate_options* options,
                                       bantam_generate_result* result, bantam_error** error);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* BANTAM_BANTAM_H_ */
