/* JSON in one place: jansson, with duplicate keys rejected, and getters that bound every number before use.
 *
 * A json_t returned here belongs to the caller (json_decref). Getters borrow. */
#ifndef MOEQ_JSON_H
#define MOEQ_JSON_H

#include "status.h"

#include <jansson.h>

/* A tree takes up to 140 bytes for every value, and a value may be two bytes of text. The largest files of
 * releases, tokenizers, have about 2 million. */
#define MOEQ_MAX_JSON_VALUES 4000000

/* Parses n bytes as one JSON value of any kind. Duplicate keys, invalid UTF-8, NUL in strings, trailing text,
 * nesting beyond 2048 and more than MOEQ_MAX_JSON_VALUES values are MOEQ_DAMAGED, with the byte offset.
 * Returns NULL and sets *err. */
json_t *moeq_json_parse(const void *data, size_t n, struct moeq_error *err);

/* Reads and parses a file of at most max_bytes whose top level must be an object. */
json_t *moeq_json_load(const char *path, size_t max_bytes, struct moeq_error *err);

/* The same of DIR/NAME. NULL where there is none, or with *err set where it cannot be read. */
json_t *moeq_json_load_if_there(const char *dir, const char *name, size_t max_bytes, struct moeq_error *err);

/* Getters over an object. A missing key is MOEQ_DAMAGED unless the name says `_or`: then a missing or null
 * value gives the fallback. Wrong types and values out of range are always MOEQ_DAMAGED and name the key.
 * Whole numbers may be written as reals (32.0), as some releases do. */
enum moeq_status moeq_json_uint(const json_t *object, const char *key, uint64_t max, uint64_t *out,
                                struct moeq_error *err);
enum moeq_status moeq_json_uint_or(const json_t *object, const char *key, uint64_t max, uint64_t fallback,
                                   uint64_t *out, struct moeq_error *err);
enum moeq_status moeq_json_real_or(const json_t *object, const char *key, double fallback, double *out,
                                   struct moeq_error *err);
enum moeq_status moeq_json_bool_or(const json_t *object, const char *key, bool fallback, bool *out,
                                   struct moeq_error *err);
/* *out is borrowed from the object. */
enum moeq_status moeq_json_string(const json_t *object, const char *key, const char **out,
                                  struct moeq_error *err);
enum moeq_status moeq_json_string_or(const json_t *object, const char *key, const char *fallback,
                                     const char **out, struct moeq_error *err);
/* A member that must be an object / an array; NULL and *err set otherwise. Borrowed. */
json_t *moeq_json_object_at(const json_t *object, const char *key, struct moeq_error *err);
json_t *moeq_json_array_at(const json_t *object, const char *key, struct moeq_error *err);

/* One array element or other value as an unsigned number at most max; `what` names it in the error. */
enum moeq_status moeq_json_value_uint(const json_t *value, const char *what, uint64_t max, uint64_t *out,
                                      struct moeq_error *err);

/* Building. A value that could not be made is NULL; adding one, or failing to add, releases the container and
 * makes it NULL in turn, so that only the last result needs a check. The value is taken over. */
void moeq_json_append(json_t **list, json_t *value);
void moeq_json_set(json_t **object, const char *key, json_t *value);
json_t *moeq_json_real(double number); /* null where it is not finite: JSON has no such number */
/* [n_dims] as an array; what is above 2^63 as a real. */
json_t *moeq_json_shape(const uint64_t *shape, size_t n_dims);

/* Text of a value in a fixed form (insertion order kept, reals with 17 digits), so that equal values give
 * equal bytes. `pretty` indents by 1 and ends with a newline. free() it; NULL where memory is out. */
char *moeq_json_text(const json_t *value, bool pretty);
/* The same, compact and with reals of so many significant digits, for people to read. */
char *moeq_json_text_rounded(const json_t *value, unsigned digits);

#endif
