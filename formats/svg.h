/* Pictures as SVG: what is common to all of them. Between begin and end who draws writes elements to `file`.
 */
#ifndef MOEQ_SVG_H
#define MOEQ_SVG_H

#include "status.h"

#include <stdio.h>

struct moeq_svg {
    FILE *file;
    char *text; /* private */
    size_t n_bytes;
};

/* A white ground of width x height units; texts are of 11 units, without serifs. */
enum moeq_status moeq_svg_begin(struct moeq_svg *svg, double width, double height, struct moeq_error *err);

/* The picture's text; free() it. NULL and *err set where memory is out. */
char *moeq_svg_end(struct moeq_svg *svg, struct moeq_error *err);

/* A line of text with its base line at y; `anchor` is "start", "middle" or "end". Any text: what has a
 * meaning in SVG is escaped, control characters are shown as '?'. */
void moeq_svg_text(FILE *file, double x, double y, const char *anchor, const char *text);

#endif
