// Usage: example_cpp MODEL PROMPT. The same as main.c, in C++.
#include <bantam/bantam.hpp>
#include <cstdio>
#include <string_view>

namespace {

int Fail(const bantam::Error& error) {
  std::fprintf(stderr, "example_cpp: %s\n", error.message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: example_cpp MODEL PROMPT\n");
    return 2;
  }
  const auto model = bantam::Model::Load(argv[1]);
  if (!model) return Fail(model.error());
  auto session_options = bantam::Session::DefaultOptions();
  session_options.context = 64;
  auto session = bantam::Session::Create(*model, session_options);
  if (!session) return Fail(session.error());
  auto sampler_options = bantam::Sampler::DefaultOptions();
  sampler_options.temperature = 0;
  auto sampler = bantam::Sampler::Create(*model, sampler_options);
  if (!sampler) return Fail(sampler.error());
  const auto prompt = model->Tokenize(argv[2]);
  if (!prompt) return Fail(prompt.error());

  std::printf("prompt:");
  for (int token : *prompt) std::printf(" %d", token);
  std::printf("\nanswer:");
  bantam::GenerateOptions options;
  options.max_tokens = 8;
  const auto result =
      session->Generate(*prompt, *sampler, options, [](std::string_view, int32_t token) {
        if (token != BANTAM_NO_TOKEN) std::printf(" %d", static_cast<int>(token));
        return true;
      });
  if (!result) return Fail(result.error());
  std::printf("\ngenerated %d tokens\n", static_cast<int>(result->generated_tokens));
  return 0;
}
