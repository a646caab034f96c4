# What the tests of crashes and failures share.
# shellcheck shell=bash
set -u
export LC_ALL=C

: "${MOEQ:?the binary, e.g. MOEQ=build/moeq}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
model=${MOEQ_MODELS:-$here/../models}/nano-v3
base=$(mktemp -d "${TMPDIR:-/tmp}/moeq-fault.XXXXXX") || exit 2
# A signal may meet a child that is not yet the program that it shall become: it is not to clean up.
trap '[ "$BASHPID" != $$ ] || rm -rf "$base"' EXIT
trap 'exit 130' INT TERM
: >"$base/violations"

# Something that must not happen, with the command that shows it.
violation() { # TEXT...
    echo "$*" >>"$base/violations"
}

# The options that conversions are tested with; a script adds its own.
convert_options=(--quiet)

# Files under their final names must be those of the undisturbed package, with the manifest only when all are.
check_folder() { # FOLDER GOLDEN WHAT
    local wrong
    [ -d "$1" ] || return 0
    diff -rq "$2" "$1" >"$1.diff"
    wrong=$(grep -v -e "^Only in $2: " -e "^Only in $1: .*\.part\$" "$1.diff")
    [ -z "$wrong" ] || violation "$3: $(wc -l <<<"$wrong") wrong under a final name: $(head -n 1 <<<"$wrong")"
    if [ -e "$1/manifest.json" ] && grep -q "^Only in $2: " "$1.diff"; then
        violation "$3: a manifest, but not the whole package: $(head -n 1 "$1.diff")"
    fi
}

# Runs the undisturbed program again; it must finish, with the same bytes.
finish() { # FOLDER GOLDEN WHAT
    local code
    timeout 60 "$MOEQ" convert "$model" -o "$1" "${convert_options[@]}" >"$1.stdout" 2>"$1.stderr"
    code=$?
    [ $code -eq 0 ] || violation "$3: running it again gives $code: $(cat "$1.stderr")"
    diff -rq "$2" "$1" >"$1.diff" || violation "$3: running it again gives other bytes: $(head -n 1 "$1.diff")"
}

# Statistics of two short texts, for what takes some.
make_statistics() { # FOLDER
    head -c 2500 "$MOEQ_SOURCE/tests/data/demo.txt" >"$base/one.txt" &&
        head -c 3000 "$MOEQ_SOURCE/README.md" >"$base/two.txt" &&
        "$MOEQ" calibrate "$model" --text "$base/one.txt" --text "$base/two.txt" --ctx 128 -o "$1" --quiet >/dev/null
}

# Starts a command and sends it a signal after a random part of the time that it takes; gives its exit code.
interrupted() { # SIGNAL MICROSECONDS COMMAND...
    local pid signal=$1 delay=$(((RANDOM * 32768 + RANDOM) % ($2 * 11 / 10)))
    shift 2
    "$@" >"$base/stdout" 2>"$base/stderr" &
    pid=$!
    sleep "$(printf '%d.%06d' $((delay / 1000000)) $((delay % 1000000)))"
    kill -s "$signal" $pid 2>/dev/null
    wait $pid 2>/dev/null
}

# How a command may end then. 143: it had not begun.
check_interrupted() { # WHAT SIGNAL CODE
    case $2,$3 in
    KILL,137 | *,0 | TERM,143) ;;
    TERM,7)
        if [ "$(wc -l <"$base/stderr")" -ne 1 ] || ! grep -q 'interrupted; run the same command again$' "$base/stderr"; then
            violation "$1: $(cat "$base/stderr")"
        fi
        ;;
    *) violation "$1: exit code $3: $(cat "$base/stderr")" ;;
    esac
}

# Says what was found; the exit code of the test.
conclude() { # N_RUNS
    local n
    n=$(wc -l <"$base/violations")
    sort "$base/violations" | head -n "${MOEQ_FAULT_LINES:-40}"
    echo "$1 runs, $n violations"
    [ "$n" -eq 0 ]
}
