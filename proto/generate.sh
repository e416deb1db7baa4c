#!/usr/bin/env bash
# Regenerate wintergarden/wire from proto/, in a tool environment of its own.  proto/generate.sh [OUT]
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-.}
tools=${PROTO_TOOLS:-.tools/proto}
[ -x "$tools/bin/python" ] || { python3 -m venv "$tools" && "$tools/bin/pip" install -q grpcio-tools==1.80.0; }
mkdir -p "$out/wintergarden/wire"
mapfile -t files < <(cd proto && find wintergarden -name '*.proto' | LC_ALL=C sort)
"$tools/bin/python" -m grpc_tools.protoc -Iproto --include_imports --pyi_out="$out" \
    --descriptor_set_out="$out/wintergarden/wire/descriptors.binpb" "${files[@]}"
