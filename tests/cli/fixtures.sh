# What the cases prepare their models, packages and disks with. All run in the case's folder.
# shellcheck shell=bash

moeq() {
    timeout -k 2 60 "$MOEQ" "$@"
}

# The bundled checkpoint, to be damaged.
copy_model() { # NAME
    mkdir "$1" && cp nano/*.json nano/*.safetensors "$1"
}

# A small model of another family: the first whose name begins so (make_miniature lists them).
make_miniature() { # NAME FOLDER
    "$MOEQ_MINIATURE" "$1" "$2"
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

# ---- downloads, as tools leave them ----

commit=0123456789abcdef0123456789abcdef01234567

sha256_of() { # FILE
    sha256sum <"$1" | cut -c 1-64
}

# The SHA-1 of a git blob.
git_sha1_of() { # FILE
    { printf 'blob %s\0' "$(stat -c %s "$1")" && cat "$1"; } | sha1sum | cut -c 1-40
}

# What Hugging Face calls the content of a file: weights are in LFS.
etag_of() { # FILE
    case $1 in
    *.safetensors) sha256_of "$1" ;;
    *) git_sha1_of "$1" ;;
    esac
}

# trees/COMMIT.json of a folder's files; further entries may be given as JSON.
write_tree() { # FOLDER OUTPUT [ENTRY...]
    local file folder=$1 output=$2 separator='' entry
    shift 2
    mkdir -p "$(dirname "$output")" && {
        printf '{"format_version": 1, "files": {'
        for file in "$folder"/*; do
            printf '%s\n "%s": {"size": %s, ' "$separator" "${file##*/}" "$(stat -Lc %s "$file")"
            case $file in
            *.safetensors) printf '"blob_id": "%s", "lfs_sha256": "%s"}' "${commit//0/1}" "$(sha256_of "$file")" ;;
            *) printf '"blob_id": "%s"}' "$(git_sha1_of "$file")" ;;
            esac
            separator=,
        done
        for entry in "$@"; do printf ',\n %s' "$entry"; done
        printf '\n}}\n'
    } >"$output"
}

# The bundled checkpoint in a Hugging Face cache: CACHE/models--org--name.
copy_to_hub() { # CACHE
    local repository=$1/models--org--name file
    mkdir -p "$repository/blobs" "$repository/refs" "$repository/snapshots/$commit" &&
        printf '%s' $commit >"$repository/refs/main" &&
        for file in nano/*.json nano/*.safetensors; do
            cp "$file" "$repository/blobs/$(etag_of "$file")" &&
                ln -s "../../blobs/$(etag_of "$file")" "$repository/snapshots/$commit/${file##*/}" || return 1
        done
}

# The same as 'hf download --local-dir' leaves it.
copy_to_local_dir() { # FOLDER
    local records=$1/.cache/huggingface/download file
    copy_model "$1" && mkdir -p "$records" && for file in "$1"/*; do
        printf '%s\n%s\n%s\n' $commit "$(etag_of "$file")" 4000000000.5 >"$records/${file##*/}.metadata"
    done
}

# Writes a safetensors file anew with its header changed by a sed script, and the length in front of it.
edit_header() { # FILE SED
    local n head i length escaped=
    n=$(header_bytes "$1") && head=$(head -c $((n + 8)) "$1" | tail -c +9 | sed -E "$2") &&
        length=$(printf '%016x' ${#head}) || return 1
    for ((i = 14; i >= 0; i -= 2)); do escaped+="\\x${length:i:2}"; done
    tail -c +$((n + 9)) "$1" >"$1.data" &&
        { printf '%b%s' "$escaped" "$head" && cat "$1.data"; } >"$1.new" && mv "$1.new" "$1" && rm "$1.data"
}

# Writes zeros over a part of a file.
zero() { # FILE OFFSET BYTES
    dd if=/dev/zero of="$1" bs=4096 seek="$2" count="$3" oflag=seek_bytes iflag=count_bytes conv=notrunc status=none
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

# A safetensors file of the header given and so many bytes of data.
write_safetensors() { # FILE HEADER N_DATA
    put_length "$1" "$(printf '%s' "$2" | wc -c)" && printf '%s' "$2" >>"$1" && head -c "$3" /dev/zero >>"$1"
}

# A shard of one tensor with that many bytes, a multiple of 100, none of them zero.
write_shard() { # FILE TENSOR N_DATA
    write_safetensors "$1" "{\"$2\":{\"dtype\":\"U8\",\"shape\":[100,$(($3 / 100))],\"data_offsets\":[0,$3]}}" 0 &&
        yes "$2" | head -c "$3" >>"$1"
}

put_length() { # FILE N
    local i escaped=
    for ((i = 0; i < 8; i++)); do
        escaped+=$(printf '\\x%02x' $(($2 >> (8 * i) & 255)))
    done
    printf '%b' "$escaped" >"$1"
}

# Gives the header of a file a leading space, which the format forbids and the reference implementation reads.
loosen() { # FILE
    local n
    n=$(header_bytes "$1")
    put_length loose $((n + 1)) && printf ' ' >>loose && tail -c +9 "$1" >>loose && mv loose "$1"
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

# The task set of the project's own.
write_arithmetic() { # N SEED FILE
    "$here/../../scripts/arithmetic" "$1" "$2" >"$3"
}

# Runs a command, gives its exit code, and shows its reals with four decimals: the evaluator's last digits
# may depend on the C library.
rounded() { # COMMAND...
    "$@" | sed -E 's/([0-9]\.[0-9]{4})[0-9]+/\1/g'
    return "${PIPESTATUS[0]}"
}

# Statistics of a short text, for plans: every expert has tokens.
make_statistics() { # FOLDER
    write_long_text stats.txt && moeq calibrate nano --text stats.txt --ctx 64 -o "$1" --exact -q >stats.out
}

# A plan of few levels, and few tokens for probes, so that it takes little time.
plan_nano() { # BUDGET PLAN [OPTION...]
    local budget=$1 plan=$2
    shift 2
    moeq plan nano --stats nano.stats --work "${measured:-measured}" --budget "$budget" -o "$plan" \
        --levels "${levels:-int2-g64,int3-g64,int4-g64}" --probe-tokens "${probe_tokens:-128}" -q "$@"
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

# Writes bytes, given in hexadecimal, over a tensor's first ones, in the file that has it.
set_tensor() { # FILES… TENSOR HEX
    local file hex=${*: -1} tensor=${*: -2:1}
    for file in "${@:1:$#-2}"; do
        if grep -qaF "\"$tensor\"" "$file"; then
            put "$file" "$(tensor_offset "$file" "$tensor")" "$hex"
            return
        fi
    done
    return 1
}

# An archive of any kind, see make_archive.c.
make_archive() { # KIND OUT ITEM...
    "${MOEQ_MAKE_ARCHIVE:?the tool, e.g. build/tests/make_archive}" "$@"
}
