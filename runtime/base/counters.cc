#include "runtime/base/counters.h"

namespace bantam {

Counters counters;

}  // namespace bantam
