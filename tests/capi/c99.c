/* The header in plain C99, with every macro in it. */
#include "bantam/bantam.h"

int main(void) {
  bantam_model_options model_options = BANTAM_MODEL_OPTIONS_INIT;
  bantam_model_info info = BANTAM_MODEL_INFO_INIT;
  bantam_session_options session_options = BANTAM_SESSION_OPTIONS_INIT;
  bantam_memory_use memory = BANTAM_MEMORY_USE_INIT;
  bantam_sampler_options sampler_options = BANTAM_SAMPLER_OPTIONS_INIT;
  bantam_generate_options generate_options = BANTAM_GENERATE_OPTIONS_INIT;
  bantam_generate_result result = BANTAM_GENERATE_RESULT_INIT;
  bantam_model* model = NULL;
  bantam_error* error = NULL;
  const int sizes_are_set =
      model_options.size == sizeof(model_options) && info.size == sizeof(info) &&
      session_options.size == sizeof(session_options) && memory.size == sizeof(memory) &&
      sampler_options.size == sizeof(sampler_options) &&
      generate_options.size == sizeof(generate_options) && result.size == sizeof(result);
  const int refused = bantam_model_load("/nonexistent/model.gguf", &model_options, &model,
                                        &error) == BANTAM_NOT_FOUND &&
                      model == NULL && bantam_error_code(error) == BANTAM_NOT_FOUND &&
                      bantam_error_message(error)[0] != '\0';
  bantam_error_free(error);
  return sizes_are_set && refused && bantam_version()[0] != '\0' ? 0 : 1;
}
