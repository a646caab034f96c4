/* Findings as lines of text. Many files with the same thing wrong are one line: the names are grouped as
 * those of tensors are ("model-0000{2-9}-of-01000.safetensors"); --json still has every file. */
#ifndef MOEQ_FINDING_LINES_H
#define MOEQ_FINDING_LINES_H

#include "findings.h"

/* Prints sorted findings to the standard output. Fails only where memory is out. */
enum moeq_status moeq_findings_print(const struct moeq_findings *findings, struct moeq_error *err);

#endif
