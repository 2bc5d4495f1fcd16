#include "runtime/model/architecture.h"

#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "runtime/base/status.h"

namespace bantam::model {
namespace {

// Filled by static initialisers in other files, so it must be made on first use.
std::map<std::string, Factory, std::less<>>& Registry() {
  static auto* registry = new std::map<std::string, Factory, std::less<>>;
  return *registry;
}

}  // namespace

Registration::Registration(absl::string_view name, Factory factory) {
  Registry().emplace(std::string(name), factory);
}

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  BANTAM_ASSIGN_OR_RETURN(const absl::string_view name, file.GetString("general.architecture"));
  auto found = Registry().find(name);
  if (found == Registry().end()) {
    return absl::UnimplementedError(absl::StrCat(
        file.path(), ": architecture '", absl::CHexEscape(name.substr(0, 64)),
        "' is not supported; supported: ",
        absl::StrJoin(Registry(), ", ",
                      [](std::string* out, const auto& entry) { out->append(entry.first); })));
  }
  return found->second(file);
}

}  // namespace bantam::model
