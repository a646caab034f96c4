/* JSON walked through in place, for texts of which a tree would be large: the header of a safetensors file
 * has hundreds of bytes for every tensor, a tree of it several times as many.
 *
 * First moeq_json_check, which accepts exactly JSON (RFC 8259; nesting to 127 as the safetensors reference
 * reader). The walk then takes what was checked: it cannot fail, and knows nothing of syntax. */
#ifndef MOEQ_JSON_SCAN_H
#define MOEQ_JSON_SCAN_H

#include "status.h"

/* MOEQ_DAMAGED where text[n] is not one JSON value with nothing around it but white space; the error's offset
 * counts from `base`. The text is valid UTF-8 and text[n] is readable and 0. */
enum moeq_status moeq_json_check(const char *text, size_t n, uint64_t base, struct moeq_error *err);

struct moeq_json_scan {
    char *text; /* checked; strings that are read are unescaped where they stand and end with a NUL there */
    size_t at;
    size_t nul_at; /* where a string had its first \u0000, which is left as it is written; 0: nowhere */
};

/* What comes next: '{', '[', '"', 't', 'f', 'n', or '0' for any number. */
char moeq_json_scan_kind(struct moeq_json_scan *scan);

/* Steps into an object or array; then, before every member or element, moeq_json_scan_next: false where there
 * is none, and the object or array is left behind. */
void moeq_json_scan_enter(struct moeq_json_scan *scan);
bool moeq_json_scan_next(struct moeq_json_scan *scan);

/* A member's key, or a value that is a string. Lives as long as the text. */
const char *moeq_json_scan_key(struct moeq_json_scan *scan);
const char *moeq_json_scan_string(struct moeq_json_scan *scan);

/* A value that is a number: false where it is not written as plain digits, or needs more than 64 bits. */
bool moeq_json_scan_uint(struct moeq_json_scan *scan, uint64_t *out);

/* A value of any kind. */
void moeq_json_scan_skip(struct moeq_json_scan *scan);

#endif
