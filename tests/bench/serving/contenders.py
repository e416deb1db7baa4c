"""The servers that are compared, and how each is started.

To put another one beside them, add an entry to `CONTENDERS`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
WORKPLACE = ROOT / ".tools" / "bench"
MODELS = WORKPLACE / "models"
STORE = WORKPLACE / "store"

# What each peer's environment holds beside numpy and ONNX Runtime.
PEERS = {
    "mlserver": ("mlserver>=1.7,<1.8", "uvloop<0.22"),  # with a newer uvloop its workers die
    "mosec": ("mosec",),
}


@dataclass(frozen=True)
class Command:
    """A process; those of one contender count together."""

    arguments: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """A server under a label.

    Attributes:
        commands: from the port it must listen on and a scratch folder to its processes.
        protocol: grpc (Open Inference Protocol) or raw (HTTP POST of tensor bytes).
        peer: key of `PEERS` whose environment it needs.
    """

    label: str
    commands: Callable[[int, Path], list[Command]]
    protocol: str = "grpc"
    peer: str = ""


def inference(port: int, *flags: str) -> Command:
    program = (sys.executable, "-m", "services.inference", "--address", f"127.0.0.1:{port}")
    always = ("--store-uri", str(STORE), "--device", "cpu", "--metrics-address", "127.0.0.1:0")
    return Command((*program, *always, *flags))


def gateway(port: int, scratch: Path, inference_port: int) -> list[Command]:
    """Both on one host: the gateway hands calls on through inference's Unix socket."""
    socket = str(scratch / "inference.sock")
    variables = {
        "GATEWAY_ADDRESS": f"127.0.0.1:{port}",
        "GATEWAY_INFERENCE": f"127.0.0.1:{inference_port}",
        "GATEWAY_INFERENCE_SOCKET": socket,
        "GATEWAY_STORE_URI": str(STORE),
        "GATEWAY_REDIS_URL": "redis://127.0.0.1:1",  # no jobs here, so nobody answers
        "GATEWAY_METRICS_ADDRESS": "127.0.0.1:0",
    }
    return [
        inference(inference_port, "--socket", socket),
        Command((sys.executable, "-m", "gateway"), variables),
    ]


def mlserver(port: int, scratch: Path) -> list[Command]:
    script = HERE / "peers" / "mlserver_server.py"
    return [Command((peer_python("mlserver"), str(script), str(MODELS), str(port), str(scratch)))]


def mosec(port: int, scratch: Path) -> list[Command]:
    script = HERE / "peers" / "mosec_server.py"
    address = ("--address", "127.0.0.1", "--port", str(port))
    variables = {"MODELS_FOLDER": str(MODELS), "MOSEC_PATH": str(scratch)}
    return [Command((peer_python("mosec"), str(script), *address), variables)]


CONTENDERS = [
    Contender("wintergarden", lambda port, _: [inference(port)]),
    Contender("wintergarden gateway", lambda port, scratch: gateway(port, scratch, port + 1)),
    Contender("wintergarden grpcio", lambda port, _: [inference(port, "--transport", "grpcio")]),
    Contender("wintergarden unbatched", lambda port, _: [inference(port, "--max-batch-rows", "1")]),
    Contender("mlserver", mlserver, peer="mlserver"),
    Contender("mosec", mosec, protocol="raw", peer="mosec"),
]


def peer_python(peer: str) -> str:
    return str(WORKPLACE / "peers" / peer / "bin" / "python")


def install_peer(peer: str) -> None:
    """A virtual environment for a peer, made where there is none yet."""
    folder = WORKPLACE / "peers" / peer
    if (folder / "complete").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    subprocess.run([*pip, "numpy", "onnxruntime", *PEERS[peer]], check=True)
    (folder / "complete").touch()
