"""The servers that are compared, and how each is started.

To put another one beside them, add an entry to `CONTENDERS`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
WORKPLACE = ROOT / ".tools" / "bench"
MODELS = WORKPLACE / "models"
STORE = WORKPLACE / "store"

# What each peer's environment holds beside numpy and ONNX Runtime.
PEERS = {
    "mlserver": ("mlserver>=1.7,<1.8", "uvloop<0.22"),  # with a newer uvloop its workers die
    "kserve": ("kserve",),
    "pytriton": ("nvidia-pytriton",),
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
        protocol: grpc, stream or shared-memory (Open Inference Protocol), raw (HTTP POST of tensor
            bytes), or in-process (ONNX Runtime itself, beside whatever the commands start).
        peer: key of `PEERS` whose environment it needs.
        answers: there are answers to look at.
        pause_ms: in-process, before each run.
    """

    label: str
    commands: Callable[[int, Path], list[Command]]
    protocol: str = "grpc"
    peer: str = ""
    answers: bool = True
    pause_ms: float = 0


def inference(port: int, *flags: str) -> Command:
    program = (sys.executable, "-m", "services.inference", "--address", f"127.0.0.1:{port}")
    always = ("--store-uri", str(STORE), "--device", "cpu", "--metrics-address", "127.0.0.1:0")
    return Command((*program, *always, "--intra-op-threads", "1", *flags))


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


def kserve(port: int, _scratch: Path) -> list[Command]:
    script = HERE / "peers" / "kserve_server.py"
    return [Command((peer_python("kserve"), str(script), str(MODELS), str(port)))]


def pytriton(port: int, scratch: Path) -> list[Command]:
    script = HERE / "peers" / "pytriton_server.py"
    variables = {"PYTRITON_HOME": str(scratch)}
    return [Command((peer_python("pytriton"), str(script), str(MODELS), str(port)), variables)]


def mosec(port: int, scratch: Path) -> list[Command]:
    script = HERE / "peers" / "mosec_server.py"
    address = ("--address", "127.0.0.1", "--port", str(port))
    variables = {"MODELS_FOLDER": str(MODELS), "MOSEC_PATH": str(scratch)}
    return [Command((peer_python("mosec"), str(script), *address), variables)]


def null(port: int, _scratch: Path) -> list[Command]:
    return [Command((sys.executable, str(HERE / "null_server.py"), f"127.0.0.1:{port}"))]


def ours(*flags: str) -> Callable[[int, Path], list[Command]]:
    return lambda port, _scratch: [inference(port, *flags)]


OURS, IN_PROCESS, BESIDE_TRAFFIC = "wintergarden", "in process", "in process beside traffic"
NULL, RESTED = "null server", "in process after a pause"

CONTENDERS = [
    Contender(OURS, ours()),
    Contender("wintergarden stream", ours(), protocol="stream"),
    Contender(
        "wintergarden shared memory", ours("--system-shared-memory"), protocol="shared-memory"
    ),
    Contender("wintergarden 2 processes", ours("--processes", "2")),
    Contender("wintergarden gateway", lambda port, scratch: gateway(port, scratch, port + 1)),
    Contender("wintergarden grpcio", ours("--transport", "grpcio")),
    Contender("wintergarden unbatched", ours("--max-batch-rows", "1")),
    Contender("mlserver", mlserver, peer="mlserver"),
    Contender("kserve", kserve, peer="kserve"),
    Contender("pytriton", pytriton, peer="pytriton"),
    Contender("mosec", mosec, protocol="raw", peer="mosec"),
    Contender(IN_PROCESS, lambda _port, _scratch: [], protocol="in-process"),
    Contender(BESIDE_TRAFFIC, null, protocol="in-process"),
    Contender(RESTED, lambda _port, _scratch: [], protocol="in-process", pause_ms=1),
    Contender(NULL, null, answers=False),
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
    # The same ONNX Runtime for all; its CUDA build has the same CPU kernels.
    library = f"onnxruntime=={onnxruntime.__version__}"
    subprocess.run([*pip, "numpy", library, *PEERS[peer]], check=True)
    patch = HERE / "peers" / f"{peer}_sitecustomize.py"
    if patch.exists():
        (packages,) = folder.glob("lib/python3*/site-packages")
        shutil.copy(patch, packages / "sitecustomize.py")
    (folder / "complete").touch()
