/* Usage: example_c MODEL PROMPT. Tokenizes the prompt and generates 8 tokens, the most likely one
 * each time. */
#include <bantam/bantam.h>
#include <stdio.h>
#include <stdlib.h>

static int Print(const char* text, size_t length, int32_t token, void* user_data) {
  /* A program for people would print the text; the tokens are easier to compare. */
  (void)text, (void)length, (void)user_data;
  if (token != BANTAM_NO_TOKEN) printf(" %d", (int)token);
  return 0; /* go on */
}

static void Check(bantam_code code, bantam_error* error) {
  if (code == BANTAM_OK) return;
  fprintf(stderr, "example_c: %s\n", bantam_error_message(error));
  exit(1);
}

int main(int argc, char** argv) {
  bantam_error* error = NULL;
  bantam_model* model = NULL;
  bantam_session* session = NULL;
  bantam_sampler* sampler = NULL;
  int32_t* prompt = NULL;
  size_t i, count = 0;
  bantam_session_options session_options = BANTAM_SESSION_OPTIONS_INIT;
  bantam_sampler_options sampler_options = BANTAM_SAMPLER_OPTIONS_INIT;
  bantam_generate_options generate_options = BANTAM_GENERATE_OPTIONS_INIT;
  bantam_generate_result result = BANTAM_GENERATE_RESULT_INIT;

  if (argc != 3) {
    fprintf(stderr, "usage: example_c MODEL PROMPT\n");
    return 2;
  }
  session_options.context = 64;
  sampler_options.temperature = 0.0f;
  generate_options.max_tokens = 8;
  generate_options.callback = Print;

  Check(bantam_model_load(argv[1], NULL, &model, &error), error);
  Check(bantam_session_create(model, &session_options, &session, &error), error);
  Check(bantam_sampler_create(model, &sampler_options, &sampler, &error), error);
  Check(bantam_tokenize(model, argv[2], BANTAM_NUL_TERMINATED, BANTAM_ADD_SPECIAL, &prompt, &count,
                        &error),
        error);
  printf("prompt:");
  for (i = 0; i < count; ++i) printf(" %d", (int)prompt[i]);
  printf("\nanswer:");
  Check(bantam_generate(session, sampler, prompt, count, &generate_options, &result, &error),
        error);
  printf("\ngenerated %d tokens\n", (int)result.generated_tokens);

  bantam_free(prompt);
  bantam_sampler_free(sampler);
  bantam_session_free(session);
  bantam_model_free(model);
  return 0;
}
