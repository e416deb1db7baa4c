#!/usr/bin/env bash
# Build and start the containers, run the journey on them, take them down, and fail if anything is left.
set -euo pipefail
cd "$(dirname "$0")/.."
# Not the project of a deployment, whose volumes would go, nor its port.
export COMPOSE_PROJECT_NAME=wintergarden-trial GATEWAY_PORT=${GATEWAY_PORT:-18500}
trap 'docker compose logs --no-color --tail 50 >&2; docker compose down --volumes --timeout 5' ERR
docker compose down --volumes --remove-orphans
docker compose up --build --detach --wait --wait-timeout 300
docker compose images
export WINTERGARDEN_E2E_ADDRESS=127.0.0.1:$GATEWAY_PORT
"${VENV:-.venv}/bin/python" -m pytest tests/e2e "$@"
docker compose down --volumes
for kind in container volume network; do
    left=$(docker "$kind" ls --quiet --filter label=com.docker.compose.project=$COMPOSE_PROJECT_NAME $([ $kind = container ] && echo --all))
    [ -z "$left" ] || { echo "left behind: $kind $left" >&2; exit 1; }
done
echo "Nothing is left."
