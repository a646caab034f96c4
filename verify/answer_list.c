#include "answer_parts.h"

/* ---- where a list is cut ---- */

/* A comma of thousands: three digits follow, at most three stand before, and no space. */
static bool is_thousands(struct moeq_span text, size_t i)
{
    size_t before = 0, after = 0;
    while (i > before && moeq_is_digit(text.at[i - 1 - before]))
        before++;
    while (moeq_is_digit(moeq_at(text, i + 1 + after)))
        after++;
    const char first = before ? text.at[i - before] : '0';
    const bool chained = i > before && text.at[i - before - 1] == ',' && before == 3;
    return after == 3 && before >= 1 && before <= 3 && (first != '0' || chained);
}

static bool has_wide_comma(struct moeq_span text)
{
    for (size_t i = 0; i + 1 < text.n; i++)
        if (text.at[i] == ',' && text.at[i + 1] == ' ')
            return true;
    return false;
}

/* Bytes of what separates two items at i; 0: nothing does. */
static size_t separator(struct moeq_span text, size_t i, bool keep_thousands)
{
    static const char *const words[] = {", and", ", or", "and", "or", "&", "\\text{and}", NULL};
    const char c = text.at[i];
    if ((c == ',' && (moeq_word_at(text, i + 1, " and") || moeq_word_at(text, i + 1, " or"))))
        return moeq_word_at(text, i + 1, " and") ? 5 : 4;
    if (c == ';')
        return 1;
    if (c == ',')
        return keep_thousands && is_thousands(text, i) ? 0 : 1;
    const bool apart = i && (text.at[i - 1] == ' ' || text.at[i - 1] == ')');
    const size_t n = apart ? moeq_any_word_at(text, i, words) : 0;
    return n;
}

static void add_item(struct moeq_items *items, struct moeq_span item)
{
    item = moeq_trim(item, "");
    if (items->n_items < MOEQ_MAX_ITEMS)
        items->items[items->n_items] = item;
    items->n_items++; /* too many are counted, and then no list */
}

static size_t group_end(struct moeq_span text, size_t i)
{
    /* brackets of intervals need not be of one kind */
    size_t depth = 0;
    for (; i < text.n; i++) {
        depth += strchr("([{", text.at[i]) != NULL;
        if (strchr(")]}", text.at[i]) && --depth == 0)
            return i + 1;
    }
    return text.n;
}

static void split(struct moeq_items *items, struct moeq_span text, bool keep_thousands)
{
    size_t from = 0;
    for (size_t i = 0; i < text.n;) {
        if (strchr("([{", text.at[i])) {
            i = group_end(text, i);
            continue;
        }
        const size_t n = separator(text, i, keep_thousands);
        if (n) {
            add_item(items, moeq_part(text, from, i));
            from = i + n;
        }
        i += n ? n : 1;
    }
    add_item(items, moeq_part(text, from, text.n));
}

/* The intervals of a union. */
static bool split_union(struct moeq_items *items, struct moeq_span text)
{
    size_t from = 0, depth = 0;
    for (size_t i = 0; i < text.n; i++) {
        depth += strchr("([{", text.at[i]) != NULL;
        depth -= strchr(")]}", text.at[i]) && depth;
        const size_t n = depth                              ? 0
                         : moeq_word_at(text, i, "\\cup")   ? 4
                         : moeq_word_at(text, i, "union")   ? 5
                         : i && moeq_has_at(text, i, " U ") ? 3
                                                            : 0;
        if (n) {
            add_item(items, moeq_part(text, from, i));
            from = i + n;
        }
    }
    if (items->n_items)
        add_item(items, moeq_part(text, from, text.n));
    return items->n_items > 0;
}

/* The cells of a matrix, in whatever brackets. */
static bool split_matrix(struct moeq_items *items, struct moeq_span text)
{
    static const char *const names[] = {"{pmatrix}", "{bmatrix}",     "{Bmatrix}",
                                        "{matrix}",  "{smallmatrix}", NULL};
    size_t k = 0;
    while (names[k] && !(moeq_has_at(text, 0, "\\begin") && moeq_has_at(text, 6, names[k])))
        k++;
    const char *end = names[k] ? memmem(text.at, text.n, "\\end{", 5) : NULL;
    if (!end)
        return false;
    const struct moeq_span body =
        moeq_trim(moeq_part(text, 6 + strlen(names[k]), (size_t)(end - text.at)), "");
    size_t from = 0;
    items->n_rows = 1;
    for (size_t i = 0; i < body.n; i++) {
        const bool row = moeq_has_at(body, i, "\\\\");
        if (body.at[i] != '&' && !row)
            continue;
        items->n_rows += row && i + 2 < body.n;
        add_item(items, moeq_part(body, from, i));
        from = i + 1 + row;
        i += row;
    }
    if (from < body.n)
        add_item(items, moeq_part(body, from, body.n));
    return true;
}

/* "x \in [1, 2]" is [1, 2]. */
static struct moeq_span behind_in(struct moeq_span text)
{
    for (size_t i = 0; i < text.n && i < 16; i++)
        if (moeq_word_at(text, i, "\\in"))
            return moeq_trim(moeq_part(text, i + 3, text.n), "");
    return text;
}

struct moeq_items moeq_answer_items(struct moeq_span text)
{
    struct moeq_items items = {0};
    text = behind_in(moeq_trim(text, ""));
    if (split_matrix(&items, text)) {
        items.open = items.close = 'm';
        items.ordered = true;
    } else if (split_union(&items, text)) {
        items.open = items.close = 'u';
    } else if (text.n >= 4 && moeq_has_at(text, 0, "\\{") && moeq_has_at(text, text.n - 2, "\\}")) {
        items.open = items.close = '{';
        const struct moeq_span inside = moeq_part(text, 2, text.n - 2);
        split(&items, inside, has_wide_comma(inside));
        if (items.n_items == 1 && items.items[0].n == 0)
            items.n_items = 0;
    } else if (text.n >= 3 && strchr("([", text.at[0]) && group_end(text, 0) == text.n &&
               strchr(")]", text.at[text.n - 1])) {
        const struct moeq_span inside = moeq_part(text, 1, text.n - 1);
        items.open = text.at[0];
        items.close = text.at[text.n - 1];
        items.ordered = true;
        split(&items, inside, has_wide_comma(inside));
        if (items.n_items < 2)
            items.n_items = 0;
    } else {
        split(&items, text, true);
        if (items.n_items < 2)
            items.n_items = 0;
    }
    for (size_t i = 0; i < items.n_items && i < MOEQ_MAX_ITEMS; i++)
        if (items.items[i].n == 0)
            items.n_items = 0;
    if (items.n_items > MOEQ_MAX_ITEMS)
        items.n_items = 0;
    return items;
}
