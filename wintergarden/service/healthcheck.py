"""Asks one service whether it is ready: what a container's health check runs.

    python -m wintergarden.service.healthcheck 127.0.0.1:8501                  gRPC health
    python -m wintergarden.service.healthcheck http://127.0.0.1:9503/health    HTTP

Exits 0 when ready, else 1 with one line that says what was answered.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 4.0

# What is asked is on this machine or beside it, where no proxy of the environment leads.
_OPTIONS = (("grpc.enable_http_proxy", 0),)


def ask(address: str, service: str = "") -> str:
    """Why the service at `address` is not ready; empty when it is."""
    if address.startswith(("http://", "https://")):
        return _ask_http(address)
    return _ask_grpc(address, service)


def _ask_grpc(address: str, service: str) -> str:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address, _OPTIONS) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S)
        except grpc.RpcError as exc:
            return f"{exc.code().name}: {exc.details()}"
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ""
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _ask_http(url: str) -> str:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as exc:
        return f"HTTP {exc.code}: {exc.read(200).decode(errors='replace')}"
    except OSError as exc:
        return str(exc)


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask one service whether it is ready.")
    parser.add_argument("address", help="host:port, unix:/path, or a URL")
    parser.add_argument("--service", default="", help="one gRPC service; default: the whole server")
    arguments = parser.parse_args()
    if problem := ask(arguments.address, arguments.service):
        sys.exit(f"{arguments.address}: {problem}")


if __name__ == "__main__":
    main()
