#!/usr/bin/env bash
# Make the image of trimtab itself (gateway, worker, Prefect and MLflow servers) for infra/compose.yaml, from wheels.
# Usage: infra/trimtab-image.sh [TAG]        needs `make setup`, the base image (infra/base-image.sh), a Docker engine.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
tag=${1:-trimtab:0.1.0}
base=${TRIMTAB_BASE_IMAGE:-trimtab-python:3.11}
uv=$root/.venv/bin/uv
case $(docker info --format '{{.Architecture}}') in
    x86_64) platform=x86_64-manylinux_2_28 ;;
    aarch64) platform=aarch64-manylinux_2_28 ;;
    *) echo "trimtab-image: no wheels are known for this engine's architecture" >&2; exit 1 ;;
esac

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$uv" --quiet export --project "$root" --frozen --no-default-groups --no-emit-project --no-annotate --no-header \
    --output-file "$folder/requirements.txt"
"$uv" --quiet pip install --python "$root/.venv/bin/python" --python-version 3.11 --python-platform "$platform" \
    --target "$folder/site" --only-binary :all: --require-hashes --no-compile-bytecode --link-mode copy \
    -r "$folder/requirements.txt"
mkdir "$folder/app"
for part in trimtab tasks flows deployments expectations pyproject.toml uv.lock; do cp -r "$root/$part" "$folder/app/"; done
find "$folder/app" -name __pycache__ -prune -exec rm -rf {} +
cp "$root/infra/Dockerfile" "$folder/Dockerfile"
docker build --quiet --network none --build-arg "BASE=$base" --tag "$tag" "$folder" >/dev/null
echo "trimtab-image: $tag is ready ($(docker image inspect --format '{{.Size}}' "$tag") bytes)"
