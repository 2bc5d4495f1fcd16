// Part of search_kernels.h: the values a quant may have (levels), and what a run, the elements that
// share a scale, makes of a scale: quants, sums and error.

namespace bantam::quant::BANTAM_SEARCH_NAMESPACE {

// Weighted sums over a run whose elements x became quants q: those of x q and of q q.
struct Sums {
  float xq = 0, qq = 0;

  // What the best scale takes off the sum of w x^2.
  BANTAM_INLINE float Gain() const { return qq > 0 ? xq * xq / qq : 0; }
  BANTAM_INLINE float BestScale() const { return qq > 0 ? xq / qq : 0; }
  // The error under a scale, less the sum of w x^2.
  BANTAM_INLINE float Error(float scale) const { return scale * (scale * qq - 2 * xq); }
};

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

// So many levels that a grid of few may fit among them.
struct Integers8 : Integers<-128, 127, 12000, 12950, 24> {
  static constexpr bool kGrid = true;
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

}  // namespace bantam::quant::BANTAM_SEARCH_NAMESPACE
