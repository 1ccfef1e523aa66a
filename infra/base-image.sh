#!/usr/bin/env bash
# Make the base of trimtab's own image from Debian's own packages: Python 3.11, its standard library, nothing to build with.
# Usage: infra/base-image.sh [TAG]        needs root, mmdebstrap, and a Docker engine that answers.
set -euo pipefail

tag=${1:-trimtab-python:3.11}
suite=bookworm

fail() { echo "base-image: $*" >&2; exit 1; }
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
# libstdc++ is what numpy and its kin link to without bringing it. The same packages give the same bytes.
SOURCE_DATE_EPOCH=0 mmdebstrap --quiet --variant=essential --include=python3,ca-certificates,libstdc++6 \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "$folder/base.tar" ${sources[@]+"${sources[@]}"} 2>"$folder/log" ||
    { tail -n 20 "$folder/log" >&2; fail "mmdebstrap failed"; }
docker import "$folder/base.tar" "$tag" >/dev/null
docker run --rm --network none "$tag" python3 -c 'import sys; assert sys.version_info[:2] == (3, 11), sys.version' ||
    fail "$tag does not hold a Python 3.11"
echo "base-image: $tag is ready ($(docker image inspect --format '{{.Size}}' "$tag") bytes)"
