/* Says of a PNG file how bright its corner is, 0 … 255, and how many of 1000 pixels have another colour:
 * whether something is drawn, and on what ground. For the pictures of browsers: 8 bits, RGB or RGBA, not
 * interlaced.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static void need(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "picture: %s\n", what);
    exit(2);
}

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* PNG's predictor: of left, above and above left the one nearest to left + above - above left. */
static int paeth(int a, int b, int c)
{
    const int p = a + b - c, pa = abs(p - a), pb = abs(p - b), pc = abs(p - c);
    return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

static void unfilter(uint8_t *row, const uint8_t *above, size_t n, size_t pixel)
{
    const int filter = row[-1];
    for (size_t i = 0; i < n; i++) {
        const int a = i < pixel ? 0 : row[i - pixel], b = above ? above[i] : 0,
                  c = above && i >= pixel ? above[i - pixel] : 0;
        const int predicted[] = {0, a, b, (a + b) / 2, paeth(a, b, c)};
        need(filter < 5, "an unknown filter");
        row[i] = (uint8_t)(row[i] + predicted[filter]);
    }
}

int main(int argc, char **argv)
{
    static uint8_t file[32 << 20];
    FILE *in = argc == 2 ? fopen(argv[1], "rb") : NULL;
    need(in != NULL, "usage: picture FILE.png");
    const size_t n = fread(file, 1, sizeof file, in);
    need(n > 33 && n < sizeof file && memcmp(file + 1, "PNG", 3) == 0, "not a PNG file");
    const size_t width = big_endian(file + 16), height = big_endian(file + 20), pixel = file[25] == 6 ? 4 : 3;
    need(file[24] == 8 && (file[25] == 2 || file[25] == 6) && !file[28], "another kind of PNG");
    const size_t stride = 1 + width * pixel;
    uint8_t *packed = malloc(n), *rows = malloc(stride * height);
    size_t n_packed = 0;
    need(packed && rows, "out of memory");
    for (size_t at = 8; at + 12 <= n;) {
        const size_t length = big_endian(file + at);
        need(length <= n - at - 12, "cut short");
        if (memcmp(file + at + 4, "IDAT", 4) == 0) {
            memcpy(packed + n_packed, file + at + 8, length);
            n_packed += length;
        }
        at += length + 12;
    }
    uLongf size = stride * height;
    need(uncompress(rows, &size, packed, n_packed) == Z_OK && size == stride * height, "damaged");
    size_t drawn = 0;
    for (size_t y = 0; y < height; y++) {
        uint8_t *row = rows + y * stride + 1;
        unfilter(row, y ? row - stride : NULL, stride - 1, pixel);
        for (size_t x = 0; x < width; x++)
            drawn += memcmp(row + x * pixel, rows + 1, 3) != 0;
    }
    printf("%d %zu\n", (rows[1] + rows[2] + rows[3]) / 3, drawn * 1000 / (width * height));
    free(packed);
    free(rows);
    fclose(in);
    return 0;
}
