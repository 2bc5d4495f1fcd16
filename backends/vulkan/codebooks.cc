#include "backends/vulkan/codebooks.h"

#include "runtime/quant/codebooks.h"

namespace bantam::vulkan {

std::vector<uint32_t> CodebookWords() {
  std::vector<uint32_t> words(4);
  for (int i = 0; i < 16; ++i) {
    words[i / 4] |= static_cast<uint32_t>(quant::LevelIQ4(i) & 0xFF) << 8 * (i % 4);
  }
  struct Book {
    uint16_t (*code)(int index);
    int points;
  };
  const Book books[] = {{quant::CodeIQ2_XXS, 256}, {quant::CodeIQ2_XS, 512},
                        {quant::CodeIQ2_S, 1024},  {quant::CodeIQ3_XXS, 256},
                        {quant::CodeIQ3_S, 512},   {quant::CodeIQ1, 2048}};
  for (const Book& book : books) {
    for (int i = 0; i < book.points; i += 2) {
      words.push_back(book.code(i) | static_cast<uint32_t>(book.code(i + 1)) << 16);
    }
  }
  return words;
}

}  // namespace bantam::vulkan
