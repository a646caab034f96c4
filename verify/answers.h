/* Is the answer in a model's response the reference's? Decided by rules alone, in the way in which the
 * accuracy rewards of DeepSeek-R1 (arXiv:2501.12948, 2.2.2) judged mathematics: a final answer in a known
 * form is found and compared; no model judges.
 *
 * Where the answer stands. Text inside <think>…</think> does not count where something follows it, and a
 * <think> that does not end leaves no answer; of <answer>…</answer> only the content counts. Then, the first
 * that is there:
 *   1. the last \boxed{…}, \boxed 5 or \fbox{…}, or the last `#### 42` (GSM8K), whichever stands later;
 *   2. the last "the answer is …", "Final answer: …", "Answer: …" or the like;
 *   3. a response of one line that is nothing but an answer;
 *   4. for a letter, a truth value or a word as reference, how such answers end ("option (B)", "Yes, …");
 *   5. the last number or formula, not in a closing question or an offer of more help, nor the number of a
 *      list or a step, unless there is no other.
 * A reference is looked through in the same way where it is a solution; a short one is the answer as it is.
 *
 * What is equal.
 *   numbers     as exact rational numbers: 1,234 = 1 234 = 1{,}234 = 1_234 = 1234.0; 1/2 = \frac12 = 0.5;
 *               1 1/2; 1.5\times 10^{3} = 1.5e3. A comma is a decimal one where groups of three digits
 *               cannot be meant (3,5 or 1.234,5). Nothing is rounded: 0.333 is not 1/3
 *   units       of a side that has none are not asked for; two known ones (cm, $, hours, …) must be the same.
 *               Percent is such a unit, and a reference in percent also takes the number itself: 50 takes
 *               50%, 50% takes 50 and 0.5, 0.5 does not take 50%
 *   formulas    where both hold roots, pi or variables: as functions, at two points, to 1e-12; other ones as
 *               text without spaces and LaTeX's layout. "x = 5" is 5, and so is "2 + 3 = 5"
 *   several     (1, 2) and intervals in their order and with their brackets; sets, "2 and 3", "2, 3" in any
 *   words       without case, articles and punctuation; letters (A), B., **C** alone or before their text */
#ifndef MOEQ_ANSWERS_H
#define MOEQ_ANSWERS_H

#include "status.h"

/* The longest answer; a longer one is compared as text. */
#define MOEQ_MAX_ANSWER 4096

enum moeq_verdict {
    MOEQ_ANSWER_NONE, /* no answer in the response, or none in the reference */
    MOEQ_ANSWER_WRONG,
    MOEQ_ANSWER_RIGHT
};

struct moeq_answer {
    enum moeq_verdict verdict;
    char *expected;  /* the reference's answer, NULL where it has none */
    char *extracted; /* the response's, NULL where it has none */
};

/* Compares two texts of n bytes, of any bytes. Time is linear in their lengths; memory five times the longer.
 * MOEQ_OVER_MEMORY is the only error. moeq_answer_free *out, also after an error. */
enum moeq_status moeq_answer_check(const char *reference, size_t n_reference, const char *response,
                                   size_t n_response, struct moeq_answer *out, struct moeq_error *err);
void moeq_answer_free(struct moeq_answer *answer);

#endif
