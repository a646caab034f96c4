/* Progress of a long piece of work, on stderr: one line rewritten in place on a terminal, a line now and then
 * otherwise. Only cmd_*.c creates one; libraries below take a pointer, which may be NULL, and call _add. */
#ifndef MOEQ_PROGRESS_H
#define MOEQ_PROGRESS_H

#include "status.h"

struct moeq_progress;

/* `total` counts `unit` ("bytes" is shown as MB/GB with a rate in MB/s; other units as they are); 0 =
 * unknown. Shows nothing where `quiet`, and nothing before half a second has passed on a terminal or 30 s
 * elsewhere. TERM=dumb, no TERM, and CI in the environment count as "no terminal". Never NULL-checked by
 * callers: NULL (out of memory) is a valid silent progress. */
struct moeq_progress *moeq_progress_start(const char *label, const char *unit, uint64_t total, bool quiet);

/* Adds to the count; thread-safe; cheap enough to call for every expert. `label` (borrowed for the call; may
 * be NULL = keep) says what is being worked on. */
void moeq_progress_add(struct moeq_progress *progress, uint64_t n, const char *label);

/* Clears the line and frees. */
void moeq_progress_end(struct moeq_progress *progress);

#endif
