// See search.h. Included by the files that compile it for an instruction set, which define
// BANTAM_SEARCH_NAMESPACE and include everything used here beforehand; hence no include guard.

namespace bantam::quant::BANTAM_SEARCH_NAMESPACE {

using F8 = float __attribute__((vector_size(32)));
using F4 = float __attribute__((vector_size(16)));
using I8 = int32_t __attribute__((vector_size(32)));

#define BANTAM_INLINE inline __attribute__((always_inline))

BANTAM_INLINE F8 Load(const float* p) {
  F8 v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
BANTAM_INLINE F8 Load(const float* lo, const float* hi) {
  F4 a, b;
  std::memcpy(&a, lo, sizeof(a));
  std::memcpy(&b, hi, sizeof(b));
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
}
BANTAM_INLINE F8 Set(float x) { return F8{x, x, x, x, x, x, x, x}; }
BANTAM_INLINE F8 Min(F8 a, F8 b) { return a < b ? a : b; }
BANTAM_INLINE F8 Max(F8 a, F8 b) { return a > b ? a : b; }
BANTAM_INLINE F8 Abs(F8 a) {
  const I8 bits = (I8)a & 0x7FFFFFFF;
  return (F8)bits;
}
// To nearest, ties to even; |a| below 2^22.
BANTAM_INLINE F8 Round(F8 a) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return (a + kMagic) - kMagic;
}
// The sum of each half, in its first element.
BANTAM_INLINE F8 SumHalves(F8 v) {
  v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
  return v + __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
}
BANTAM_INLINE float Sum(F8 v) {
  v = SumHalves(v);
  return v[0] + v[4];
}
BANTAM_INLINE F8 MinHalves(F8 v) {
  v = Min(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));
  return Min(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6));
}
BANTAM_INLINE float Largest(const float* x, int n) {
  F8 max = Abs(Load(x));
  for (int i = 8; i < n; i += 8) max = Max(max, Abs(Load(x + i)));
  float largest = max[0];
  for (int j = 1; j < 8; ++j) largest = max[j] > largest ? max[j] : largest;
  return largest;
}

// `x` as an f16 holds its original.
BANTAM_INLINE float RoundHalf(const Problem& p, float x) {
  return HalfToFloat(FloatToHalf(x * p.up)) * p.down;
}
BANTAM_INLINE float Inverse(float x) { return x == 0 ? 0.0f : 1.0f / x; }

// Weighted sums over a run whose elements x became quants q: those of x q and of q q.
struct Sums {
  float xq = 0, qq = 0;

  // What the best scale takes off the sum of w x^2.
  BANTAM_INLINE float Gain() const { return qq > 0 ? xq * xq / qq : 0; }
  BANTAM_INLINE float BestScale() const { return qq > 0 ? xq / qq : 0; }
  // The error under a scale, less the sum of w x^2.
  BANTAM_INLINE float Error(float scale) const { return scale * (scale * qq - 2 * xq); }
};

// --- Levels: the values a quant may have
// -----------------------------------------------------------
//
// Nearest: of elements in units of the scale. A search for the scale tries kCount scales under
// which the element of greatest magnitude lies at kFirst to kLast, with both signs if kBothSigns.

template <int kLo, int kHi, int kFirst100, int kLast100, int kTries>
struct Integers {
  static constexpr float kFirst = kFirst100 / 100.0f, kLast = kLast100 / 100.0f;
  static constexpr int kCount = kTries;
  static constexpr bool kBothSigns = -kLo != kHi;
  static BANTAM_INLINE F8 Nearest(F8 t) { return Round(Max(Min(t, Set(kHi)), Set(kLo))); }
  static int Code(float q) { return static_cast<int>(q); }
};

// Levels that ascend: steps up from the least wherever the middle to the next is passed.
template <typename Table>
struct Ascending {
  static BANTAM_INLINE F8 Nearest(F8 t) {
    F8 q = Set(Table::kLevels[0]);
    for (size_t i = 1; i < std::size(Table::kLevels); ++i) {
      const float below = Table::kLevels[i - 1], level = Table::kLevels[i];
      q = t > Set(0.5f * (below + level)) ? Set(level) : q;
    }
    return q;
  }
};

struct TableIQ4 {
  static constexpr float kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};
};
struct LevelsIQ4 : Ascending<TableIQ4> {
  static constexpr float kFirst = 80, kLast = 160;
  static constexpr int kCount = 17;
  static constexpr bool kBothSigns = true;
  static int Code(float q) {
    int code = 0;
    while (TableIQ4::kLevels[code] < q) ++code;
    return code;
  }
};

struct TableE2M1 {
  static constexpr float kLevels[8] = {0, 1, 2, 3, 4, 6, 8, 12};
};
struct LevelsE2M1 {
  static constexpr float kFirst = 7, kLast = 16;
  static constexpr int kCount = 19;
  static constexpr bool kBothSigns = false;
  static BANTAM_INLINE F8 Nearest(F8 t) {
    const F8 q = Ascending<TableE2M1>::Nearest(Abs(t));
    return t < 0 ? -q : q;
  }
  static int Code(float q) {
    int code = 0;
    while (TableE2M1::kLevels[code] < std::abs(q)) ++code;
    return q < 0 ? code + 8 : code;
  }
};

// --- Runs: the elements that share a scale
// ----------------------------------------------------------

template <typename L, int kN>
struct LevelRun {
  using Levels = L;
  static constexpr int kElements = kN;

  static BANTAM_INLINE Sums Fit(const Problem& p, int at, float scale) {
    const F8 inverse = Set(Inverse(scale));
    F8 xq = Set(0), qq = Set(0);
    for (int i = at; i < at + kN; i += 8) {
      const F8 q = L::Nearest(Load(p.x + i) * inverse);
      xq += Load(p.wx + i) * q;
      qq += Load(p.w + i) * q * q;
    }
    return {Sum(xq), Sum(qq)};
  }

  static void Assign(const Problem& p, int at, float scale, Encoding& e) {
    const F8 inverse = Set(Inverse(scale));
    for (int i = at; i < at + kN; i += 8) {
      const F8 q = L::Nearest(Load(p.x + i) * inverse);
      for (int j = 0; j < 8; ++j) e.quants[i + j] = L::Code(q[j]);
    }
  }
};

// How many points of a list are looked at while scales are compared; all at the end.
constexpr int kNearQuick = 8;

// A choice of one point: its sums and error, and which element has its sign flipped, -1 for none.
struct PointChoice {
  float error = std::numeric_limits<float>::infinity();
  Sums sums;
  int point = 0;
  bool flip = false;
};

// IQ2: groups of eight take the magnitudes of one point. With kEven the number of minus signs is
// even: one element of an odd group gets the wrong sign, the one it costs least.
template <const CodebookLists& (*kLists)(), int kN, bool kEven>
struct RunIQ2 {
  struct Levels {
    static constexpr float kFirst = 26, kLast = 74;
    static constexpr int kCount = 17;
    static constexpr bool kBothSigns = false;
  };
  static constexpr int kElements = kN;

  template <bool kStore>
  static BANTAM_INLINE Sums Visit(const Problem& p, int at, float scale, Encoding* e) {
    const CodebookLists& lists = kLists();
    const F8 inverse = Set(Inverse(scale));
    constexpr int kNear = kStore ? CodebookLists::kNear : kNearQuick;
    Sums total;
    for (int i = at; i < at + kN; i += 8) {
      const F8 x = Load(p.x + i), wx = Abs(Load(p.wx + i)), w = Load(p.w + i);
      const F8 t = Abs(x) * inverse;
      const I8 negative = (I8)x < 0;
      const I8 digits = -((t > Set(16.5f)) + (t > Set(34.0f)));
      constexpr I8 kPowers = {1, 3, 9, 27, 81, 243, 729, 2187};
      const I8 terms = digits * kPowers;
      int state = 0, signs = 0;
      for (int j = 0; j < 8; ++j) {
        state += terms[j];
        signs |= (negative[j] & 1) << j;
      }
      const bool odd = kEven && (__builtin_popcount(static_cast<unsigned>(signs)) & 1) != 0;
      const uint16_t* near = lists.Near(state);
      PointChoice best;
      for (int k = 0; k < kNear; ++k) {
        const F8 q = Load(lists.Point(near[k]));
        const F8 products = wx * q;
        Sums sums{Sum(products), Sum(w * q * q)};
        if (odd) {
          const F8 least = MinHalves(products);
          sums.xq -= 2 * (least[0] < least[4] ? least[0] : least[4]);
        }
        const float error = sums.Error(scale);
        if (error < best.error) best = {error, sums, near[k], odd};
      }
      total.xq += best.sums.xq;
      total.qq += best.sums.qq;
      if constexpr (kStore) {
        if (best.flip) {
          const F8 products = wx * Load(lists.Point(best.point));
          int least = 0;
          for (int j = 1; j < 8; ++j) least = products[j] < products[least] ? j : least;
          signs ^= 1 << least;
        }
        e->points[i / 8] = static_cast<uint16_t>(best.point);
        e->signs[i / 8] = static_cast<uint8_t>(signs);
      }
    }
    return total;
  }
  static Sums Fit(const Problem& p, int at, float scale) {
    return Visit<false>(p, at, scale, nullptr);
  }
  static void Assign(const Problem& p, int at, float scale, Encoding& e) {
    Visit<true>(p, at, scale, &e);
  }
};

// IQ3: groups of eight take the magnitudes of two points of four. Levels are kLeast, kLeast +
// kStep,
// ..., eight of them.
template <const CodebookLists& (*kLists)(), int kLeast, int kStep, bool kEven>
struct RunIQ3 {
  struct Levels {
    static constexpr float kFirst = kLeast + kStep * 4.4f, kLast = kLeast + kStep * 10.0f;
    static constexpr int kCount = 17;
    static constexpr bool kBothSigns = false;
  };
  static constexpr int kElements = 32;

  template <bool kStore>
  static BANTAM_INLINE Sums Visit(const Problem& p, int at, float scale, Encoding* e) {
    const CodebookLists& lists = kLists();
    const F8 inverse = Set(Inverse(scale));
    constexpr int kNear = kStore ? CodebookLists::kNear : kNearQuick;
    Sums total;
    for (int i = at; i < at + 32; i += 8) {
      const F8 x = Load(p.x + i), wx = Abs(Load(p.wx + i)), w = Load(p.w + i);
      const F8 t = (Abs(x) * inverse - static_cast<float>(kLeast)) * (1.0f / kStep);
      const I8 negative = (I8)x < 0;
      const F8 digits = Round(Max(Min(t, Set(7)), Set(0)));
      constexpr F8 kPowers = {1, 8, 64, 512, 1, 8, 64, 512};
      const F8 states = SumHalves(digits * kPowers);
      int signs = 0;
      for (int j = 0; j < 8; ++j) signs |= (negative[j] & 1) << j;
      const bool odd = kEven && (__builtin_popcount(static_cast<unsigned>(signs)) & 1) != 0;
      const uint16_t* near_lo = lists.Near(static_cast<int>(states[0]));
      const uint16_t* near_hi = lists.Near(static_cast<int>(states[4]));
      PointChoice plain[2], flipped[2];
      for (int k = 0; k < kNear; ++k) {
        const F8 q = Load(lists.Point(near_lo[k]), lists.Point(near_hi[k]));
        const F8 products = wx * q;
        const F8 xq = SumHalves(products), qq = SumHalves(w * q * q);
        const int points[2] = {near_lo[k], near_hi[k]};
        const Sums sums[2] = {{xq[0], qq[0]}, {xq[4], qq[4]}};
        for (int h = 0; h < 2; ++h) {
          const float error = sums[h].Error(scale);
          if (error < plain[h].error) plain[h] = {error, sums[h], points[h], false};
        }
        if (odd) {
          const F8 least = MinHalves(products);
          for (int h = 0; h < 2; ++h) {
            const Sums less{sums[h].xq - 2 * least[4 * h], sums[h].qq};
            const float error = less.Error(scale);
            if (error < flipped[h].error) flipped[h] = {error, less, points[h], true};
          }
        }
      }
      // The half where a wrong sign costs less.
      if (odd) {
        const int h =
            flipped[0].error - plain[0].error <= flipped[1].error - plain[1].error ? 0 : 1;
        plain[h] = flipped[h];
      }
      for (int h = 0; h < 2; ++h) {
        total.xq += plain[h].sums.xq;
        total.qq += plain[h].sums.qq;
      }
      if constexpr (kStore) {
        const F8 products = wx * Load(lists.Point(plain[0].point), lists.Point(plain[1].point));
        for (int h = 0; h < 2; ++h) {
          e->points[i / 4 + h] = static_cast<uint16_t>(plain[h].point);
          if (!plain[h].flip) continue;
          int least = 4 * h;
          for (int j = least + 1; j < 4 * h + 4; ++j) {
            least = products[j] < products[least] ? j : least;
          }
          signs ^= 1 << least;
        }
        e->signs[i / 8] = static_cast<uint8_t>(signs);
      }
    }
    return total;
  }
  static Sums Fit(const Problem& p, int at, float scale) {
    return Visit<false>(p, at, scale, nullptr);
  }
  static void Assign(const Problem& p, int at, float scale, Encoding& e) {
    Visit<true>(p, at, scale, &e);
  }
};

// IQ1: groups of eight take a point of -1, 0, 1, and every kShared elements a shift by an eighth.
template <int kN, int kShared>
struct RunIQ1 {
  struct Levels {
    static constexpr float kFirst = 0.9f, kLast = 3.5f;
    static constexpr int kCount = 20;
    static constexpr bool kBothSigns = false;
  };
  static constexpr int kElements = kN;

  template <bool kStore>
  static BANTAM_INLINE Sums Shifted(const Problem& p, int at, float scale, float shift,
                                    uint16_t* points) {
    const CodebookLists& lists = ListsIQ1();
    const F8 inverse = Set(Inverse(scale));
    constexpr int kNear = kStore ? CodebookLists::kNear : kNearQuick;
    Sums total;
    for (int i = at; i < at + kShared; i += 8) {
      const F8 wx = Load(p.wx + i), w = Load(p.w + i);
      const F8 t = Load(p.x + i) * inverse - shift;
      const I8 digits = 1 - ((t > Set(0.5f)) - (t < Set(-0.5f)));
      constexpr I8 kPowers = {1, 3, 9, 27, 81, 243, 729, 2187};
      const I8 terms = digits * kPowers;
      int state = 0;
      for (int j = 0; j < 8; ++j) state += terms[j];
      const uint16_t* near = lists.Near(state);
      PointChoice best;
      for (int k = 0; k < kNear; ++k) {
        const F8 q = Load(lists.Point(near[k])) + shift;
        const Sums sums{Sum(wx * q), Sum(w * q * q)};
        const float error = sums.Error(scale);
        if (error < best.error) best = {error, sums, near[k], false};
      }
      total.xq += best.sums.xq;
      total.qq += best.sums.qq;
      if constexpr (kStore) points[(i - at) / 8] = static_cast<uint16_t>(best.point);
    }
    return total;
  }

  template <bool kStore>
  static BANTAM_INLINE Sums Visit(const Problem& p, int at, float scale, Encoding* e) {
    Sums total;
    for (int i = at; i < at + kN; i += kShared) {
      uint16_t up_points[4], down_points[4];
      const Sums up = Shifted<kStore>(p, i, scale, 0.125f, up_points);
      const Sums down = Shifted<kStore>(p, i, scale, -0.125f, down_points);
      const bool is_down = down.Error(scale) < up.Error(scale);
      total.xq += is_down ? down.xq : up.xq;
      total.qq += is_down ? down.qq : up.qq;
      if constexpr (kStore) {
        for (int g = 0; g < kShared / 8; ++g) {
          e->points[i / 8 + g] = is_down ? down_points[g] : up_points[g];
          e->down[i / 8 + g] = is_down;
        }
      }
    }
    return total;
  }
  static Sums Fit(const Problem& p, int at, float scale) {
    return Visit<false>(p, at, scale, nullptr);
  }
  static void Assign(const Problem& p, int at, float scale, Encoding& e) {
    Visit<true>(p, at, scale, &e);
  }
};

// --- One scale
// --------------------------------------------------------------------------------------

// The scale of a run that is free to have any, from a row of tries and then by turns: quants for
// the scale, scale for the quants.
template <typename R>
float FreeScale(const Problem& p, int at) {
  using L = typename R::Levels;
  const float largest = Largest(p.x + at, R::kElements);
  if (largest == 0) return 0;
  float best_gain = 0, best = 0;
  for (int sign = 1; sign >= (L::kBothSigns ? -1 : 1); sign -= 2) {
    for (int k = 0; k < L::kCount; ++k) {
      const float reach =
          L::kFirst + (L::kLast - L::kFirst) * (static_cast<float>(k) / (L::kCount - 1));
      const Sums sums = R::Fit(p, at, static_cast<float>(sign) * largest / reach);
      const float gain = sums.Gain();
      if (gain > best_gain) {
        best_gain = gain;
        best = sums.BestScale();
      }
    }
  }
  for (int turn = 0; turn < 4 && best != 0; ++turn) {
    const Sums sums = R::Fit(p, at, best);
    const float gain = sums.Gain();
    if (!(gain > best_gain)) break;
    best_gain = gain;
    best = sums.BestScale();
  }
  return best;
}

// Blocks of one f16 scale.
template <typename R>
void SolveSingle(const Problem& p, Encoding& e) {
  const float scale = RoundHalf(p, FreeScale<R>(p, 0));
  e.d = scale * p.up;
  R::Assign(p, 0, scale, e);
}

void SolveMXFP4(const Problem& p, Encoding& e) {
  using R = LevelRun<LevelsE2M1, 32>;
  const float largest = Largest(p.x, 32) * p.up;
  const int middle = largest > 0 ? std::ilogb(largest) - 2 + 127 : 0;
  float best_error = std::numeric_limits<float>::infinity(), best = 0;
  for (int exponent = middle - 1; exponent <= middle + 1; ++exponent) {
    const int clamped = std::clamp(exponent, 0, 254);
    const float scale = HalfOfE8M0ToFloat(static_cast<uint8_t>(clamped)) * p.down;
    const float error = R::Fit(p, 0, scale).Error(scale);
    if (error < best_error) {
      best_error = error;
      best = scale;
      e.scales[0] = clamped;
    }
  }
  R::Assign(p, 0, best, e);
}

void SolveNVFP4(const Problem& p, Encoding& e) {
  using R = LevelRun<LevelsE2M1, 16>;
  for (int s = 0; s < 4; ++s) {
    // Half the scale goes with the doubled levels.
    const int middle = NearestUE4M3(2 * FreeScale<R>(p, 16 * s) * p.up);
    float best_error = std::numeric_limits<float>::infinity(), best = 0;
    for (int code = std::max(middle - 1, 0); code <= std::min(middle + 1, 0x7E); ++code) {
      const float scale = HalfOfUE4M3ToFloat(static_cast<uint8_t>(code)) * p.down;
      const float error = R::Fit(p, 16 * s, scale).Error(scale);
      if (error < best_error) {
        best_error = error;
        best = scale;
        e.scales[s] = code;
      }
    }
    R::Assign(p, 16 * s, best, e);
  }
}

// --- Scales that are multiples of a super-scale
// -----------------------------------------------------

// scale = d s, with s in [kLo, kHi].
template <int kLo, int kHi>
struct SignedMultiples {
  static BANTAM_INLINE float Multiple(int s) { return static_cast<float>(s); }
  static BANTAM_INLINE int Nearest(float m) {
    return static_cast<int>(std::nearbyint(std::clamp<float>(m, kLo, kHi)));
  }
  static constexpr int kLeast = kLo, kMost = kHi;
  static constexpr float kReach = kLo;
};
// scale = d (s + 1/2) / kOver, with s in [0, kHi].
template <int kOver4, int kHi>
struct OddMultiples {
  static constexpr float kUnit = 1.0f / kOver4;
  static BANTAM_INLINE float Multiple(int s) { return (static_cast<float>(s) + 0.5f) * kUnit; }
  static BANTAM_INLINE int Nearest(float m) {
    return static_cast<int>(std::nearbyint(std::clamp<float>(m * kOver4 - 0.5f, 0, kHi)));
  }
  static constexpr int kLeast = 0, kMost = kHi;
  static constexpr float kReach = (kHi + 0.5f) / kOver4;
};
// scale = d (1 + 2 s).
template <int kHi>
struct WholeOddMultiples {
  static BANTAM_INLINE float Multiple(int s) { return static_cast<float>(1 + 2 * s); }
  static BANTAM_INLINE int Nearest(float m) {
    return static_cast<int>(std::nearbyint(std::clamp<float>((m - 1) * 0.5f, 0, kHi)));
  }
  static constexpr int kLeast = 0, kMost = kHi;
  static constexpr float kReach = 1 + 2 * kHi;
};

// Blocks of 256 with an integer scale per run: each run takes the multiple that suits it best under
// a super-scale, and the super-scale the value that suits the runs, by turns from several starts.
template <typename R, typename M>
void SolveScaled(const Problem& p, Encoding& e) {
  constexpr int kRuns = 256 / R::kElements;
  float wanted[kRuns], extreme = 0;
  for (int r = 0; r < kRuns; ++r) {
    wanted[r] = FreeScale<R>(p, r * R::kElements);
    if (std::abs(wanted[r]) > std::abs(extreme)) extreme = wanted[r];
  }
  float best_error = std::numeric_limits<float>::infinity(), best = 0;
  int best_scales[kRuns] = {};
  constexpr float kStarts[] = {1.0f, 0.94f, 1.06f};
  for (const float start : kStarts) {
    float d = RoundHalf(p, extreme / M::kReach * start);
    for (int turn = 0; turn < 3 && d != 0; ++turn) {
      float error = 0, numerator = 0, denominator = 0;
      int scales[kRuns];
      for (int r = 0; r < kRuns; ++r) {
        const int middle = M::Nearest(wanted[r] / d);
        float run_error = std::numeric_limits<float>::infinity();
        Sums run_sums;
        for (int s = std::max(middle - 1, M::kLeast); s <= std::min(middle + 1, M::kMost); ++s) {
          const float scale = d * M::Multiple(s);
          const Sums sums = scale == 0 ? Sums{} : R::Fit(p, r * R::kElements, scale);
          const float this_error = sums.Error(scale);
          if (this_error < run_error) {
            run_error = this_error;
            run_sums = sums;
            scales[r] = s;
          }
        }
        const float multiple = M::Multiple(scales[r]);
        error += run_error;
        numerator += multiple * run_sums.xq;
        denominator += multiple * multiple * run_sums.qq;
      }
      if (error < best_error) {
        best_error = error;
        best = d;
        std::copy(scales, scales + kRuns, best_scales);
      }
      const float next = denominator > 0 ? RoundHalf(p, numerator / denominator) : 0;
      if (next == d) break;
      d = next;
    }
  }
  e.d = best * p.up;
  for (int r = 0; r < kRuns; ++r) {
    e.scales[r] = best_scales[r];
    R::Assign(p, r * R::kElements, best * M::Multiple(best_scales[r]), e);
  }
}

// --- Scale and offset
// -------------------------------------------------------------------------------

struct Line {
  float d = 0, m = 0;  // x is about d q + m
  float error = 0;     // less the sum of w x^2
};

// Elements that share a scale and an offset; quants in [0, kTop].
template <int kN, int kTop>
struct AffineRun {
  static BANTAM_INLINE F8 Nearest(F8 t) { return Round(Max(Min(t, Set(kTop)), Set(0))); }

  // The line of least error through the quants that `d` and `m` give. With kNegative m <= 0.
  template <bool kNegative>
  static BANTAM_INLINE Line Fit(const Problem& p, int at, float d, float m, float sum_w,
                                float sum_wx) {
    const F8 inverse = Set(Inverse(d)), offset = Set(m);
    F8 wq8 = Set(0), qq8 = Set(0), xq8 = Set(0);
    for (int i = at; i < at + kN; i += 8) {
      const F8 q = Nearest((Load(p.x + i) - offset) * inverse);
      const F8 wq = Load(p.w + i) * q;
      wq8 += wq;
      qq8 += wq * q;
      xq8 += Load(p.wx + i) * q;
    }
    const float wq = Sum(wq8), qq = Sum(qq8), xq = Sum(xq8);
    const float determinant = sum_w * qq - wq * wq;
    Line line;
    if (determinant > 0) {
      line.d = (sum_w * xq - sum_wx * wq) / determinant;
      line.m = (qq * sum_wx - wq * xq) / determinant;
    }
    if (!(determinant > 0) || (kNegative && line.m > 0)) {
      line.d = qq > 0 ? xq / qq : 0;
      line.m = 0;
    }
    line.error = -line.d * xq - line.m * sum_wx;
    return line;
  }

  // The error itself.
  static BANTAM_INLINE float Error(const Problem& p, int at, float d, float m) {
    const F8 inverse = Set(Inverse(d)), offset = Set(m), scale = Set(d);
    F8 error = Set(0);
    for (int i = at; i < at + kN; i += 8) {
      const F8 x = Load(p.x + i) - offset;
      const F8 left = x - scale * Nearest(x * inverse);
      error += Load(p.w + i) * left * left;
    }
    return Sum(error);
  }

  static void Assign(const Problem& p, int at, float d, float m, Encoding& e) {
    const F8 inverse = Set(Inverse(d)), offset = Set(m);
    for (int i = at; i < at + kN; i += 8) {
      const F8 q = Nearest((Load(p.x + i) - offset) * inverse);
      for (int j = 0; j < 8; ++j) e.quants[i + j] = static_cast<int>(q[j]);
    }
  }

  template <bool kNegative>
  static Line Free(const Problem& p, int at) {
    F8 min8 = Load(p.x + at), max8 = min8, w8 = Set(0), wx8 = Set(0);
    for (int i = at; i < at + kN; i += 8) {
      const F8 x = Load(p.x + i);
      min8 = Min(min8, x);
      max8 = Max(max8, x);
      w8 += Load(p.w + i);
      wx8 += Load(p.wx + i);
    }
    float min = min8[0], max = max8[0];
    for (int j = 1; j < 8; ++j) {
      min = min8[j] < min ? min8[j] : min;
      max = max8[j] > max ? max8[j] : max;
    }
    const float sum_w = Sum(w8), sum_wx = Sum(wx8);
    if (kNegative && min > 0) min = 0;
    if (kNegative && max < 0) max = 0;
    if (min == max) return {0, min, -min * sum_wx};
    const float step = (max - min) / kTop;
    Line best;
    best.error = std::numeric_limits<float>::infinity();
    // Where the extremes lie, in steps inside of the ends of the range.
    constexpr float kInside[] = {-0.25f, 0.0f, 0.25f, 0.5f, 0.8f};
    for (const float below : kInside) {
      for (const float above : kInside) {
        const float m = min + below * step;
        const Line line = Fit<kNegative>(p, at, (max - above * step - m) / kTop,
                                         kNegative && m > 0 ? 0 : m, sum_w, sum_wx);
        if (line.error < best.error) best = line;
      }
    }
    for (int turn = 0; turn < 4 && best.d != 0; ++turn) {
      const Line line = Fit<kNegative>(p, at, best.d, best.m, sum_w, sum_wx);
      if (!(line.error < best.error)) break;
      best = line;
    }
    return best;
  }
};

// Blocks of one f16 scale and one f16 offset.
template <int kTop>
void SolveLine(const Problem& p, Encoding& e) {
  using R = AffineRun<32, kTop>;
  const Line line = R::template Free<false>(p, 0);
  const float d = RoundHalf(p, line.d);
  float best = RoundHalf(p, line.m);
  // The rounding of d can be made up for by m.
  float least = R::Error(p, 0, d, best);
  for (const float half : {0.25f * kTop, 0.5f * kTop, 0.75f * kTop}) {
    const float m = RoundHalf(p, line.m + (line.d - d) * half);
    const float error = R::Error(p, 0, d, m);
    if (error < least) {
      least = error;
      best = m;
    }
  }
  e.d = d * p.up;
  e.dmin = best * p.up;
  R::Assign(p, 0, d, best, e);
}

// Blocks of 256 whose runs have integer scales and minimums in [0, kSteps].
template <int kN, int kTop, int kSteps>
void SolveAffine(const Problem& p, Encoding& e) {
  using R = AffineRun<kN, kTop>;
  constexpr int kRuns = 256 / kN;
  float wanted_d[kRuns], wanted_m[kRuns], most_d = 0, most_m = 0;
  for (int r = 0; r < kRuns; ++r) {
    const Line line = R::template Free<true>(p, r * kN);
    wanted_d[r] = line.d;
    wanted_m[r] = -line.m;
    most_d = std::max(most_d, wanted_d[r]);
    most_m = std::max(most_m, wanted_m[r]);
  }
  float best_error = std::numeric_limits<float>::infinity(), best_d = 0, best_dmin = 0;
  int best_scales[kRuns] = {}, best_mins[kRuns] = {};
  // Few steps are worth several starts.
  constexpr float kStarts[] = {1.0f, 0.93f, 1.07f};
  constexpr int kStartCount = kSteps < 32 ? 3 : 1;
  for (int start = 0; start < kStartCount * kStartCount; ++start) {
    float d = RoundHalf(p, most_d / kSteps * kStarts[start % kStartCount]);
    float dmin = RoundHalf(p, most_m / kSteps * kStarts[start / kStartCount]);
    for (int turn = 0; turn < 2; ++turn) {
      const float inverse_d = Inverse(d), inverse_dmin = Inverse(dmin);
      float error = 0;
      double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;  // a = scale q, b = min
      int scales[kRuns], mins[kRuns];
      for (int r = 0; r < kRuns; ++r) {
        const int scale =
            static_cast<int>(std::nearbyint(std::clamp<float>(wanted_d[r] * inverse_d, 0, kSteps)));
        const int min = static_cast<int>(
            std::nearbyint(std::clamp<float>(wanted_m[r] * inverse_dmin, 0, kSteps)));
        float run_error = std::numeric_limits<float>::infinity();
        for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, kSteps); ++s) {
          for (int t = std::max(min - 1, 0); t <= std::min(min + 1, kSteps); ++t) {
            const float this_error =
                R::Error(p, r * kN, d * static_cast<float>(s), -(dmin * static_cast<float>(t)));
            if (this_error < run_error) {
              run_error = this_error;
              scales[r] = s;
              mins[r] = t;
            }
          }
        }
        error += run_error;
        const float s = static_cast<float>(scales[r]), t = static_cast<float>(mins[r]);
        const F8 inverse = Set(Inverse(d * s)), offset = Set(-(dmin * t));
        F8 w8 = Set(0), wx8 = Set(0), wq8 = Set(0), qq8 = Set(0), xq8 = Set(0);
        for (int i = r * kN; i < (r + 1) * kN; i += 8) {
          const F8 q = R::Nearest((Load(p.x + i) - offset) * inverse);
          const F8 wq = Load(p.w + i) * q;
          w8 += Load(p.w + i);
          wx8 += Load(p.wx + i);
          wq8 += wq;
          qq8 += wq * q;
          xq8 += Load(p.wx + i) * q;
        }
        aa += s * s * Sum(qq8);
        ab += s * t * Sum(wq8);
        bb += t * t * Sum(w8);
        xa += s * Sum(xq8);
        xb += t * Sum(wx8);
      }
      if (error < best_error) {
        best_error = error;
        best_d = d;
        best_dmin = dmin;
        std::copy(scales, scales + kRuns, best_scales);
        std::copy(mins, mins + kRuns, best_mins);
      }
      // x is about d a - dmin b.
      const double determinant = aa * bb - ab * ab;
      float next_d = d, next_dmin = dmin;
      if (determinant > 1e-9 * aa * bb) {
        next_d = static_cast<float>((xa * bb - xb * ab) / determinant);
        next_dmin = static_cast<float>((xa * ab - xb * aa) / determinant);
      } else if (aa > 0) {
        next_d = static_cast<float>((xa + dmin * ab) / aa);
      }
      next_d = RoundHalf(p, std::max(next_d, 0.0f));
      next_dmin = RoundHalf(p, std::max(next_dmin, 0.0f));
      if (next_d == d && next_dmin == dmin) break;
      d = next_d;
      dmin = next_dmin;
    }
  }
  e.d = best_d * p.up;
  e.dmin = best_dmin * p.up;
  for (int r = 0; r < kRuns; ++r) {
    e.scales[r] = best_scales[r];
    e.mins[r] = best_mins[r];
    R::Assign(p, r * kN, best_d * static_cast<float>(best_scales[r]),
              -(best_dmin * static_cast<float>(best_mins[r])), e);
  }
}

// --- The types
// --------------------------------------------------------------------------------------

SolveFn Find(Type type) {
  switch (type) {
    case Type::kQ4_0:
      return SolveSingle<LevelRun<Integers<-8, 7, 550, 1050, 21>, 32>>;
    case Type::kQ5_0:
      return SolveSingle<LevelRun<Integers<-16, 15, 1350, 1850, 21>, 32>>;
    case Type::kQ8_0:
      return SolveSingle<LevelRun<Integers<-128, 127, 12600, 12950, 15>, 32>>;
    case Type::kQ4_1:
      return SolveLine<15>;
    case Type::kQ5_1:
      return SolveLine<31>;
    case Type::kQ2_K:
      return SolveAffine<16, 3, 15>;
    case Type::kQ4_K:
      return SolveAffine<32, 15, 63>;
    case Type::kQ5_K:
      return SolveAffine<32, 31, 63>;
    case Type::kQ3_K:
      return SolveScaled<LevelRun<Integers<-4, 3, 240, 600, 19>, 16>, SignedMultiples<-32, 31>>;
    case Type::kQ6_K:
      return SolveScaled<LevelRun<Integers<-32, 31, 2950, 3450, 17>, 16>,
                         SignedMultiples<-128, 127>>;
    case Type::kIQ4_NL:
      return SolveSingle<LevelRun<LevelsIQ4, 32>>;
    case Type::kIQ4_XS:
      return SolveScaled<LevelRun<LevelsIQ4, 32>, SignedMultiples<-32, 31>>;
    case Type::kTQ1_0:
    case Type::kTQ2_0:
      return SolveSingle<LevelRun<Integers<-1, 1, 55, 400, 40>, 256>>;
    case Type::kMXFP4:
      return SolveMXFP4;
    case Type::kNVFP4:
      return SolveNVFP4;
    case Type::kIQ2_XXS:
      return SolveScaled<RunIQ2<ListsIQ2_XXS, 32, true>, OddMultiples<4, 15>>;
    case Type::kIQ2_XS:
      return SolveScaled<RunIQ2<ListsIQ2_XS, 16, true>, OddMultiples<4, 15>>;
    case Type::kIQ2_S:
      return SolveScaled<RunIQ2<ListsIQ2_S, 16, false>, OddMultiples<4, 15>>;
    case Type::kIQ3_XXS:
      return SolveScaled<RunIQ3<ListsIQ3_XXS, 4, 8, true>, OddMultiples<2, 15>>;
    case Type::kIQ3_S:
      return SolveScaled<RunIQ3<ListsIQ3_S, 1, 2, false>, WholeOddMultiples<15>>;
    case Type::kIQ1_S:
      return SolveScaled<RunIQ1<32, 32>, WholeOddMultiples<7>>;
    case Type::kIQ1_M:
      return SolveScaled<RunIQ1<16, 8>, WholeOddMultiples<7>>;
    default:
      return nullptr;
  }
}

}  // namespace bantam::quant::BANTAM_SEARCH_NAMESPACE
