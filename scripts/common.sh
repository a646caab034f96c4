# shellcheck shell=bash
# shellcheck disable=SC2034 # the lists are for those that source this
# Sourced by the scripts: where things are, and what must be installed. Nothing here needs Python.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Debian packages that building and testing need.
build_packages="gcc libc6-dev cmake ninja-build pkg-config libjansson-dev libxxhash-dev libssl-dev libpcre2-dev
zlib1g-dev libarchive-dev"
test_packages="libcunit1-dev"

# One line for every package of the arguments that is not installed.
missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$' || echo "$package"
    done
}

# Installs what is missing on Debian as root; elsewhere says what to install, and stops.
ensure_packages() {
    local missing
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        command -v cmake >/dev/null && command -v ninja >/dev/null && command -v pkg-config >/dev/null &&
            pkg-config --exists jansson libxxhash libcrypto libpcre2-8 zlib libarchive cunit && return
        echo "This is not Debian: install the equivalents of these packages, then run the script again:" >&2
        echo "$*" | tr '\n' ' ' >&2
        echo >&2
        exit 1
    fi
    missing=$(missing_packages "$@" | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "Packages are missing. Run this command, then the script again:" >&2
        echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing" >&2
        exit 1
    fi
    echo "installing $missing"
    # shellcheck disable=SC2086 # a list of words
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing; } >"${TMPDIR:-/tmp}/moeq-apt.log" 2>&1; then
        tail -n 20 "${TMPDIR:-/tmp}/moeq-apt.log" >&2
        exit 1
    fi
}

# Builds a preset of CMakePresets.json into build/PRESET; the log is shown only where it fails.
build_preset() {
    local log="$root/build/$1.log"
    mkdir -p "$root/build"
    echo "building $1"
    if ! (cd "$root" && cmake --preset "$1" -G Ninja && cmake --build "build/$1") >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        exit 1
    fi
}
