/* Files that tests make at run time: a folder of their own, and small safetensors files written byte by byte,
 * not by the product's own writer. JSON is written with ' for ", which no fixture needs. */
#ifndef MOEQ_FIXTURE_H
#define MOEQ_FIXTURE_H

#include <ftw.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIXTURE_PATH 512
#define FIXTURE_TEXT 16384

/* A fixture that cannot be made is no finding about the product. */
static inline void fixture_need(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(2);
}

/* Makes an empty folder; remove it with fixture_remove. */
static inline void fixture_make(char dir[FIXTURE_PATH])
{
    const char *base = getenv("TMPDIR");
    snprintf(dir, FIXTURE_PATH, "%s/moeq-test-XXXXXX", base && *base ? base : "/tmp");
    fixture_need(mkdtemp(dir) != NULL, dir);
}

static inline int fixture_remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

static inline void fixture_remove(const char *dir)
{
    nftw(dir, fixture_remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static inline char *fixture_path(char path[FIXTURE_PATH], const char *dir, const char *name)
{
    int n = snprintf(path, FIXTURE_PATH, "%s/%s", dir, name);
    fixture_need(n > 0 && n < FIXTURE_PATH, "path too long");
    return path;
}

static inline void fixture_write(const char *dir, const char *name, const void *data, size_t n)
{
    char path[FIXTURE_PATH];
    FILE *out = fopen(fixture_path(path, dir, name), "wb");
    fixture_need(out != NULL, path);
    fixture_need(fwrite(data, 1, n, out) == n, path);
    fixture_need(fclose(out) == 0, path);
}

/* Makes a file longer or shorter by `change` bytes. */
static inline void fixture_resize(const char *dir, const char *name, long change)
{
    char path[FIXTURE_PATH];
    struct stat info;
    fixture_need(stat(fixture_path(path, dir, name), &info) == 0, path);
    fixture_need(truncate(path, info.st_size + change) == 0, path);
}

/* Flips all bits of one byte. */
static inline void fixture_flip(const char *dir, const char *name, long offset)
{
    char path[FIXTURE_PATH];
    FILE *file = fopen(fixture_path(path, dir, name), "r+b");
    fixture_need(file && fseek(file, offset, SEEK_SET) == 0, path);
    int byte = fgetc(file);
    fixture_need(byte != EOF && fseek(file, offset, SEEK_SET) == 0 && fputc(byte ^ 0xFF, file) != EOF, path);
    fixture_need(fclose(file) == 0, path);
}

static inline bool fixture_exists(const char *dir, const char *name)
{
    char path[FIXTURE_PATH];
    struct stat info;
    return lstat(fixture_path(path, dir, name), &info) == 0;
}

/* The whole of a file on the heap, with a NUL behind it. */
static inline char *fixture_read(const char *dir, const char *name, size_t *n)
{
    char path[FIXTURE_PATH];
    struct stat info;
    FILE *in = fopen(fixture_path(path, dir, name), "rb");
    fixture_need(in && fstat(fileno(in), &info) == 0, path);
    *n = (size_t)info.st_size;
    char *text = calloc(*n + 1, 1);
    fixture_need(text && fread(text, 1, *n, in) == *n, path);
    fclose(in);
    return text;
}

/* ' becomes ". Returns dst. */
static inline char *fixture_quote(char dst[FIXTURE_TEXT], const char *text)
{
    int n = snprintf(dst, FIXTURE_TEXT, "%s", text);
    fixture_need(n >= 0 && n < FIXTURE_TEXT, "text too long");
    for (char *c = dst; *c; c++)
        if (*c == '\'')
            *c = '"';
    return dst;
}

static inline void fixture_write_json(const char *dir, const char *name, const char *text)
{
    char quoted[FIXTURE_TEXT];
    fixture_write(dir, name, fixture_quote(quoted, text), strlen(text));
}

/* A safetensors file: length, header, then n_data bytes 1, 2, 3, … */
static inline void fixture_write_safetensors(const char *dir, const char *name, const char *header,
                                             size_t n_data)
{
    char quoted[FIXTURE_TEXT];
    size_t n = strlen(fixture_quote(quoted, header));
    uint8_t *bytes = calloc(8 + n + n_data, 1);
    fixture_need(bytes != NULL, "memory");
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, quoted, n);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + n + i] = (uint8_t)(i + 1);
    fixture_write(dir, name, bytes, 8 + n + n_data);
    free(bytes);
}

#endif
