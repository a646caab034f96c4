/* Any text as part of another language: of names and texts that come from files, nothing has a meaning there.
 * Bytes that are not UTF-8 and control characters are shown as '?'. */
#ifndef MOEQ_ESCAPE_H
#define MOEQ_ESCAPE_H

#include <stdio.h>

/* In XML and HTML, as text or between quotes. */
void moeq_escape_xml(FILE *out, const char *text);

/* In Markdown with tables as GitHub and GitLab read it: characters that format are behind a backslash, those
 * of HTML are entities. */
void moeq_escape_markdown(FILE *out, const char *text);

#endif
