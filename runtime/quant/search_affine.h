// Part of search_kernels.h: scale and offset.

namespace bantam::quant::BANTAM_SEARCH_NAMESPACE {

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
    if constexpr (!kNegative) {
      // Steps of a grid that the elements lie on (search_scales.h), or parts of them.
      if (const float grid = GridStep(p.x + at, kN); grid > 0) {
        for (int k = 1; k * (max - min) < (kTop + 0.5f) * grid; ++k) {
          const Line line = Fit<kNegative>(p, at, grid / k, min, sum_w, sum_wx);
          if (line.error < best.error) best = line;
        }
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
    // What f16 cannot hold is no candidate: without any, the block's scale and minimum are 0.
    for (int turn = 0; turn < 2 && std::isfinite(d) && std::isfinite(dmin); ++turn) {
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

}  // namespace bantam::quant::BANTAM_SEARCH_NAMESPACE
