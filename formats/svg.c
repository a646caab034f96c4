#include "svg.h"

#include "escape.h"

#include <stdlib.h>

enum moeq_status moeq_svg_begin(struct moeq_svg *svg, double width, double height, struct moeq_error *err)
{
    *svg = (struct moeq_svg){0};
    if (!(svg->file = open_memstream(&svg->text, &svg->n_bytes)))
        return moeq_fail_alloc(err, 0);
    fprintf(svg->file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "font-family=\"sans-serif\" "
            "font-size=\"11\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            width, height);
    return MOEQ_OK;
}

char *moeq_svg_end(struct moeq_svg *svg, struct moeq_error *err)
{
    fputs("</svg>\n", svg->file);
    if (fclose(svg->file) != 0 || !svg->text) {
        free(svg->text);
        moeq_fail_alloc(err, 0);
        return NULL;
    }
    return svg->text;
}

void moeq_svg_text(FILE *file, double x, double y, const char *anchor, const char *text)
{
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    moeq_escape_xml(file, text);
    fputs("</text>\n", file);
}
