// bantam inspect: what is in a model file.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "frontends/cli/command.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/printable.h"
#include "runtime/gguf/file.h"

namespace bantam::cli {
namespace {

using gguf::MetaArray;
using gguf::MetaType;
using gguf::MetaValue;
using nlohmann::json;

constexpr size_t kMaxText = 100;    // bytes of a string that are shown
constexpr size_t kMaxElements = 8;  // of an array
constexpr size_t kMaxElementText = 24;

constexpr char kFooter[] =
    "Text output is for people and may change. --json prints one object with everything: 'file', "
    "'parts', 'version', 'alignment', 'file_bytes', 'parameters', 'tensor_bytes', "
    "'bits_per_weight', 'metadata' (key -> type, value), 'tensors' (in file order; shape innermost "
    "first; offset of the data in its part) and 'types' (totals). Numbers JSON cannot hold are the "
    "strings \"NaN\", \"Infinity\" and \"-Infinity\"; bytes that are not UTF-8 become U+FFFD.";

// Standard output, checked: a full disk is an error, a reader that has seen enough is not.
class Output {
 public:
  // A pipe's end would otherwise kill the program within a write.
  Output() : old_handler_(std::signal(SIGPIPE, SIG_IGN)) {}
  ~Output() { std::signal(SIGPIPE, old_handler_); }

  void Print(absl::string_view text) {
    if (error_ == 0 && std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) {
      error_ = errno;
    }
  }
  bool failed() const { return error_ != 0; }
  int Finish() {
    if (error_ == 0 && std::fflush(stdout) != 0) error_ = errno;
    if (error_ == 0 || error_ == EPIPE) return kOk;
    return Fail(absl::ErrnoToStatus(error_, "cannot write the output"));
  }

 private:
  void (*old_handler_)(int);
  int error_ = 0;
};

struct TypeTotal {
  int64_t tensors = 0;
  uint64_t parameters = 0;
  uint64_t bytes = 0;
};

struct Totals {
  std::map<quant::Type, TypeTotal> types;
  TypeTotal all;

  explicit Totals(const gguf::File& file) {
    for (const gguf::TensorInfo& tensor : file.tensors()) {
      for (TypeTotal* total : {&types[tensor.type], &all}) {
        ++total->tensors;
        total->parameters += static_cast<uint64_t>(tensor.elements());
        total->bytes += tensor.data.size();
      }
    }
  }
};

double BitsPerWeight(const TypeTotal& total) {
  return total.parameters == 0
             ? 0
             : 8.0 * static_cast<double>(total.bytes) / static_cast<double>(total.parameters);
}

// The shortest decimal text that reads back as the same float.
template <typename T>
std::string Shortest(T value) {
  std::array<char, 32> text;
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

template <typename T>
json FloatToJson(T value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  // 0.1f is 0.1 and not 0.10000000149011612.
  const std::string text = Shortest(value);
  double shortest = 0;
  std::from_chars(text.data(), text.data() + text.size(), shortest);
  return shortest;
}

// Element i of any array.
MetaValue Element(const MetaArray& array, uint64_t i) {
  if (array.element == MetaType::kString) return array.strings[i];
  if (array.element == MetaType::kArray) return array.arrays[i];
  return array.At(i);
}

json ToJson(const MetaValue& value) {
  return std::visit(
      [](const auto& v) -> json {
        using V = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<V, std::shared_ptr<const MetaArray>>) {
          json array = json::array();
          for (uint64_t i = 0; i < v->count; ++i) array.push_back(ToJson(Element(*v, i)));
          return array;
        } else if constexpr (std::is_same_v<V, absl::string_view>) {
          return std::string(v);
        } else if constexpr (std::is_floating_point_v<V>) {
          return FloatToJson(v);
        } else {
          return v;
        }
      },
      value);
}

std::string TypeText(const MetaValue& value) {
  const auto* array = std::get_if<std::shared_ptr<const MetaArray>>(&value);
  if (array == nullptr) return std::string(gguf::MetaTypeName(gguf::TypeOf(value)));
  return absl::StrCat(gguf::MetaTypeName((*array)->element), "[", (*array)->count, "]");
}

std::string Text(const MetaValue& value, size_t max_text) {
  return std::visit(
      [max_text](const auto& v) -> std::string {
        using V = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<V, std::shared_ptr<const MetaArray>>) {
          std::string text = "[";
          for (uint64_t i = 0; i < std::min<uint64_t>(v->count, kMaxElements); ++i) {
            absl::StrAppend(&text, i == 0 ? "" : ", ", Text(Element(*v, i), kMaxElementText));
          }
          return absl::StrCat(text, v->count > kMaxElements ? ", ...]" : "]");
        } else if constexpr (std::is_same_v<V, absl::string_view>) {
          return absl::StrCat("\"", Printable(v, max_text), "\"");
        } else if constexpr (std::is_same_v<V, bool>) {
          return v ? "true" : "false";
        } else if constexpr (std::is_floating_point_v<V>) {
          return Shortest(v);
        } else {
          return absl::StrCat(v);
        }
      },
      value);
}

std::string ShapeText(const gguf::TensorInfo& tensor) {
  return absl::StrCat(
      "[", absl::StrJoin(tensor.shape.begin(), tensor.shape.begin() + tensor.n_dims, ", "), "]");
}

// "134.5 M": as people name model sizes.
std::string CountText(uint64_t count) {
  static constexpr std::array<const char*, 5> kUnits = {"", " K", " M", " B", " T"};
  double value = static_cast<double>(count);
  size_t unit = 0;
  while (value >= 999.95 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? absl::StrCat(count) : absl::StrFormat("%.1f%s", value, kUnits[unit]);
}

// Pads to a number of columns; names are nearly always ASCII, for which bytes are columns.
std::string Padded(absl::string_view text, size_t width) {
  std::string padded(text);
  if (padded.size() < width) padded.resize(width, ' ');
  return padded;
}

void PrintText(const gguf::File& file, Output& out) {
  const Totals totals(file);
  const bool split = file.part_count() > 1;
  out.Print(absl::StrFormat("%s\n", Printable(file.path(), 4096)));
  out.Print(absl::StrFormat("  GGUF version %d, %s (%d bytes)%s, alignment %d\n", file.version(),
                            FormatByteSize(file.file_bytes()), file.file_bytes(),
                            split ? absl::StrCat(" in ", file.part_count(), " parts") : "",
                            file.alignment()));
  out.Print(absl::StrFormat(
      "  %s%s parameters in %d tensors, %s, %.2f bits per weight\n",
      file.GetString("general.architecture").ok()
          ? absl::StrCat("architecture ", Printable(*file.GetString("general.architecture")), ", ")
          : "",
      CountText(totals.all.parameters), totals.all.tensors, FormatByteSize(totals.all.bytes),
      BitsPerWeight(totals.all)));
  if (split) {
    out.Print("\nParts\n");
    for (int i = 0; i < file.part_count(); ++i) {
      out.Print(absl::StrFormat("  %d  %s\n", i + 1, Printable(file.part_paths()[i], 4096)));
    }
  }

  out.Print(absl::StrFormat("\nMetadata: %d keys\n", file.metadata().size()));
  size_t key_width = 0, type_width = 0;
  for (const gguf::KeyValue& kv : file.metadata()) {
    key_width = std::min<size_t>(std::max(key_width, kv.key.size()), 48);
    type_width = std::max(type_width, TypeText(kv.value).size());
  }
  for (const gguf::KeyValue& kv : file.metadata()) {
    if (out.failed()) return;
    out.Print(absl::StrFormat("  %s  %s  %s\n", Padded(Printable(kv.key), key_width),
                              Padded(TypeText(kv.value), type_width), Text(kv.value, kMaxText)));
  }

  out.Print(absl::StrFormat("\nTensors: %d%s\n", file.tensors().size(),
                            file.tensors().empty() ? "" : " (shape innermost first)"));
  size_t name_width = 0, shape_width = 0;
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    name_width = std::min<size_t>(std::max(name_width, tensor.name.size()), 48);
    shape_width = std::max(shape_width, ShapeText(tensor).size());
  }
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    if (out.failed()) return;
    out.Print(absl::StrFormat("  %s  %-7s  %s  %10s  at %d%s\n",
                              Padded(Printable(tensor.name), name_width), quant::Name(tensor.type),
                              Padded(ShapeText(tensor), shape_width),
                              FormatByteSize(tensor.data.size()), tensor.offset,
                              split ? absl::StrCat(" of part ", tensor.part + 1) : ""));
  }

  if (totals.types.empty()) return;
  out.Print("\nTypes\n");
  for (const auto& [type, total] : totals.types) {
    out.Print(absl::StrFormat(
        "  %-7s  %5d tensors  %9s parameters  %10s  %5.1f %%\n", quant::Name(type), total.tensors,
        CountText(total.parameters), FormatByteSize(total.bytes),
        100.0 * static_cast<double>(total.bytes) / static_cast<double>(totals.all.bytes)));
  }
}

// One line per key and per tensor, so that a diff of two outputs can be read. Printed piece by
// piece: a json of the whole would take many times the file's metadata.
void PrintJson(const gguf::File& file, Output& out) {
  const Totals totals(file);
  const auto dump = [](const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
  };
  const auto text = [&](absl::string_view value) { return dump(std::string(value)); };
  const char* separator = "";
  const auto line = [&](const std::string& contents) {
    out.Print(absl::StrCat(separator, "\n  ", contents));
    separator = ",";
  };
  out.Print("{");
  line(absl::StrCat("\"file\": ", text(file.path())));
  line(absl::StrCat("\"parts\": ", dump(file.part_paths())));
  line(absl::StrCat("\"version\": ", file.version()));
  line(absl::StrCat("\"alignment\": ", file.alignment()));
  line(absl::StrCat("\"file_bytes\": ", file.file_bytes()));
  line(absl::StrCat("\"parameters\": ", totals.all.parameters));
  line(absl::StrCat("\"tensor_bytes\": ", totals.all.bytes));
  line(absl::StrCat("\"bits_per_weight\": ", dump(BitsPerWeight(totals.all))));
  line("\"metadata\": {");
  separator = "";
  for (const gguf::KeyValue& kv : file.metadata()) {
    if (out.failed()) return;
    const std::string type(gguf::MetaTypeName(gguf::TypeOf(kv.value)));
    const auto* array = std::get_if<std::shared_ptr<const MetaArray>>(&kv.value);
    const std::string element =
        array == nullptr
            ? ""
            : absl::StrCat(", \"element_type\": ", text(gguf::MetaTypeName((*array)->element)));
    line(absl::StrCat("  ", text(kv.key), ": {\"type\": ", text(type), element,
                      ", \"value\": ", dump(ToJson(kv.value)), "}"));
  }
  out.Print("\n  }");
  separator = ",";
  line("\"tensors\": [");
  separator = "";
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    if (out.failed()) return;
    line(absl::StrCat("  {\"name\": ", text(tensor.name), ", \"type\": ",
                      text(quant::Name(tensor.type)), ", \"shape\": ", ShapeText(tensor),
                      ", \"parameters\": ", tensor.elements(), ", \"bytes\": ", tensor.data.size(),
                      ", \"part\": ", tensor.part + 1, ", \"offset\": ", tensor.offset, "}"));
  }
  out.Print("\n  ]");
  separator = ",";
  line("\"types\": {");
  separator = "";
  for (const auto& [type, total] : totals.types) {
    line(absl::StrCat("  ", text(quant::Name(type)), ": {\"tensors\": ", total.tensors,
                      ", \"parameters\": ", total.parameters, ", \"bytes\": ", total.bytes, "}"));
  }
  out.Print("\n  }\n}\n");
}

}  // namespace

int InspectMain(int argc, char** argv) {
  CLI::App app("Shows what is in a GGUF model file: metadata, tensors, types and sizes.",
               argc > 0 ? argv[0] : "bantam inspect");
  app.footer(kFooter);
  std::string path;
  bool as_json = false;
  app.add_option("-m,--model,FILE", path, "The model; of a split model, any part")->required();
  app.add_flag("--json", as_json, "Print everything as JSON");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  const auto file = gguf::File::Open(path);
  if (!file.ok()) return Fail(file.status());
  Output out;
  as_json ? PrintJson(**file, out) : PrintText(**file, out);
  return out.Finish();
}

}  // namespace bantam::cli
