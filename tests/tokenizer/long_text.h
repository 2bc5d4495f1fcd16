// A megabyte of text in many scripts, the same bytes every time.
#pragma once

#include <cstdint>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace bantam::tokenizer {

// Sentences as people write them in a dozen languages, code, and between them words of random
// letters of one script, numbers, punctuation, emoji sequences and runs of white space. All
// characters are older than Unicode 10, so that every library agrees on what they are.
class LongText {
 public:
  static std::string Make(size_t size = size_t{1} << 20) {
    LongText text;
    while (text.out_.size() < size) text.AddParagraph();
    text.out_.resize(size);
    // Not within a character.
    while ((text.out_.back() & 0x80) != 0) text.out_.pop_back();
    return text.out_;
  }

 private:
  struct Script {
    uint32_t first, last;  // letters
    bool has_spaces;
  };
  static constexpr Script kScripts[] = {
      {'a', 'z', true},         {'A', 'Z', true},        {0xE0, 0xF6, true},
      {0x3B1, 0x3C9, true},     {0x430, 0x44F, true},    {0x5D0, 0x5EA, true},
      {0x627, 0x63A, true},     {0x905, 0x939, true},    {0xE01, 0xE2E, false},
      {0x3041, 0x3093, false},  {0x30A1, 0x30F6, false}, {0x4E00, 0x9FA5, false},
      {0xAC00, 0xD7A3, true},   {0x10D0, 0x10F0, true},  {0x1401, 0x166C, true},
      {0x20000, 0x2A6D6, false}};
  static constexpr absl::string_view kSentences[] = {
      "The quick brown fox didn't jump over the lazy dog; it walked around him twice.",
      "We've measured 1,024 runs at 3.14159 ms each, and they're all slower than yesterday's.",
      "Le cœur a ses raisons que la raison ne connaît point, écrivait-il à l'été 1670.",
      "Übermäßig große Schiffe können den Fluß nicht hinauffahren, sagte der Kapitän.",
      "El pingüino comió jalapeños en el corazón de España mientras llovía.",
      "Съешь же ещё этих мягких французских булок, да выпей чаю.",
      "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία, είπε ο δάσκαλος στους μαθητές του.",
      "עטלף אבק נס דרך מזגן שהתפוצץ כי חם, והילדים צחקו כל הלילה.",
      "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر ومغلف بجلد أزرق.",
      "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले विष्णुवतार।",
      "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน",
      "いろはにほへと ちりぬるを、わが世誰ぞ常ならむ。有為の奥山今日越えて。",
      "天地玄黃,宇宙洪荒。日月盈昃,辰宿列張。寒來暑往,秋收冬藏。",
      "我们今天去了图书馆,借了三本关于计算机科学的书,然后在咖啡馆读了一个下午。",
      "다람쥐 헌 쳇바퀴에 타고파. 키스의 고유조건은 입술끼리 만나야 한다.",
      "Tiếng Việt có sáu thanh điệu, và người học thường thấy chúng rất khó.",
      "Pchnąć w tę łódź jeża lub ośm skrzyń fig, a potem żółwia i źdźbło trawy.",
      "Pijamalı hasta yağız şoföre çabucak güvendi, İstanbul'da ise kar yağıyordu.",
      "def main(argv):\n    for i, x in enumerate(argv[1:]):\n\t\tprint(f\"{i}: {x!r}\")\n",
      "if (a->next != nullptr && count_ <= 0xFF) { return std::move(b)[i++]; }  // TODO",
      "SELECT id, name FROM users WHERE age >= 18 AND email LIKE '%@example.org';",
      "{\"key\": [1, -2.5e10, null, true], \"text\": \"a\\n\\u00e9\"}",
      "https://www.example.com/path/to/file.html?q=one+two&lang=de#section-3",
      "👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ✨ ¯\\_(ツ)_/¯ →←↑↓ ∑∫√∞≠≤ €£¥ © ® ™ … – — "
      "“quoted” ‘so’",
  };
  static constexpr absl::string_view kEnds[] = {". ",   ", ",   "! ", "? ",   "; ", ": ",
                                                " - ",  "...",  "\n", "\n\n", "  ", "\t",
                                                " \n ", "    ", " (", ") "};

  // splitmix64
  uint64_t Random(uint64_t below) {
    uint64_t x = (state_ += 0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return (x ^ (x >> 31)) % below;
  }

  void AddCharacter(uint32_t c) {
    if (c < 0x80) {
      out_ += static_cast<char>(c);
      return;
    }
    const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    constexpr uint32_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
    out_ += static_cast<char>(kLead[more] | (c >> (6 * more)));
    for (int i = more - 1; i >= 0; --i) out_ += static_cast<char>(0x80 | ((c >> (6 * i)) & 0x3F));
  }

  void AddWords() {
    const Script& script = kScripts[Random(std::size(kScripts))];
    for (uint64_t words = 1 + Random(8); words > 0; --words) {
      for (uint64_t letters = 1 + Random(9); letters > 0; --letters) {
        AddCharacter(script.first + static_cast<uint32_t>(Random(script.last - script.first + 1)));
      }
      if (script.has_spaces) out_ += ' ';
    }
  }

  void AddParagraph() {
    for (uint64_t parts = 1 + Random(12); parts > 0; --parts) {
      const uint64_t kind = Random(10);
      if (kind < 6) {
        absl::StrAppend(&out_, kSentences[Random(std::size(kSentences))]);
      } else if (kind < 9) {
        AddWords();
      } else {
        out_ += std::to_string(Random(uint64_t{1} << (1 + Random(40))));
      }
      absl::StrAppend(&out_, kEnds[Random(std::size(kEnds))]);
    }
    out_ += "\n";
  }

  std::string out_;
  uint64_t state_ = 1;
};

}  // namespace bantam::tokenizer
