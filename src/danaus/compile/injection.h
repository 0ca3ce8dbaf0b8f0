#pragma once

/// Deliberate bugs for tests/property/injection.cpp: in that build DANAUS_BUG(number, right, wrong) is `wrong` while
/// `injected_bug` is `number`, so that a test can show that the verifier finds each of them. Everywhere else it is
/// `right`.
///
///  1 a cut block starts one input too late          13 partial sums always set instead of added
///  2 the last column tile of a block is forgotten   14 a partial sum is added to what is not there
///  3 sparse: two blocks in one place                15 one tile's partial sum is not collected
///  4 dense: two pieces on one shelf slot            16 a norm forgets the sums of its last segment
///  5 dense: shelves overlap by a row                17 a norm uses the first gains everywhere
///  6 a strided block is placed with stride 1        18 a rope is applied one head too early
///  7 foreign cells between patches are ignored      19 context is read before the append
///  8 a row serves two values                        20 the heads' keys are exchanged
///  9 a column is read for two outputs               21 an elementwise command reads one operand twice
/// 10 windows are taken from the first run alone     22 a value is freed before its last use
/// 11 the last element of a range is not moved       23 padding is not filled with zeros
/// 12 one member of a multicast is forgotten         24 outputs of padding have no sink
/// 25 the second stage converts with the first one's configuration      26 tokens share one place in the stream
/// 27 the KV region is one entry too small           28 a local copy instead of the transposition of partial sums
/// 29 every expert is scaled by the first gate       30 every branch asks for the first gate
/// 31 blocks pick from the beginning of their list    32 operators of one source pick by the first list
#ifdef DANAUS_INJECT_BUGS
namespace danaus::compile {
inline int injected_bug = 0;
inline constexpr int kInjectableBugs = 32;
}  // namespace danaus::compile
#define DANAUS_BUG(number, right, wrong) (::danaus::compile::injected_bug == (number) ? (wrong) : (right))
#else
#define DANAUS_BUG(number, right, wrong) (right)
#endif
