#include "runtime/grammar/json_numbers.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/base/status.h"

namespace bantam::grammar {
namespace {

constexpr int kFreeDigits = 15;   // of a number no bound holds
constexpr int kFreeFraction = 6;  // digits after the point
constexpr int kMostExponent = 40;

// A magnitude: 12.5 is {"12", "5"}. No superfluous zeros; zero is {"0", ""}.
struct Decimal {
  std::string whole, fraction;
  bool IsZero() const { return whole == "0" && fraction.empty(); }
};

struct Bound {
  bool negative = false;
  Decimal magnitude;
  bool inclusive = true;
};

absl::StatusOr<Bound> ParseBound(const Json& number, bool inclusive) {
  const std::string text = number.dump();
  absl::string_view rest = text;
  Bound bound;
  bound.inclusive = inclusive;
  if (rest[0] == '-') {
    bound.negative = true;
    rest.remove_prefix(1);
  }
  int exponent = 0;
  if (const size_t e = rest.find('e'); e != rest.npos) {
    absl::string_view digits = rest.substr(e + 1);
    if (digits[0] == '+') digits.remove_prefix(1);
    if (!absl::SimpleAtoi(digits, &exponent) || std::abs(exponent) > kMostExponent) {
      return absl::UnimplementedError(absl::StrCat("a bound of ", text, " is not supported"));
    }
    rest = rest.substr(0, e);
  }
  const size_t point = std::min(rest.find('.'), rest.size());
  std::string digits(rest.substr(0, point));
  if (point < rest.size()) absl::StrAppend(&digits, rest.substr(point + 1));
  // The point goes after so many digits.
  int64_t before = static_cast<int64_t>(point) + exponent;
  if (before < 0) {
    digits.insert(0, -before, '0');
    before = 0;
  }
  if (before > static_cast<int64_t>(digits.size())) digits.append(before - digits.size(), '0');
  std::string whole = digits.substr(0, before), fraction = digits.substr(before);
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size()));
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  bound.magnitude = {whole.empty() ? "0" : whole, fraction};
  if (bound.magnitude.IsZero()) bound.negative = false;
  return bound;
}

// -1, 0 or 1.
int Compare(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  if (const int c = a.whole.compare(b.whole); c != 0) return c < 0 ? -1 : 1;
  const int c = a.fraction.compare(b.fraction);
  return c < 0 ? -1 : c > 0;
}

std::string Digits(char first, char last) {
  return first == last ? absl::StrCat("\"", std::string(1, first), "\"")
                       : absl::StrCat("[", std::string(1, first), "-", std::string(1, last), "]");
}
std::string Choice(const std::vector<std::string>& options) {
  if (options.empty()) return "";
  return options.size() == 1 ? options[0] : absl::StrCat("(", absl::StrJoin(options, " | "), ")");
}
// `head tail`, where "" stands for what is impossible and kNothing for the empty text.
const char kNothing[] = "\"\"";
std::string Then(const std::string& head, const std::string& tail) {
  if (tail.empty() || head.empty()) return "";
  if (tail == kNothing) return head;
  return head == kNothing ? tail : absl::StrCat(head, " ", tail);
}

// Magnitudes between two bounds, digit by digit. As long as the digits so far are those of a bound,
// it is "tight": the next digit may not cross it.
class Magnitudes {
 public:
  Magnitudes(const Decimal& low, bool low_inclusive, const std::optional<Decimal>& high,
             bool high_inclusive, bool integer)
      : low_(low),
        high_(high),
        low_inclusive_(low_inclusive),
        high_inclusive_(high_inclusive),
        most_fraction_(integer ? 0
                               : std::max<size_t>({kFreeFraction, low.fraction.size() + 1,
                                                   high ? high->fraction.size() + 1 : 0})) {}

  std::string Expression() const {
    std::vector<std::string> options;
    const size_t shortest = low_.whole.size();
    const size_t longest =
        high_ ? high_->whole.size() : std::max<size_t>(kFreeDigits, shortest + 1);
    for (size_t n = shortest; n <= longest; ++n) {
      const bool low_tight = n == shortest, high_tight = high_.has_value() && n == longest;
      if (!low_tight && !high_tight) {
        // All lengths between alike.
        const size_t last = high_ ? longest - 1 : longest;
        options.push_back(Then(n == last ? absl::StrCat("[1-9] [0-9]{", n - 1, "}")
                                         : absl::StrCat("[1-9] [0-9]{", n - 1, ",", last - 1, "}"),
                               Fraction(0, false, false, /*first=*/true)));
        n = last;
        continue;
      }
      options.push_back(Whole(0, n, low_tight, high_tight));
    }
    options.erase(std::remove(options.begin(), options.end(), ""), options.end());
    return Choice(options);
  }

 private:
  // Digits from `i` on of a whole part of `n`, and the fraction.
  std::string Whole(size_t i, size_t n, bool low_tight, bool high_tight) const {
    if (i == n) return Fraction(0, low_tight, high_tight, true);
    if (!low_tight && !high_tight) {
      return Then(absl::StrCat("[0-9]{", n - i, "}"), Fraction(0, false, false, true));
    }
    const char least = i == 0 && n > 1 ? '1' : '0';
    const char from = low_tight ? std::max(least, low_.whole[i]) : least;
    const char to = high_tight ? high_->whole[i] : '9';
    return NextDigit(from, to, low_tight ? low_.whole[i] : 0, high_tight ? high_->whole[i] : 0,
                     [&](bool low, bool high) { return Whole(i + 1, n, low, high); });
  }

  // Digits from `i` on after the point; with `first` the point before them.
  std::string Fraction(size_t i, bool low_tight, bool high_tight, bool first) const {
    const bool may_end = (!low_tight || (i >= low_.fraction.size() && low_inclusive_)) &&
                         (!high_tight || i < high_->fraction.size() || high_inclusive_);
    std::string more;
    if (i < most_fraction_) {
      if (!low_tight && !high_tight) {
        const size_t left = most_fraction_ - i;
        more = first ? absl::StrCat("[0-9]{1,", left, "}") : absl::StrCat("[0-9]{0,", left, "}");
        if (!first) return more;
      } else {
        const char low = low_tight && i < low_.fraction.size() ? low_.fraction[i] : '0';
        const char high = !high_tight ? '9' : i < high_->fraction.size() ? high_->fraction[i] : '0';
        more = NextDigit(low, high, low_tight ? low : 0, high_tight ? high : 0,
                         [&](bool l, bool h) { return Fraction(i + 1, l, h, false); });
      }
      if (first && !more.empty()) more = absl::StrCat("\".\" ", more);
    }
    if (more.empty()) return may_end ? kNothing : "";
    return may_end ? absl::StrCat("(", more, ")?") : more;
  }

  // A digit between `from` and `to` and what follows; a bound stays tight on its own digit (0: it
  // was not tight).
  template <typename Rest>
  std::string NextDigit(char from, char to, char low, char high, Rest rest) const {
    std::vector<std::string> options;
    for (char d = from; d <= to;) {
      const bool on_low = d == low, on_high = d == high;
      char last = d;
      if (!on_low && !on_high) {
        while (last < to && last + 1 != low && last + 1 != high) ++last;
      }
      std::string option = Then(Digits(d, last), rest(on_low, on_high));
      if (!option.empty()) options.push_back(std::move(option));
      d = static_cast<char>(last + 1);
    }
    return Choice(options);
  }

  const Decimal low_;
  const std::optional<Decimal> high_;
  const bool low_inclusive_, high_inclusive_;
  const size_t most_fraction_;
};

// Keeps the tighter of two bounds; `sign` is 1 for lower ones.
void Tighten(std::optional<Bound>& bound, const Bound& other, int sign) {
  if (bound.has_value()) {
    int c = 0;
    if (bound->negative != other.negative) {
      c = bound->negative ? -1 : 1;
    } else {
      c = Compare(bound->magnitude, other.magnitude) * (bound->negative ? -1 : 1);
    }
    if (c * sign > 0 || (c == 0 && !bound->inclusive)) return;
  }
  bound = other;
}

}  // namespace

bool HasBounds(const FlatSchema& schema) {
  for (const char* k : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}) {
    if (schema.contains(k)) return true;
  }
  return false;
}

absl::StatusOr<std::string> NumberRange(const FlatSchema& schema, bool integer) {
  std::optional<Bound> low, high;
  const struct {
    const char* keyword;
    bool inclusive;
    std::optional<Bound>& bound;
    int sign;
  } bounds[] = {{"minimum", true, low, 1},
                {"exclusiveMinimum", false, low, 1},
                {"maximum", true, high, -1},
                {"exclusiveMaximum", false, high, -1}};
  for (const auto& b : bounds) {
    if (!schema.contains(b.keyword)) continue;
    BANTAM_ASSIGN_OR_RETURN(const Bound bound, ParseBound(schema[b.keyword], b.inclusive));
    Tighten(b.bound, bound, b.sign);
  }
  const Decimal zero = {"0", ""};
  std::vector<std::string> options;
  if (!low || low->negative) {
    // -x for x from -high (or above 0) to -low.
    const bool up_to_zero = !high || !high->negative;
    const Decimal& from = up_to_zero ? zero : high->magnitude;
    std::optional<Decimal> to;
    if (low) to = low->magnitude;
    if (!to || Compare(from, *to) <= 0) {
      const std::string magnitude = Magnitudes(from, up_to_zero ? false : high->inclusive, to,
                                               !low || low->inclusive, integer)
                                        .Expression();
      if (!magnitude.empty()) options.push_back(absl::StrCat("\"-\" ", magnitude));
    }
  }
  if (!high || !high->negative) {
    const bool from_zero = !low || low->negative;
    const Decimal& from = from_zero ? zero : low->magnitude;
    std::optional<Decimal> to;
    if (high) to = high->magnitude;
    if (!to || Compare(from, *to) <= 0) {
      const std::string magnitude =
          Magnitudes(from, from_zero || low->inclusive, to, !high || high->inclusive, integer)
              .Expression();
      if (!magnitude.empty()) options.push_back(magnitude);
    }
  }
  return Choice(options);
}

}  // namespace bantam::grammar
