#include "runtime/gguf/foreign.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "runtime/base/printable.h"

namespace bantam::gguf {
namespace {

using absl::string_view;
using namespace std::string_view_literals;

constexpr char kConvert[] =
    "; convert the model with llama.cpp's convert_hf_to_gguf.py or download a GGUF version of it";

struct Signature {
  std::string_view bytes;
  size_t offset;
  const char* what;
  const char* advice;
};

constexpr Signature kSignatures[] = {
    {"version https://git-lfs"sv, 0, "is a Git LFS pointer, not the model itself",
     "; fetch the model with 'git lfs pull'"},
    {"PK\x03\x04"sv, 0, "is a ZIP archive, as PyTorch writes its checkpoints", kConvert},
    {"\x89HDF\r\n"sv, 0, "is an HDF5 file, as Keras writes its models", kConvert},
    {"TFL3"sv, 4, "is a TensorFlow Lite model", kConvert},
    {"\x93NUMPY"sv, 0, "is a NumPy array", kConvert},
    {"\x1f\x8b"sv, 0, "is compressed (gzip)", "; unpack it first"},
    {"\x28\xb5\x2f\xfd"sv, 0, "is compressed (zstd)", "; unpack it first"},
    {"\xfd"
     "7zXZ"sv,
     0, "is compressed (xz)", "; unpack it first"},
    {"BZh"sv, 0, "is compressed (bzip2)", "; unpack it first"},
    {"7z\xbc\xaf\x27\x1c"sv, 0, "is a 7-Zip archive", "; unpack it first"},
    {"ustar"sv, 257, "is a tar archive", "; unpack it first"},
    {"\x7f"
     "ELF"sv,
     0, "is a program, not a model", "; a llamafile holds a GGUF file that 'unzip' extracts"},
    {"MZ"sv, 0, "is a program, not a model",
     "; a llamafile holds a GGUF file that 'unzip' extracts"},
};

// Files of the formats before GGUF start with one of these as a little-endian number, so that the
// letters stand reversed in the file.
struct OldMagic {
  string_view name;
  const char* what;
};
constexpr OldMagic kOldMagics[] = {
    {"ggml", "is an old GGML model (magic 'ggml', also used by whisper.cpp)"},
    {"ggmf", "is an old GGML model (magic 'ggmf')"},
    {"ggjt", "is an old GGML model (magic 'ggjt')"},
    {"ggla", "is an old GGML LoRA adapter (magic 'ggla')"},
    {"ggsn", "is a saved llama.cpp session (magic 'ggsn'), not a model"},
    {"ggsq", "is a saved llama.cpp sequence (magic 'ggsq'), not a model"},
};

bool HasAt(string_view text, string_view bytes, size_t offset) {
  return text.size() >= offset + bytes.size() && text.substr(offset, bytes.size()) == bytes;
}

// An unsigned little-endian header length, then JSON.
bool IsSafetensors(string_view text) {
  if (text.size() < 10 || text[8] != '{') return false;
  uint64_t header;
  std::memcpy(&header, text.data(), sizeof(header));
  return header >= 2 && header <= text.size() - 8;
}

// A protobuf that starts with ir_version (field 1) and producer_name (field 2).
bool IsOnnx(string_view text) {
  return text.size() > 4 && text[0] == 8 && text[1] > 0 && text[1] < 32 && text[2] == 0x12 &&
         static_cast<size_t>(text[3]) < text.size() - 4 && absl::ascii_isprint(text[4]);
}

bool IsPickle(string_view text) {
  return text.size() > 2 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5;
}

// Looks at the first `length` bytes.
bool IsText(string_view text, size_t length) {
  // A character cut at the end of what is looked at doesn't count against it.
  const size_t max_cut = length < text.size() ? 3 : 0;
  for (size_t cut = 0; cut <= max_cut && cut < length; ++cut) {
    std::string start(text.substr(0, length - cut));
    std::replace_if(
        start.begin(), start.end(), [](char c) { return absl::ascii_isspace(c); }, ' ');
    if (IsPlainText(start)) return true;
  }
  return false;
}

const char* OldFormat(string_view text) {
  if (text.size() < 4) return nullptr;
  for (const OldMagic& old : kOldMagics) {
    const string_view start = text.substr(0, 4);
    if (start == old.name || std::equal(start.begin(), start.end(), old.name.rbegin())) {
      return old.what;
    }
  }
  return nullptr;
}

// "is ...; do ...", or "" when nothing is recognised.
std::string Recognise(string_view text) {
  const string_view start = text.substr(0, 512);
  if (start.empty()) return "is empty";
  if (const char* old = OldFormat(text)) {
    return absl::StrCat(old, "; that format was replaced by GGUF in August 2023: download a GGUF ",
                        "version of the model or convert the original again");
  }
  if (HasAt(text, "FUGG", 0)) {
    return "is a big-endian GGUF file (magic 'FUGG'); Bantam reads little-endian files: download "
           "one or convert this one with gguf-convert-endian from the Python package gguf";
  }
  for (const Signature& s : kSignatures) {
    const string_view bytes(s.bytes.data(), s.bytes.size());
    if (HasAt(text, bytes, s.offset)) return absl::StrCat(s.what, s.advice);
  }
  if (IsSafetensors(text)) return absl::StrCat("is a safetensors file", kConvert);
  if (IsPickle(text)) return absl::StrCat("is a Python pickle, as old PyTorch writes", kConvert);
  if (IsOnnx(text)) return absl::StrCat("seems to be an ONNX model", kConvert);
  if (std::all_of(start.begin(), start.end(), [](char c) { return c == 0; })) {
    return "starts with zeros, as an unfinished download does; download it again";
  }
  string_view page = start;
  absl::ConsumePrefix(&page, "\xef\xbb\xbf");
  page = absl::StripLeadingAsciiWhitespace(page);
  if (absl::StartsWithIgnoreCase(page, "<!doctype html") ||
      absl::StartsWithIgnoreCase(page, "<html")) {
    return "is a web page (HTML), probably of a failed download; download the model again";
  }
  if (absl::StartsWithIgnoreCase(page, "<?xml")) {
    return "is an XML document, probably of a failed download; download the model again";
  }
  if (IsText(text, start.size())) {
    return absl::StrCat("is a text file, not a model: it starts with '", Printable(start, 40), "'");
  }
  return "";
}

}  // namespace

absl::Status ExplainForeign(std::span<const std::byte> bytes) {
  const string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::string message = Recognise(text);
  if (message.empty()) {
    message =
        absl::StrCat("is not a GGUF file: it starts with the bytes ",
                     absl::BytesToHexString(text.substr(0, 4)), " in place of 47475546 ('GGUF')");
  }
  return absl::InvalidArgumentError(message);
}

}  // namespace bantam::gguf
