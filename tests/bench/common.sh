# shellcheck shell=bash
# What the benchmarks share; sourced by each.
#
# Environment: BUILD   the folder of the build; default build/release
#              MOEQ    the program; default moeq in that folder
export LC_ALL=C
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${BUILD:=$root/build/release}"
: "${MOEQ:=$BUILD/moeq}"
shared=${MOEQ_SHARED:-$root/../shared}

# A value of a JSON file, as json_value prints it.
value() { # FILE PATH
    "$BUILD/tests/json_value" "$2" <"$1"
}

median() { # NUMBER...
    printf '%s\n' "$@" | sort -g | sed -n "$((($# + 1) / 2))p"
}

# The path of a text that is long enough for some thousand tokens.
long_text() { # FOLDER-TO-WRITE-INTO
    local text=$shared/data/text/wiki.test.raw
    if [ ! -f "$text" ]; then
        text=$1/text
        for _ in $(seq 400); do cat "$root/tests/data/demo.txt"; done >"$text"
    fi
    echo "$text"
}

# Lines as a JSON array of strings; each on a line as a JSON array of JSON values.
json_strings() {
    sed 's/[\\"]/\\&/g; s/\t/ /g; s/.*/"&"/' | json_list
}
json_list() {
    paste -sd, | sed 's/.*/[&]/'
}
