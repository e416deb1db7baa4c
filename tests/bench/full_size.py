"""AlexNet, VGG16, GoogLeNet and ResNet-50 of 1 000 classes, served and explained over gRPC.

python tests/bench/full_size.py                  all four
python tests/bench/full_size.py googlenet vgg16  these

Each network is as its paper has it, with random weights: exported in a process of its own, and
published to the store of a whole system (`wintergarden up`) with the reference that every release
has. Then, through the gateway: 20 requests of one picture for the latency, and a job that explains
one picture by Kernel SHAP, 7 × 7 superpixels, 256 evaluations, whose progress is shown as it comes.
Memory is each process's largest resident set (VmHWM), read while it lives.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from wintergarden.cli.local.background import in_background  # noqa: E402
from wintergarden.client import Client, connect  # noqa: E402
from wintergarden.client.jobs import JobState, Progressed  # noqa: E402

SIDES = {"alexnet": 224, "googlenet": 224, "resnet50": 224, "vgg16": 224}
CLASSES, REQUESTS = 1000, 20
GRID, EVALUATIONS = (7, 7), 256
SERVED_S, JOB_S = 600.0, 1800.0
_SERVICES = {
    "services.inference": "inference",
    "services.explanation.worker.child": "explaining job",
}


@dataclass(frozen=True)
class Measured:
    """Of one network; seconds, mebibytes by process."""

    name: str
    parity: float
    latency_ms: float
    explain_s: float
    told: int
    gap: float
    memory_mib: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", choices=[*SIDES, []], metavar="NETWORK")
    parser.add_argument("--publish", nargs=2, metavar=("NETWORK", "STORE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        publish(*arguments.publish)
        return
    rows = []
    for name in arguments.networks or SIDES:
        with tempfile.TemporaryDirectory(prefix="full-size-") as folder:
            rows.append(measure(name, Path(folder)))
            print(_line(rows[-1]), flush=True)
    print("\n" + table(rows))


def publish(name: str, store_uri: str) -> None:
    """The untrained network, exported with parity and golden outputs."""
    from dataclasses import replace

    import torch

    from trainer.data.dataset import Dataset, Split
    from trainer.data.registry import describe
    from trainer.export.publish import publish as to_store
    from trainer.export.release import make_release
    from trainer.recipes.trained import prepare
    from trainer.zoo.registry import find
    from wintergarden.store import open_store

    torch.set_num_threads(1)
    side, generator = SIDES[name], np.random.default_rng(0)
    info = replace(
        describe("digits"), name="random-pictures", input_shape=(3, side, side),
        class_labels=tuple(f"class {n}" for n in range(CLASSES)),
        split_sizes=dict.fromkeys(("train", "validation", "test"), 8),
    )  # fmt: skip
    parts = [
        Split(generator.random((8, 3, side, side), np.float32), generator.integers(0, CLASSES, 8))
        for _ in range(3)
    ]
    architecture = find(name)
    trained = prepare(
        architecture, architecture.hyperparameters.parse({}), Dataset(info, *parts), seed=0
    )
    trained.network.eval()
    to_store(open_store(store_uri), name, make_release(trained, name), "", lambda version: True)


def measure(name: str, folder: Path) -> Measured:
    """One network on a system of its own."""
    print(f"{name}: exporting", flush=True)
    store = folder / "store"
    store.mkdir()
    command = [sys.executable, __file__, "--publish", name, str(store)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with (
        in_background(folder, ready_limit_s=SERVED_S) as system,
        _memory(system.process.pid) as memory,
        connect(system.address) as client,
    ):
        client.wait_until_served(name, timeout_s=SERVED_S)
        picture = np.random.default_rng(1).random((1, 3, SIDES[name], SIDES[name]), np.float32)
        latency_ms = _latency_ms(client, name, picture)
        explain_s, told, gap = _explained(client, name, picture)
        parity = client.models.describe(name).manifest["metrics"]["export_parity"]
    return Measured(name, parity, latency_ms, explain_s, told, gap, memory)


def _latency_ms(client: Client, name: str, picture: np.ndarray) -> float:
    """The median of requests of one picture, there and back."""
    times = []
    for _ in range(REQUESTS + 1):
        begun = time.perf_counter()
        client.infer(name, picture, timeout_s=SERVED_S)
        times.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(times[1:]))  # the first warms up


def _explained(client: Client, name: str, picture: np.ndarray) -> tuple[float, int, float]:
    """Seconds from the submission to the end, events of progress, the efficiency gap."""
    begun, told = time.perf_counter(), 0
    handle = client.jobs.explain(
        name, picture, "kernel_shap", players=GRID, max_evaluations=EVALUATIONS,
        background=np.zeros_like(picture),
    )  # fmt: skip
    for event in handle.watch(timeout_s=JOB_S):
        if isinstance(event, Progressed):
            told += 1
            print(f"\r{name}: {event.phase} {event.fraction:4.0%}", end="", flush=True)
    print()
    seconds = time.perf_counter() - begun
    job = handle.refresh()
    if job.state is not JobState.SUCCEEDED:
        raise RuntimeError(f"{name}: the job {job.state}: {job.reason}")
    arrays = handle.result().arrays
    if arrays["player_values"].shape != (1, GRID[0] * GRID[1]):
        raise RuntimeError(f"{name}: values of shape {arrays['player_values'].shape}")
    return seconds, told, float(np.abs(arrays["efficiency_gaps"]).max())


@contextmanager
def _memory(root: int) -> Iterator[dict[str, float]]:
    """The largest resident set so far of each service below a process, mebibytes."""
    found: dict[str, float] = {}
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.2):
            with suppress(psutil.Error):
                for process in psutil.Process(root).children(recursive=True):
                    with suppress(psutil.Error, OSError):
                        _note(process, found)

    watching = threading.Thread(target=look, daemon=True)
    watching.start()
    try:
        yield found
    finally:
        is_over.set()
        watching.join()


def _note(process: psutil.Process, found: dict[str, float]) -> None:
    named = [_SERVICES[part] for part in process.cmdline() if part in _SERVICES]
    if not named:
        return
    status = Path(f"/proc/{process.pid}/status").read_text()
    kibibytes = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
    found[named[-1]] = max(found.get(named[-1], 0.0), kibibytes / 1024)


def _line(row: Measured) -> str:
    memory = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in sorted(row.memory_mib.items()))
    return (
        f"{row.name}: parity {row.parity:.1e}, served in {row.latency_ms:.0f} ms, explained in "
        f"{row.explain_s:.1f} s with {row.told} events of progress, gap {row.gap:.1e}; {memory}"
    )


def table(rows: list[Measured]) -> str:
    """As docs/zoo.md has it."""
    lines = [
        "| network | parity | one picture, there and back | Kernel SHAP | inference | job |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        memory = [f"{row.memory_mib.get(name, 0):.0f} MiB" for name in _SERVICES.values()]
        lines.append(
            f"| `{row.name}` | {row.parity:.1e} | {row.latency_ms:.0f} ms | {row.explain_s:.1f} s, "
            f"gap {row.gap:.1e} | {' | '.join(memory)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
