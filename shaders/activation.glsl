// The activations of graph::Activation, by its numbers.

// erf by Abramowitz and Stegun 7.1.26 is off by 1.5e-7; below 0.5 by its series, for what 1 - y
// would cancel.
float Erf(float x) {
  const float a = abs(x);
  if (a < 0.5) {
    const float s = x * x;
    return 1.128379167 * x *
           (1.0 + s * (-1.0 / 3 + s * (1.0 / 10 + s * (-1.0 / 42 + s * (1.0 / 216 - s / 1320)))));
  }
  const float t = 1.0 / (1.0 + 0.3275911 * a);
  const float y = t * (0.254829592 +
                       t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return sign(x) * (1.0 - y * exp(-a * a));
}
// Drivers differ in tanh far out and near 0.
float Tanh(float x) {
  const float a = abs(x);
  if (a < 0.3) {
    const float s = x * x;
    return x * (1.0 + s * (-1.0 / 3 + s * (2.0 / 15 + s * (-17.0 / 315 + s * 62.0 / 2835))));
  }
  return sign(x) * (1.0 - 2.0 / (1.0 + exp(2.0 * min(a, 20.0))));
}
float Sigmoid(float x) { return 1.0 / (1.0 + exp(-max(x, -87.0))); }

float Activate(uint activation, float x) {
  switch (activation) {
    case 1: return x * Sigmoid(x);
    case 2: return 0.5 * x * (1.0 + Erf(x * 0.7071067812));
    case 3: return 0.5 * x * (1.0 + Tanh(0.7978845608 * (x + 0.044715 * x * x * x)));
    case 4: return x * Sigmoid(1.702 * x);
    case 5: return max(x, 0.0);
    case 6: return max(x, 0.0) * max(x, 0.0);
    case 7: return Sigmoid(x);
    case 8: return Tanh(x);
    default: return x;
  }
}
