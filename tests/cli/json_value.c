/* Reads one JSON text from standard input, strictly, and prints a value of it: what the command line's cases
 * use to see that a result is valid JSON and what it says.
 *
 * Usage: json_value PATH    PATH: keys and array places with dots between, as in tensors.0.name
 *
 * Numbers and strings are printed as they are, other values as JSON. Exit code 1: not JSON, or no such value.
 */
#include <jansson.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const json_t *step(const json_t *value, const char *key)
{
    return json_is_array(value) ? json_array_get(value, strtoul(key, NULL, 10)) : json_object_get(value, key);
}

int main(int argc, char **argv)
{
    json_error_t problem;
    json_t *root = json_loadf(stdin, JSON_REJECT_DUPLICATES, &problem);
    if (argc != 2 || !root) {
        fprintf(stderr, "json_value: %s\n", argc == 2 ? problem.text : "one PATH is needed");
        json_decref(root);
        return 1;
    }
    const json_t *value = root;
    for (char *key = strtok(argv[1], "."); key && value; key = strtok(NULL, "."))
        value = step(value, key);
    if (json_is_string(value))
        puts(json_string_value(value));
    else if (value && json_dumpf(value, stdout, JSON_ENCODE_ANY) == 0)
        putchar('\n');
    else
        fprintf(stderr, "json_value: no such value\n");
    int code = value ? 0 : 1;
    json_decref(root);
    return code;
}
