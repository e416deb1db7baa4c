#!/usr/bin/env bash
# Fail when the committed descriptors and stubs are not what proto/ gives.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
proto/generate.sh "$fresh"
for file in "$fresh"/wintergarden/wire/*; do
    cmp -s "$file" "wintergarden/wire/${file##*/}" || stale+=" ${file##*/}"
done
[ -z "${stale-}" ] || { echo "Stale in wintergarden/wire:$stale. Run proto/generate.sh and commit." >&2; exit 1; }
