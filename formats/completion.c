/* Completion for bash, zsh and fish, out of the tables of options.h: verbs, option names, the words of a
 * choice, and files for the rest. */
#include "help.h"

#include <string.h>

static const struct moeq_help_escape in_quotes[] = {{'\'', "'\\''"}, {0, NULL}}; /* sh, '...' */
static const struct moeq_help_escape in_words[] = {{'\'', "'\\''"}, {'|', " "}, {0, NULL}};
static const struct moeq_help_escape in_zsh_spec[] = {{'\'', "'\\''"}, {'\\', "\\\\"}, {'[', "\\["},
                                                      {']', "\\]"},    {':', "\\:"},   {0, NULL}};
static const struct moeq_help_escape in_fish[] = {{'\'', "\\'"}, {'\\', "\\\\"}, {'|', " "}, {0, NULL}};

/* No file, and no word that is known. */
static bool is_amount(const struct moeq_option *option)
{
    return option->kind == MOEQ_OPTION_NUMBER || option->kind == MOEQ_OPTION_REAL ||
           option->kind == MOEQ_OPTION_BYTES;
}

/* The branches for words that stand behind an option with a value. */
static void bash_values(FILE *out, const struct moeq_verb *verb)
{
    const struct moeq_option *option;
    for (size_t i = 0; (option = moeq_help_option_at(verb, i)); i++) {
        if (option->kind == MOEQ_OPTION_FLAG)
            continue;
        fputs("    ", out);
        if (option->letter)
            fprintf(out, "%s:-%c | ", verb->name, option->letter);
        fprintf(out, "%s:--%s)\n", verb->name, option->name);
        if (option->kind == MOEQ_OPTION_CHOICE) {
            fputs("        COMPREPLY=($(compgen -W '", out);
            moeq_help_put(out, in_words, option->choices);
            fputs("' -- \"$word\"))\n", out);
        }
        fputs("        return\n        ;;\n", out);
    }
}

void moeq_help_completion_bash(FILE *out, const struct moeq_verb *const *verbs)
{
    /* Readline cuts "--level=int4" into three words at the '='. What the function leaves empty is completed
     * as a file name ("-o default"). */
    fputs(
        "# bash completion for moeq\n_moeq() {\n"
        "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}\n"
        "    local i verbs='",
        out);
    for (size_t i = 0; verbs[i]; i++)
        fprintf(out, "%s ", verbs[i]->name);
    fputs("help'\n"
          "    COMPREPLY=()\n"
          "    if [[ $word == = ]]; then\n        word=\n"
          "    elif [[ $before == = ]]; then\n        before=${COMP_WORDS[COMP_CWORD-2]}\n    fi\n"
          "    if ((COMP_CWORD == 1)); then\n"
          "        COMPREPLY=($(compgen -W \"$verbs --help\" -- \"$word\"))\n        return\n    fi\n"
          "    for ((i = 2; i < COMP_CWORD; i++)); do\n"
          "        [[ ${COMP_WORDS[i]} == -- ]] && return\n    done\n"
          "    case $verb:$before in\n"
          "    help:*)\n        COMPREPLY=($(compgen -W \"$verbs\" -- \"$word\"))\n        return\n        "
          ";;\n",
          out);
    for (size_t i = 0; verbs[i]; i++)
        bash_values(out, verbs[i]);
    fputs("    esac\n    [[ $word == -* ]] || return\n    case $verb in\n", out);
    for (size_t i = 0; verbs[i]; i++) {
        fprintf(out, "    %s) COMPREPLY=($(compgen -W '", verbs[i]->name);
        for (size_t j = 0; moeq_help_option_at(verbs[i], j); j++) {
            const struct moeq_option *option = moeq_help_option_at(verbs[i], j);
            if (option->letter)
                fprintf(out, "-%c ", option->letter);
            fprintf(out, "--%s ", option->name);
        }
        fputs("' -- \"$word\")) ;;\n", out);
    }
    fputs("    esac\n}\ncomplete -o default -F _moeq moeq\n", out);
}

/* One spec of _arguments: "-o+" takes its value in the same word or the next, "--output=" too. */
static void zsh_spec(FILE *out, const struct moeq_option *option, const char *dash, const char *name)
{
    bool flag = option->kind == MOEQ_OPTION_FLAG;
    fputs(" \\\n            '", out);
    if (option->kind == MOEQ_OPTION_LIST)
        fputc('*', out);
    else if (option->letter)
        fprintf(out, "(-%c --%s)", option->letter, option->name);
    fprintf(out, "%s%s%s[", dash, name, flag ? "" : dash[1] ? "=" : "+");
    moeq_help_put(out, in_zsh_spec, option->help);
    fputc(']', out);
    if (!flag) {
        fputc(':', out);
        moeq_help_put(out, in_zsh_spec, option->value);
        fputc(':', out);
    }
    if (option->kind == MOEQ_OPTION_CHOICE) {
        fputc('(', out);
        moeq_help_put(out, in_words, option->choices);
        fputc(')', out);
    } else if (!flag) {
        fputs(is_amount(option) ? " " : "_files", out);
    }
    fputc('\'', out);
}

void moeq_help_completion_zsh(FILE *out, const struct moeq_verb *const *verbs)
{
    fputs("#compdef moeq\n_moeq() {\n    local -a verbs\n    verbs=(\n", out);
    for (size_t i = 0; verbs[i]; i++) {
        fprintf(out, "        '%s:", verbs[i]->name);
        moeq_help_put(out, in_quotes, verbs[i]->summary);
        fputs("'\n", out);
    }
    /* _arguments sees the verb as the command, hence the shift. */
    fputs("        'help:explain a verb and its options'\n    )\n"
          "    if ((CURRENT == 2)); then\n        _describe -t verbs verb verbs\n        return\n    fi\n"
          "    shift words\n    ((CURRENT--))\n    case $words[1] in\n"
          "    help) ((CURRENT == 2)) && _describe -t verbs verb verbs ;;\n",
          out);
    for (size_t i = 0; verbs[i]; i++) {
        fprintf(out, "    %s)\n        _arguments -s -S", verbs[i]->name);
        for (size_t j = 0; moeq_help_option_at(verbs[i], j); j++) {
            const struct moeq_option *option = moeq_help_option_at(verbs[i], j);
            if (option->letter)
                zsh_spec(out, option, "-", (const char[]){option->letter, '\0'});
            zsh_spec(out, option, "--", option->name);
        }
        fputs(verbs[i]->n_positional_max ? " \\\n            '*:argument:_files'\n        ;;\n"
                                         : "\n        ;;\n",
              out);
    }
    fputs("    esac\n}\nif [[ $funcstack[1] == _moeq ]]; then\n    _moeq \"$@\"\nelse\n    compdef _moeq "
          "moeq\nfi\n",
          out);
}

static void fish_option(FILE *out, const struct moeq_verb *verb, const struct moeq_option *option)
{
    fprintf(out, "complete -c moeq -n '__moeq_verb %s'", verb->name);
    if (option->letter)
        fprintf(out, " -s %c", option->letter);
    fprintf(out, " -l %s", option->name);
    if (option->kind == MOEQ_OPTION_CHOICE) {
        fputs(" -x -a '", out);
        moeq_help_put(out, in_fish, option->choices);
        fputc('\'', out);
    } else if (option->kind != MOEQ_OPTION_FLAG) {
        fputs(is_amount(option) ? " -x" : " -r -F", out);
    }
    fputs(" -d '", out);
    moeq_help_put(out, in_fish, option->help);
    fputs("'\n", out);
}

void moeq_help_completion_fish(FILE *out, const struct moeq_verb *const *verbs)
{
    fputs("# fish completion for moeq\n"
          "function __moeq_verb\n    set -l words (commandline -opc)\n"
          "    test (count $words) -ge 2; and test \"$words[2]\" = \"$argv[1]\"\nend\n"
          "function __moeq_no_verb\n    test (count (commandline -opc)) -eq 1\nend\n",
          out);
    for (size_t i = 0; verbs[i]; i++) {
        fprintf(out, "complete -c moeq -f -n __moeq_no_verb -a %s -d '", verbs[i]->name);
        moeq_help_put(out, in_fish, verbs[i]->summary);
        fprintf(out, "'\ncomplete -c moeq -f -n '__moeq_verb help' -a %s\n", verbs[i]->name);
    }
    fputs("complete -c moeq -f -n __moeq_no_verb -a help -d 'explain a verb and its options'\n"
          "complete -c moeq -f -n __moeq_no_verb -s h -l help -d 'show this help'\n",
          out);
    for (size_t i = 0; verbs[i]; i++)
        for (size_t j = 0; moeq_help_option_at(verbs[i], j); j++)
            fish_option(out, verbs[i], moeq_help_option_at(verbs[i], j));
}
