# What the cases prepare their models, packages and disks with. All run in the case's folder.
# shellcheck shell=bash

moeq() {
    timeout -k 2 60 "$MOEQ" "$@"
}

# The bundled checkpoint, to be damaged.
copy_model() { # NAME
    mkdir "$1" && cp nano/*.json nano/*.safetensors "$1"
}

# Inverts the lowest bit of one byte.
flip() { # FILE OFFSET
    local byte
    byte=$(od -An -t u1 -j "$2" -N 1 "$1") && put "$1" "$2" "$(printf '%02x' $((byte ^ 1)))"
}

# Writes bytes, given in hexadecimal, over a file.
put() { # FILE OFFSET HEX
    local i escaped=
    for ((i = 0; i < ${#3}; i += 2)); do
        escaped+="\\x${3:i:2}"
    done
    printf '%b' "$escaped" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

header_bytes() { # FILE
    od -An -t u8 -N 8 "$1" | tr -d ' '
}

# Where a tensor's data begin in a safetensors file.
tensor_offset() { # FILE TENSOR
    local n
    n=$(header_bytes "$1")
    head -c $((n + 8)) "$1" | grep -aoE "\"$2\":\{[^}]*\}" |
        sed -E "s/.*\"data_offsets\":\[([0-9]+),.*/\1/" | awk -v n="$n" '{ print $1 + n + 8 } END { exit !NR }'
}

# Bytes of all files of a folder.
folder_bytes() { # FOLDER
    find "$1" -type f -printf '%s\n' | awk '{ n += $1 } END { print n }'
}

# Ordinary prose, about 700 tokens of the bundled model.
write_text() { # FILE
    cat >"$1" <<'TEXT'
The lighthouse keeper counted the ships every evening. On clear nights he could name most of them by their lamps
alone, and he wrote the names into a long book with a blue cover. When fog lay on the water he wrote nothing, but he
stayed awake until morning and rang the bell at every quarter of an hour.

In spring a young woman came to learn the work. She asked why he kept the book, since nobody ever read it. He said
that a light is a promise, and that a promise which nobody checks is soon forgotten. So she read the book from the
first page to the last, which took her nine days, and on the tenth day she found a ship that had been written down
twice and another that had never arrived.
TEXT
}

# Text enough for three windows of 256.
write_long_text() { # FILE
    local i
    write_text paragraph && for i in 1 2 3 4 5 6; do
        printf 'Chapter %d.\n\n' "$i"
        cat paragraph
        echo
    done >"$1" && rm paragraph
}

# Runs a command, gives its exit code, and shows its reals with four decimals: the evaluator's last digits
# may depend on the C library.
rounded() { # COMMAND...
    "$@" | sed -E 's/([0-9]\.[0-9]{4})[0-9]+/\1/g'
    return "${PIPESTATUS[0]}"
}

# The case cannot run on this machine.
skip() { # REASON...
    echo "$*" >"${out:?}/skip"
    return 1
}

# A file system of its own, so that it can be full.
mount_disk() { # FOLDER SIZE
    mkdir "$1" || return 1
    mount -t tmpfs -o "size=$2" tmpfs "$1" 2>/dev/null || skip "mounting a tmpfs is not permitted here"
}

unmount_all() { # FOLDER
    local mounted
    awk -v dir="$1/" 'index($2, dir) == 1 { print $2 }' /proc/mounts 2>/dev/null | while read -r mounted; do
        umount "$mounted"
    done
}

# Runs moeq without the rights of root, which may write everywhere.
unprivileged() { # ARGUMENT...
    if [ "$(id -u)" -ne 0 ]; then
        moeq "$@"
    else
        timeout -k 2 60 chroot --userspec=65534:65534 --skip-chdir / ./moeq "$@"
    fi
}

can_be_unprivileged() {
    [ "$(id -u)" -eq 0 ] || return 0
    cp "$MOEQ" moeq && chmod a+rx . .. ../.. moeq || return 1
    unprivileged --version || skip "cannot become another user here"
}

# An archive of any kind, see make_archive.c.
make_archive() { # KIND OUT ITEM...
    "${MOEQ_MAKE_ARCHIVE:?the tool, e.g. build/tests/make_archive}" "$@"
}
