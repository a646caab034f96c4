#include "answer_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Numbers of more bits, and what nests deeper, are not computed; such answers are compared as text. */
enum { MAX_BITS = 1 << 15, MAX_DEPTH = 64, MAX_POWER = 5000, MAX_STEPS = 1000 };

struct parser {
    const char *at, *end;
    BN_CTX *bn;
    int depth, n_steps;
    bool failed;        /* not a formula that can be computed */
    bool out_of_memory; /* libcrypto's allocations */
};

/* A value on its way. Numbers belong to the BN_CTX of the parser. */
struct term {
    bool exact;
    BIGNUM *num, *den;
    double at[2];
};

static struct term parse_sum(struct parser *p);

/* ---- arithmetic ---- */

static struct term nothing(struct parser *p)
{
    p->failed = true;
    return (struct term){.at = {1, 1}};
}

static BIGNUM *fresh(struct parser *p)
{
    BIGNUM *number = BN_CTX_get(p->bn);
    p->out_of_memory = p->out_of_memory || !number;
    return number;
}

static void need(struct parser *p, int done)
{
    p->out_of_memory = p->out_of_memory || !done;
}

static struct term whole(struct parser *p, unsigned long value)
{
    struct term t = {.exact = true, .num = fresh(p), .den = fresh(p), .at = {(double)value, (double)value}};
    if (t.den)
        need(p, BN_set_word(t.num, value) && BN_one(t.den));
    return t;
}

static bool fits(const struct term *a, const struct term *b)
{
    const int bits = BN_num_bits(a->num) + BN_num_bits(b->num),
              lower = BN_num_bits(a->den) + BN_num_bits(b->den);
    return bits <= MAX_BITS && lower <= MAX_BITS && bits + lower <= MAX_BITS;
}

/* Whether both are rational numbers that can be computed with; too large ones fail. */
static bool exact_pair(struct parser *p, const struct term *a, const struct term *b)
{
    if (p->failed || p->out_of_memory || !a->exact || !b->exact)
        return false;
    p->failed = !fits(a, b) || ++p->n_steps > MAX_STEPS;
    return !p->failed;
}

static struct term add(struct parser *p, struct term a, struct term b, bool subtract)
{
    struct term sum = {.at = {subtract ? a.at[0] - b.at[0] : a.at[0] + b.at[0],
                              subtract ? a.at[1] - b.at[1] : a.at[1] + b.at[1]}};
    if (!exact_pair(p, &a, &b))
        return sum;
    BIGNUM *left = fresh(p), *right = fresh(p);
    sum.exact = true;
    sum.num = fresh(p);
    sum.den = fresh(p);
    if (sum.den)
        need(p, BN_mul(left, a.num, b.den, p->bn) && BN_mul(right, b.num, a.den, p->bn) &&
                    (subtract ? BN_sub(sum.num, left, right) : BN_add(sum.num, left, right)) &&
                    BN_mul(sum.den, a.den, b.den, p->bn));
    return sum;
}

static struct term multiply(struct parser *p, struct term a, struct term b)
{
    struct term product = {.at = {a.at[0] * b.at[0], a.at[1] * b.at[1]}};
    if (!exact_pair(p, &a, &b))
        return product;
    product.exact = true;
    product.num = fresh(p);
    product.den = fresh(p);
    if (product.den)
        need(p, BN_mul(product.num, a.num, b.num, p->bn) && BN_mul(product.den, a.den, b.den, p->bn));
    return product;
}

/* 1 / a. */
static struct term inverse(struct parser *p, struct term a)
{
    struct term turned = {.exact = a.exact, .num = a.den, .den = a.num, .at = {1 / a.at[0], 1 / a.at[1]}};
    if (p->failed || p->out_of_memory || !a.exact)
        return turned;
    if (BN_is_zero(a.num))
        return nothing(p);
    if (BN_is_negative(a.num)) { /* denominators stay positive */
        BIGNUM *num = fresh(p), *den = fresh(p);
        if (den)
            need(p, BN_copy(num, a.den) && BN_copy(den, a.num));
        if (p->out_of_memory)
            return nothing(p);
        BN_set_negative(num, 1);
        BN_set_negative(den, 0);
        turned.num = num;
        turned.den = den;
    }
    return turned;
}

static struct term power_of(struct parser *p, struct term base, unsigned n)
{
    struct term result = whole(p, 1);
    const bool exact = base.exact && !p->failed && !p->out_of_memory;
    if (exact && (uint64_t)(BN_num_bits(base.num) + BN_num_bits(base.den)) * n > MAX_BITS)
        return nothing(p);
    for (unsigned bit = 1u << 13; bit && !p->failed && !p->out_of_memory; bit >>= 1) {
        result = multiply(p, result, result);
        if (n & bit)
            result = multiply(p, result, base);
    }
    return result;
}

/* The exponent as a whole number of at most MAX_POWER; false where it is none. */
static bool whole_exponent(struct parser *p, const struct term *t, int *out)
{
    if (p->failed || p->out_of_memory || !t->exact || fabs(t->at[0]) > MAX_POWER ||
        t->at[0] != floor(t->at[0]))
        return false;
    *out = (int)t->at[0];
    return true;
}

static struct term raise(struct parser *p, struct term base, struct term exponent)
{
    int n = 0;
    if (whole_exponent(p, &exponent, &n)) {
        struct term result = power_of(p, base, (unsigned)abs(n));
        return n < 0 ? inverse(p, result) : result;
    }
    if (exponent.exact && base.exact && fabs(exponent.at[0]) > MAX_POWER)
        return nothing(p);
    return (struct term){.at = {pow(base.at[0], exponent.at[0]), pow(base.at[1], exponent.at[1])}};
}

/* The exact square root of a number; false where it has none. */
static bool exact_root(struct parser *p, const BIGNUM *square, BIGNUM **root)
{
    BIGNUM *x = fresh(p), *y = fresh(p), *sum = fresh(p);
    if (!sum || BN_is_negative(square) || BN_num_bits(square) > 512)
        return false;
    need(p, BN_one(x) && BN_lshift(x, x, (BN_num_bits(square) + 1) / 2));
    while (!p->out_of_memory) { /* Newton's steps fall until they are there */
        if (BN_is_zero(square))
            return BN_zero(x), *root = x, true;
        need(p, BN_div(y, NULL, square, x, p->bn) && BN_add(sum, x, y) && BN_rshift1(y, sum));
        if (BN_cmp(y, x) >= 0)
            break;
        need(p, BN_copy(x, y) != NULL);
    }
    need(p, BN_sqr(y, x, p->bn));
    *root = x;
    return !p->out_of_memory && BN_cmp(y, square) == 0;
}

static struct term root_of(struct parser *p, struct term t)
{
    struct term root = {.at = {sqrt(t.at[0]), sqrt(t.at[1])}};
    if (p->failed || p->out_of_memory || !t.exact)
        return root;
    /* sqrt(a/b) = sqrt(ab)/b, whether or not a/b is in its lowest terms */
    BIGNUM *product = fresh(p), *num = NULL;
    if (!product || !fits(&t, &t))
        return nothing(p);
    need(p, BN_mul(product, t.num, t.den, p->bn));
    if (!p->out_of_memory && exact_root(p, product, &num)) {
        root.exact = true;
        root.num = num;
        root.den = t.den;
    }
    return root;
}

/* ---- numbers ---- */

static size_t digits_at(const struct parser *p, const char *at)
{
    size_t n = 0;
    while (at + n < p->end && moeq_is_digit(at[n]))
        n++;
    return n;
}

/* Digits, of which `decimals` are behind the point. */
static struct term decimal(struct parser *p, const char *digits, size_t decimals)
{
    BIGNUM *ten = fresh(p), *places = fresh(p);
    struct term t = whole(p, 0);
    if (p->out_of_memory)
        return t;
    const size_t n = strlen(digits);
    char text[64]; /* for the double, 40 digits are more than enough */
    snprintf(text, sizeof text, "%.40s", digits);
    const double value = strtod(text, NULL) * pow(10, (double)(n > 40 ? n - 40 : 0) - (double)decimals);
    t.at[0] = t.at[1] = value;
    need(p, BN_dec2bn(&t.num, digits) > 0);
    need(p, BN_set_word(ten, 10) && BN_set_word(places, decimals) && BN_exp(t.den, ten, places, p->bn));
    return t;
}

/* Whether the separators of the digits at p->at are ones of thousands; the bytes of the whole number. A comma
 * separates groups of three, or of two before the last three (India). */
static size_t grouped(const struct parser *p)
{
    const char *at = p->at;
    size_t n = digits_at(p, at), group = 0;
    const char mark = at + n < p->end ? at[n] : '\0';
    if (n == 0 || n > 3 || !mark || !strchr(", _'", mark) || (at[0] == '0'))
        return 0;
    at += n;
    while (at < p->end && *at == mark && (group = digits_at(p, at + 1)) && (group == 3 || group == 2)) {
        const bool goes_on = at + 1 + group < p->end && at[1 + group] == mark && digits_at(p, at + 2 + group);
        if (group == 2 && !(mark == ',' && goes_on))
            return 0;
        at += 1 + group;
    }
    const bool is_more = at < p->end && *at == mark && digits_at(p, at + 1);
    return group != 3 || is_more ? 0 : (size_t)(at - p->at);
}

/* 1.234.567,8: points for thousands, a comma for decimals. */
static size_t european(const struct parser *p, size_t *point)
{
    const char *at = p->at;
    size_t n = digits_at(p, at), n_groups = 0;
    *point = 0;
    if (n == 0 || n > 3 || at[0] == '0')
        return 0;
    at += n;
    while (at < p->end && *at == '.' && digits_at(p, at + 1) == 3) {
        at += 4;
        n_groups++;
    }
    const bool comma = at < p->end && *at == ',' && digits_at(p, at + 1) > 0;
    if (n_groups == 0 || (n_groups == 1 && !comma) || (at < p->end && *at == '.' && digits_at(p, at + 1)))
        return 0;
    if (comma) {
        *point = (size_t)(at - p->at);
        at += 1 + digits_at(p, at + 1);
    }
    return (size_t)(at - p->at);
}

/* Bytes of the number, and where its decimal point is (its length, where it has none). */
static size_t number_length(const struct parser *p, size_t *point)
{
    size_t n = european(p, point);
    if (n) {
        *point = *point ? *point : n;
        return n;
    }
    n = grouped(p);
    n = n ? n : digits_at(p, p->at);
    *point = n;
    const char *at = p->at + n;
    if (at < p->end && *at == '.')
        return n + 1 + digits_at(p, at + 1);
    const size_t decimals = at < p->end && *at == ',' ? digits_at(p, at + 1) : 0;
    return decimals && at + 1 + decimals == p->end ? n + 1 + decimals : n;
}

static struct term parse_number(struct parser *p)
{
    char digits[MOEQ_MAX_ANSWER + 2] = "0";
    size_t point, n = number_length(p, &point), n_digits = 1, decimals = 0;
    for (size_t i = 0; i < n; i++)
        if (moeq_is_digit(p->at[i])) {
            digits[n_digits++] = p->at[i];
            decimals += i > point;
        }
    digits[n_digits] = '\0';
    if (n_digits == 1)
        return nothing(p);
    p->at += n;
    struct term t = decimal(p, digits, decimals);
    /* 1.5e3 */
    const size_t sign = p->at + 1 < p->end && strchr("+-", p->at[1]) ? 1 : 0;
    if (p->at < p->end && strchr("eE", *p->at) && digits_at(p, p->at + 1 + sign)) {
        const bool negative = p->at[1] == '-';
        p->at += 1 + sign;
        const size_t n_exponent = digits_at(p, p->at);
        const int exponent = n_exponent < 6 ? atoi(p->at) : MAX_POWER + 1;
        p->at += n_exponent;
        if (exponent > MAX_POWER)
            return nothing(p);
        struct term power = power_of(p, whole(p, 10), (unsigned)exponent);
        t = multiply(p, t, negative ? inverse(p, power) : power);
    }
    return t;
}

/* ---- formulas ---- */

static void skip_spaces(struct parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '$' || (uint8_t)*p->at >= 0x80))
        p->at++;
}

static bool next_is(const struct parser *p, const char *word)
{
    const size_t n = strlen(word);
    return (size_t)(p->end - p->at) >= n && memcmp(p->at, word, n) == 0;
}

static bool take(struct parser *p, const char *word)
{
    skip_spaces(p);
    if (!next_is(p, word))
        return false;
    p->at += strlen(word);
    return true;
}

/* A variable's values, by its name: any two will do that no formula expects. */
static struct term variable(const char *name, size_t n)
{
    uint64_t hash = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint8_t)name[i]) * 1099511628211u;
    const double first = (double)(hash % 9973) / 9973, second = (double)(hash / 9973 % 9967) / 9967;
    return (struct term){.at = {0.7 + first, 1.3 + second}};
}

static struct term in_brackets(struct parser *p, const char *close)
{
    if (++p->depth > MAX_DEPTH)
        return nothing(p);
    struct term t = parse_sum(p);
    p->depth--;
    p->failed = p->failed || !take(p, close);
    return t;
}

static struct term parse_group(struct parser *p)
{
    return take(p, "{") ? in_brackets(p, "}") : nothing(p);
}

/* Behind \sqrt: a group, perhaps after [n]; behind \surd a number or brackets. */
static struct term parse_root(struct parser *p, bool surd)
{
    if (surd && take(p, "("))
        return root_of(p, in_brackets(p, ")"));
    if (surd)
        return skip_spaces(p),
               root_of(p, p->at < p->end && moeq_is_digit(*p->at) ? parse_number(p) : nothing(p));
    if (!take(p, "["))
        return root_of(p, parse_group(p));
    struct term degree = in_brackets(p, "]");
    int n = 0;
    struct term t = parse_group(p);
    if (!whole_exponent(p, &degree, &n) || n < 2)
        return nothing(p);
    if (n == 2)
        return root_of(p, t);
    return (struct term){.at = {n % 2 && t.at[0] < 0 ? -pow(-t.at[0], 1.0 / n) : pow(t.at[0], 1.0 / n),
                                n % 2 && t.at[1] < 0 ? -pow(-t.at[1], 1.0 / n) : pow(t.at[1], 1.0 / n)}};
}

static double common_log(double x)
{
    return log10(x);
}

static const struct {
    const char *name;
    double (*of)(double);
} functions[] = {{"sin", sin}, {"cos", cos}, {"tan", tan}, {"ln", log}, {"log", common_log}, {"exp", exp}};

static struct term parse_power(struct parser *p);

static struct term parse_command(struct parser *p)
{
    const char *name = ++p->at;
    while (p->at < p->end && moeq_is_letter(*p->at))
        p->at++;
    const size_t n = (size_t)(p->at - name);
    const struct moeq_span word = {name, n};
    if (n == 4 && moeq_has_at(word, 0, "frac")) {
        struct term num = parse_group(p), den = parse_group(p);
        return multiply(p, num, inverse(p, den));
    }
    if (n == 4 && moeq_has_at(word, 0, "sqrt"))
        return parse_root(p, false);
    if (n == 4 && moeq_has_at(word, 0, "surd"))
        return parse_root(p, true);
    if (n == 2 && moeq_has_at(word, 0, "pi"))
        return (struct term){.at = {3.14159265358979323846, 3.14159265358979323846}};
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++)
        if (n == strlen(functions[k].name) && moeq_has_at(word, 0, functions[k].name)) {
            skip_spaces(p);
            if (p->at < p->end && strchr("^_", *p->at))
                return nothing(p);
            struct term t = parse_power(p);
            return (struct term){.at = {functions[k].of(t.at[0]), functions[k].of(t.at[1])}};
        }
    static const char *const letters[] = {"alpha", "beta", "gamma", "delta", "theta", "lambda",
                                          "mu",    "phi",  "omega", "sigma", "infty", "epsilon",
                                          "rho",   "tau",  "Delta", NULL};
    return n && moeq_any_word_at(word, 0, letters) == n ? variable(name, n) : nothing(p);
}

/* Letters: one or two are variables, with an index; longer words are no formula. */
static struct term parse_letters(struct parser *p)
{
    size_t n = 0;
    while (p->at + n < p->end && moeq_is_letter(p->at[n]))
        n++;
    const struct moeq_span word = {p->at, n};
    if (n == 2 && moeq_has_at(word, 0, "pi")) {
        p->at += 2;
        return (struct term){.at = {3.14159265358979323846, 3.14159265358979323846}};
    }
    if (n == 4 && moeq_has_at(word, 0, "sqrt")) {
        p->at += 4;
        return parse_root(p, true);
    }
    if (n > 2)
        return nothing(p);
    const char *name = p->at++;
    if (n == 1 && p->at + 1 < p->end && *p->at == '_') {
        p->at++;
        const size_t n_index =
            *p->at == '{' ? moeq_group_end((struct moeq_span){p->at, (size_t)(p->end - p->at)}, 0) : 1;
        p->at += n_index;
        const bool braces = name[2] == '{' && n_index == 3; /* x_{1} is x_1 */
        const char simple[] = {name[0], '_', braces ? name[3] : '\0'};
        return braces ? variable(simple, 3) : variable(name, 2 + n_index);
    }
    return variable(name, 1);
}

static struct term parse_atom(struct parser *p)
{
    skip_spaces(p);
    if (p->at >= p->end || p->failed || p->out_of_memory || p->depth > MAX_DEPTH)
        return nothing(p);
    const char c = *p->at;
    if (moeq_is_digit(c) || (c == '.' && digits_at(p, p->at + 1)))
        return parse_number(p);
    if (take(p, "("))
        return in_brackets(p, ")");
    if (take(p, "["))
        return in_brackets(p, "]");
    if (take(p, "{"))
        return in_brackets(p, "}");
    if (c == '\\' && p->at + 1 < p->end && moeq_is_letter(p->at[1]))
        return parse_command(p);
    return moeq_is_letter(c) ? parse_letters(p) : nothing(p);
}

static struct term parse_unary(struct parser *p);

/* n! */
static struct term factorial(struct parser *p, struct term t)
{
    int n = 0;
    if (!whole_exponent(p, &t, &n) || n < 0 || n > 1000)
        return nothing(p);
    struct term product = whole(p, 1);
    for (int k = 2; k <= n && !p->failed && !p->out_of_memory; k++)
        product = multiply(p, product, whole(p, (unsigned long)k));
    return product;
}

static struct term parse_power(struct parser *p)
{
    struct term base = parse_atom(p);
    if (!p->failed && take(p, "!"))
        base = factorial(p, base);
    if (!take(p, "^") || p->failed)
        return base;
    return raise(p, base, take(p, "{") ? in_brackets(p, "}") : parse_unary(p));
}

/* What a mixed number goes on with, 1 1/2 or 1\frac{1}{2}, where `from` … p->at are digits alone. */
static bool is_mixed(struct parser *p, const char *from)
{
    const char *at = from + digits_at(p, from), *behind = at;
    if (at == from)
        return false;
    while (at < p->end && *at == ' ')
        at++;
    const struct moeq_span rest = {at, (size_t)(p->end - at)};
    if (at < p->at)
        return false;
    if (moeq_has_at(rest, 0, "\\frac{")) {
        for (size_t i = 6; i < rest.n && rest.at[i] != '}'; i++)
            if (!moeq_is_digit(rest.at[i]))
                return false;
        return moeq_is_digit(moeq_at(rest, 6));
    }
    const size_t n = digits_at(p, at);
    return at > behind && n && at + n < p->end && at[n] == '/' && digits_at(p, at + n + 1);
}

/* Whether a factor follows without a sign. A number does not: "2 3" are two. */
static bool factor_follows(struct parser *p)
{
    skip_spaces(p);
    if (p->at >= p->end)
        return false;
    return *p->at == '(' || *p->at == '{' || moeq_is_letter(*p->at) ||
           (*p->at == '\\' && p->at + 1 < p->end && moeq_is_letter(p->at[1]));
}

/* A number that a fraction makes a mixed one. */
static struct term parse_mixed(struct parser *p)
{
    skip_spaces(p);
    const char *from = p->at;
    struct term t = parse_power(p);
    if (p->failed || p->at == from || !is_mixed(p, from))
        return t;
    const bool command = factor_follows(p);
    struct term part = parse_atom(p);
    if (!command && take(p, "/"))
        part = multiply(p, part, inverse(p, parse_atom(p)));
    return add(p, t, part, false);
}

static struct term parse_unary(struct parser *p)
{
    if (++p->depth > MAX_DEPTH)
        return nothing(p);
    struct term t;
    if (take(p, "-"))
        t = add(p, whole(p, 0), parse_unary(p), true);
    else if (take(p, "+"))
        t = parse_unary(p);
    else
        t = parse_mixed(p);
    p->depth--;
    return t;
}

static struct term parse_product(struct parser *p)
{
    struct term t = parse_unary(p);
    while (!p->failed && !p->out_of_memory) {
        if (take(p, "*"))
            t = multiply(p, t, parse_unary(p));
        else if (take(p, "/"))
            t = multiply(p, t, inverse(p, parse_unary(p)));
        else if (moeq_has_at((struct moeq_span){p->at, (size_t)(p->end - p->at)}, 0, "x 10^"))
            p->at++, t = multiply(p, t, parse_unary(p));
        else if (factor_follows(p))
            t = multiply(p, t, parse_power(p));
        else
            break;
    }
    return t;
}

static struct term parse_sum(struct parser *p)
{
    struct term t = parse_product(p);
    while (!p->failed && !p->out_of_memory) {
        if (take(p, "+"))
            t = add(p, t, parse_product(p), false);
        else if (take(p, "-"))
            t = add(p, t, parse_product(p), true);
        else
            break;
    }
    return t;
}

/* ---- the whole ---- */

enum moeq_status moeq_answer_value(struct moeq_span text, int scale, struct moeq_value *out,
                                   struct moeq_error *err)
{
    *out = (struct moeq_value){0};
    if (text.n == 0)
        return MOEQ_OK;
    char digits[24];
    const uint64_t named = moeq_number_words(text);
    if (text.n == 4 && moeq_has_at(text, 0, "zero")) {
        text = (struct moeq_span){"0", 1};
    } else if (named) {
        const size_t n = (size_t)snprintf(digits, sizeof digits, "%s%llu", text.at[0] == '-' ? "-" : "",
                                          (unsigned long long)named);
        text = (struct moeq_span){digits, n};
    }
    struct parser p = {.at = text.at, .end = text.at + text.n, .bn = BN_CTX_new()};
    if (!p.bn)
        return moeq_fail_alloc(err, 0);
    BN_CTX_start(p.bn);
    struct term t = parse_sum(&p);
    skip_spaces(&p);
    p.failed = p.failed || p.at < p.end;
    if (!p.failed && scale)
        t = multiply(&p, t, power_of(&p, whole(&p, 10), (unsigned)(scale < 100 ? scale : 100)));
    if (!p.failed && !p.out_of_memory) {
        *out = (struct moeq_value){.known = t.exact || (isfinite(t.at[0]) && isfinite(t.at[1])),
                                   .exact = t.exact,
                                   .num = t.exact ? BN_dup(t.num) : NULL,
                                   .den = t.exact ? BN_dup(t.den) : NULL,
                                   .at = {t.at[0], t.at[1]}};
        p.out_of_memory = t.exact && (!out->num || !out->den);
    }
    BN_CTX_end(p.bn);
    BN_CTX_free(p.bn);
    return p.out_of_memory ? moeq_fail_alloc(err, 0) : MOEQ_OK;
}

void moeq_value_free(struct moeq_value *value)
{
    BN_free(value->num);
    BN_free(value->den);
    *value = (struct moeq_value){0};
}

static bool close_to(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fmax(fabs(a), fabs(b));
}

enum moeq_status moeq_values_equal(const struct moeq_value *a, unsigned factor, const struct moeq_value *b,
                                   bool *equal, struct moeq_error *err)
{
    *equal = false;
    if (!a->known || !b->known || a->exact != b->exact)
        return MOEQ_OK;
    if (!a->exact) {
        *equal = close_to(a->at[0] * factor, b->at[0]) && close_to(a->at[1] * factor, b->at[1]);
        return MOEQ_OK;
    }
    BN_CTX *bn = BN_CTX_new();
    BIGNUM *left = BN_new(), *right = BN_new();
    const bool done = bn && left && right && BN_mul(left, a->num, b->den, bn) && BN_mul_word(left, factor) &&
                      BN_mul(right, b->num, a->den, bn);
    *equal = done && BN_cmp(left, right) == 0;
    BN_free(left);
    BN_free(right);
    BN_CTX_free(bn);
    return done ? MOEQ_OK : moeq_fail_alloc(err, 0);
}
