// Activations as two planes of int8. Of 32 elements x = scale * (256 * high + low):
//
//   words 0 .. 7    high, four elements to a word, the first in the lowest byte; -127 .. 127
//   words 8 .. 15   low; -128 .. 127
//   word 16         scale, f32: the largest magnitude / (127 * 256); NaN where an element is
//                   not finite
//   words 17, 18    the sums of the elements 0 .. 15 and 16 .. 31, f32, as they are after rounding
//   word 19         not used
const uint kPlaneWords = 20;
