// Part of search_kernels.h: blocks of one scale, and blocks whose runs have integer multiples of a
// super-scale.

namespace bantam::quant::BANTAM_SEARCH_NAMESPACE {

// The scale that takes most off a run's error, of those tried.
template <typename R>
struct BestScale {
  const Problem& p;
  int at;
  float gain = 0, scale = 0;

  // The scale that suits the quants under the one tried, which become those of `scale` if they are
  // the best so far.
  bool Try(float tried) {
    const Sums sums = R::Fit(p, at, tried);
    if (!(sums.Gain() > gain)) return false;
    gain = sums.Gain();
    scale = sums.BestScale();
    return true;
  }
};

// The step of the grid that the elements lie on, as those that once were quants of few bits do; 0
// where they have more values than such quants.
inline float GridStep(const float* x, int n) {
  constexpr int kMost = 16;
  float values[kMost];
  int count = 0;
  for (int i = 0; i < n; ++i) {
    int j = 0;
    while (j < count && values[j] != x[i]) ++j;
    if (j < count) continue;
    if (count == kMost) return 0;
    values[count++] = x[i];
  }
  if (count < 3) return 0;
  std::sort(values, values + count);
  float gap = values[1] - values[0];
  for (int i = 2; i < count; ++i) gap = std::min(gap, values[i] - values[i - 1]);
  const float span = values[count - 1] - values[0];
  const float steps = std::nearbyint(span / gap);
  return steps < 2 * kMost ? span / steps : 0;
}

// The scale of a run that is free to have any, from a row of tries and then by turns: quants for
// the scale, scale for the quants.
template <typename R>
float FreeScale(const Problem& p, int at) {
  using L = typename R::Levels;
  const float largest = Largest(p.x + at, R::kElements);
  if (largest == 0) return 0;
  BestScale<R> best{p, at};
  for (int sign = 1; sign >= (L::kBothSigns ? -1 : 1); sign -= 2) {
    for (int k = 0; k < L::kCount; ++k) {
      const float reach =
          L::kFirst + (L::kLast - L::kFirst) * (static_cast<float>(k) / (L::kCount - 1));
      best.Try(static_cast<float>(sign) * largest / reach);
    }
  }
  if constexpr (requires { L::kGrid; }) {
    // Of the scales that divide a grid's step one may come close to all elements at once.
    if (const float step = GridStep(p.x + at, R::kElements); step > 0) {
      for (int k = 1; k * largest <= L::kLast * step; ++k) best.Try(step / k);
    }
  }
  for (int turn = 0; turn < 4 && best.scale != 0 && best.Try(best.scale); ++turn) {
  }
  return best.scale;
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
    // A super-scale that f16 cannot hold is no candidate: without any, the block's is 0.
    for (int turn = 0; turn < 3 && d != 0 && std::isfinite(d); ++turn) {
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

}  // namespace bantam::quant::BANTAM_SEARCH_NAMESPACE
