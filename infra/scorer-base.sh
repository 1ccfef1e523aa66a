#!/usr/bin/env bash
# Make the base of model images from Debian's own packages: a Python 3.11 and the libraries that it and wheels need.
# No shell, no package manager, nothing to build with. The same packages give the same bytes.
# Usage: infra/scorer-base.sh [TAG]        needs root, mmdebstrap, and a Docker engine that answers.
set -euo pipefail

tag=${1:-trimtab-scorer:3.11}
suite=bookworm
packages=python3.11-minimal,libpython3.11-stdlib,libstdc++6,base-files

# What the standard library has for developers, terminals and databases; a scorer imports none of it.
unused=(test pydoc_data idlelib turtle.py turtledemo ensurepip venv distutils lib2to3 curses dbm sqlite3 tkinter __pycache__)
unused_modules=('_test*' 'xx*' '_xx*' '_curses*' _dbm _crypt _sqlite3 nis readline ossaudiodev '_codecs_*')
# What wheels may link to beside what Python does (the manylinux policy), and what resolves names.
for_wheels='lib(stdc\+\+|gcc_s|m|mvec|pthread|dl|rt|util|z|nss_files|nss_dns|resolv|anl)\.so'

fail() { echo "scorer-base: $*" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || fail "mmdebstrap needs root here; run this as root"
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing; apt-get install mmdebstrap"
docker info >/dev/null 2>&1 || fail "no Docker engine answers; start one, or set DOCKER_HOST"

# The machine's own Debian sources, where it is a Debian of that suite: they are the mirror that it can reach.
sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
    if [ -s "$file" ] && grep -q "$suite" "$file"; then sources+=("$file"); fi
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/root
mkdir "$folder/packages" "$folder/files"
export folder
# Unpacked, not installed: no maintainer script runs. While the packages are there, what each is and holds is noted.
# shellcheck disable=SC2016
mmdebstrap --quiet --variant=extract --include="$packages" --extract-hook='
    for deb in "$1"/var/cache/apt/archives/*.deb; do
        name=$(dpkg-deb --field "$deb" Package)
        dpkg-deb --field "$deb" >"$folder/packages/$name"
        dpkg-deb --fsys-tarfile "$deb" | tar --list | sed "s|^\./||" >"$folder/files/$name"
    done' "$suite" "$root" ${sources[@]+"${sources[@]}"} 2>"$folder/log" ||
    { tail -n 20 "$folder/log" >&2; fail "mmdebstrap failed"; }

lay_out() {
    cd "$root"
    local python=usr/lib/python3.11 left
    for name in "${unused[@]}"; do rm -rf "${python:?}/$name"; done
    for name in "${unused_modules[@]}"; do find $python/lib-dynload -name "$name.cpython-*" -delete; done
    find . -name '__pycache__' -prune -exec rm -rf {} +

    # Of libraries, those that the linker asks for, and those of wheels.
    local loader
    loader=$(find lib lib64 -name 'ld-linux*' | head -n 1)
    for file in usr/bin/python3.11 $python/lib-dynload/*.so; do
        chroot . "/$loader" --list "/$file" | awk '$2 == "=>" { print $3 }'
    done | sort -u | while read -r library; do readlink -f ".$library"; done >"$folder/kept"
    find lib usr/lib -regextype posix-extended -regex ".*/$for_wheels.*" -exec readlink -f {} \; >>"$folder/kept"
    readlink -f "$loader" >>"$folder/kept"
    find lib usr/lib -type f -not -path "$python/*" -name '*.so*' -print0 | while IFS= read -r -d '' library; do
        grep -qxF "$(readlink -f "$library")" "$folder/kept" || rm "$library"
    done
    find lib/*-linux-gnu usr/lib/*-linux-gnu -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
    find lib usr/lib -xtype l -not -path "$python/*" -delete

    # Of the rest, Python, who made what, and under which licence.
    find usr/bin usr/sbin bin sbin -mindepth 1 -not -name python3.11 -delete
    find usr/share -mindepth 1 -maxdepth 1 -not -name doc -not -name common-licenses -exec rm -rf {} +
    find usr/share/doc \( -type f -o -type l \) -not -name copyright -not -type d -not -xtype d -delete
    find etc -mindepth 1 -maxdepth 1 -not -name os-release -not -name debian_version -not -name python3.11 -exec rm -rf {} +
    find usr/lib -mindepth 1 -maxdepth 1 -not -name 'python3.11' -not -name '*-linux-gnu' -not -name os-release -exec rm -rf {} +
    rm -rf lib/systemd usr/local usr/games usr/include usr/libexec usr/src var home root media mnt opt srv boot run
    ln -s python3.11 usr/bin/python3
    mkdir -p dev proc sys tmp run var/lib/dpkg/status.d
    # Python is the one program; the loader is what the kernel starts it with.
    find . -type f -not -path ./usr/bin/python3.11 -not -name 'ld-linux*' -exec chmod a-xs,u+rw,go+r {} +
    chmod 1777 tmp
    printf 'root:x:0:0:root:/:/nonexistent\ntrimtab:x:10001:10001:trimtab:/:/nonexistent\n' >etc/passwd
    printf 'root:x:0:\ntrimtab:x:10001:\n' >etc/group
    printf 'hosts: files dns\n' >etc/nsswitch.conf

    # Scanners read here which packages, in which versions, the image holds: those of which something is left.
    for name in "$folder"/packages/*; do
        name=$(basename "$name")
        left=$(grep -v -e '/$' -e '^usr/share/' "$folder/files/$name" | while read -r file; do
            if [ -e "$file" ]; then echo "$file"; fi
        done)
        if [ -n "$left" ]; then
            cp "$folder/packages/$name" "var/lib/dpkg/status.d/$name"
        elif [ "$name" != gcc-12-base ]; then # whose copyright file others' lead to
            rm -rf "usr/share/doc/${name:?}"
        fi
    done
    find . -mindepth 1 -depth -type d -empty -not -path ./dev -not -path ./proc -not -path ./sys -not -path ./tmp \
        -not -path ./run -delete

    # Bytecode, for a read-only root keeps none; whether a source changed is not asked.
    PYTHONHASHSEED=0 chroot . /usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash "/$python" >/dev/null ||
        fail "the standard library does not compile"
}
(lay_out)
tar --create --file "$folder/base.tar" --directory "$root" --sort=name --mtime=@0 --numeric-owner --owner=0 --group=0 .
docker import --change 'ENV PATH=/usr/bin' "$folder/base.tar" "$tag" >/dev/null
docker run --rm --network none --read-only "$tag" python3 -c '
import glob, importlib, pathlib, sys
assert sys.version_info[:2] == (3, 11), sys.version
for path in glob.glob("/usr/lib/python3.11/lib-dynload/*.so"):
    importlib.import_module(pathlib.Path(path).name.partition(".")[0])
' || fail "$tag does not hold a whole Python 3.11"
echo "scorer-base: $tag is ready ($(docker image inspect --format '{{.Size}}' "$tag") bytes)"
