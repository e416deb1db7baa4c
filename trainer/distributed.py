"""Several processes that train one network: rank 0 starts the others, and takes them along.

In the training process, which is rank 0 and alone speaks with the supervisor:

    device = choose_device(order.device, 0, order.processes)
    with joined(text, order.processes, device) as ranks:
        trained = train(…, watcher, state=state, device=device, ranks=ranks)

The others are `python -m trainer.distributed`, in rank 0's process group: whoever kills the group
kills all of them. Each reads the order from its standard input, does what rank 0 does but for
reporting, checkpoints and export, and ends with rank 0: the input's end is the sign, as it is
between rank 0 and the supervisor. Not torchrun, whose agent would stand between the supervisor
and the rank that has its pipes, and would start ranks again where the job's record decides that.

All on one machine: gloo between CPUs, NCCL between GPUs, one a rank.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch forgets to export it
from torch.nn.parallel import DistributedDataParallel

from trainer.data.registry import load
from trainer.order import parse_training_order
from trainer.recipes.device import choose_device
from trainer.recipes.ranks import ALONE, Ranks
from trainer.recipes.supervised import train
from trainer.recipes.watcher import Stopped
from trainer.state_file import pack, unpack
from trainer.zoo.registry import find
from wintergarden.errors import Unavailable
from wintergarden.runtime import available_threads
from wintergarden.store.datasets import open_datasets

HOST = "127.0.0.1"
START_S = 300.0
"""How long the other ranks may take to load their data."""
END_S = 30.0
"""How long a rank may take to notice that another has ended, or that all is done."""
_LOOK_S = 0.05
_QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # rank 0 says it already


@contextmanager
def joined(order: bytes | str, processes: int, device: torch.device) -> Iterator[Ranks]:
    """The ranks that carry out an order to train; this process is the first of them.

    Within, each rank has its share of the processor's threads.

    Args:
        order: as a training process reads it; the other ranks read it too.
        processes: 1 starts none.
        device: of this rank.

    Raises:
        Unavailable: another rank has ended, or did not start.
    """
    if processes == 1:
        yield ALONE
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(_threads(processes))
    store = TCPStore(HOST, 0, processes, is_master=True, wait_for_workers=False)
    others = [_Other(rank, processes, store.port, order) for rank in range(1, processes)]
    try:
        _wait_until_ready(store, others)
        group = Group(store, 0, processes, device)
        yield group
        group.leave()
        for other in others:
            other.wait(END_S)
    except RuntimeError as error:  # of a collective call, where the other end has gone
        _blame(others, error)
        raise
    finally:
        for other in others:
            other.close()
        if dist.is_initialized():
            dist.destroy_process_group()
        torch.set_num_threads(threads)


class Group(Ranks):
    """Ranks over torch.distributed."""

    def __init__(self, store: TCPStore, rank: int, processes: int, device: torch.device) -> None:
        self.rank, self.count = rank, processes
        self._device = device
        is_cuda = device.type == "cuda"
        _use_loopback()
        dist.init_process_group(
            "nccl" if is_cuda else "gloo",
            store=store,
            rank=rank,
            world_size=processes,
            device_id=device if is_cuda else None,
        )
        # Flags and states are on the CPU; on CUDA their way must not wait for the device.
        self._control = dist.new_group(backend="gloo") if is_cuda else dist.group.WORLD

    def leave(self) -> None:
        """Nothing more will be asked of the others, nor they of this one."""
        self.any(False)
        dist.destroy_process_group()

    def any(self, flag: bool) -> bool:
        flags = torch.tensor([int(flag)])
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self._control)
        return bool(flags.item())

    def sum(self, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        dist.broadcast(total, 0)  # all decide by these: not even rounding may be a rank's own
        return total

    def share(self, state: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        content = pack(state) if state is not None and self.rank == 0 else b""
        size = torch.tensor([len(content)])
        dist.broadcast(size, 0, group=self._control)
        if not size.item():
            return None
        sent = torch.empty(int(size.item()), dtype=torch.uint8)
        if content:
            sent.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        dist.broadcast(sent, 0, group=self._control)
        return state if self.rank == 0 else unpack(sent.numpy().tobytes())[1]

    def replicate(self, network: nn.Module) -> nn.Module:
        if self._device.type == "cuda":
            return DistributedDataParallel(network, device_ids=[self._device])
        # Without this, DDP lays gradients out anew after its first step, and so adds up those of
        # three ranks in another order then: a resumed training would differ in the last bits.
        return DistributedDataParallel(network, find_unused_parameters=True)

    def local(self, replica: nn.Module) -> AbstractContextManager[Any]:
        if not isinstance(replica, DistributedDataParallel):
            raise TypeError(f"a replica comes from replicate, got {type(replica).__name__}")
        return replica.no_sync()


class _Other:
    """Another rank's process, as rank 0 has it."""

    def __init__(self, rank: int, processes: int, port: int, order: bytes | str) -> None:
        text = order if isinstance(order, str) else order.decode()
        assignment = {"rank": rank, "processes": processes, "port": port, "order": text}
        self.rank = rank
        self._is_closing = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainer.distributed"],
            stdin=subprocess.PIPE,
            stdout=2,  # the first rank's standard output is for messages
            env=_QUIET | os.environ | {"OMP_NUM_THREADS": str(_threads(processes))},
        )
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended already, which will be seen
                self._process.stdin.write(json.dumps(assignment).encode() + b"\n")
                self._process.stdin.flush()
        threading.Thread(target=self._watch, name=f"rank {rank}", daemon=True).start()

    def ended(self, timeout_s: float = 0.0) -> str:
        """How it ended, in words; empty while it runs."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return ""
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"

    def wait(self, timeout_s: float) -> None:
        self._is_closing.set()
        self.ended(timeout_s)

    def close(self) -> None:
        self._is_closing.set()
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def _watch(self) -> None:
        """NCCL would wait for a dead rank until its own time limit: half an hour."""
        has_failed = self._process.wait() != 0
        if has_failed and not self._is_closing.wait(END_S):
            sys.stderr.write(f"rank {self.rank} {self.ended()}; so does rank 0\n")
            os._exit(1)


def _wait_until_ready(store: TCPStore, others: list[_Other]) -> None:
    give_up_at = time.monotonic() + START_S
    while not store.check([_ready(other.rank) for other in others]):
        for other in others:
            if how := other.ended():
                raise Unavailable(f"rank {other.rank} of {len(others) + 1} {how} at its start")
        if time.monotonic() > give_up_at:
            raise Unavailable(f"not all of {len(others) + 1} ranks were ready in {START_S:g} s")
        time.sleep(_LOOK_S)


def _blame(others: list[_Other], error: Exception) -> None:
    """Raises Unavailable if a rank's end is the reason of an error."""
    until = time.monotonic() + END_S / 10
    while True:
        for other in others:
            if how := other.ended():
                raise Unavailable(
                    f"rank {other.rank} of {len(others) + 1} {how}, and the training with it"
                ) from error
        if time.monotonic() > until:
            return
        time.sleep(_LOOK_S)


def _ready(rank: int) -> str:
    return f"ready/{rank}"


def _threads(processes: int) -> int:
    return max(1, available_threads() // processes)


def _use_loopback() -> None:
    """Gloo would look up the host's name, which in a container often leads nowhere."""
    if any(name == "lo" for _, name in socket.if_nameindex()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def main() -> int:
    """Another rank than the first."""
    for number in (signal.SIGTERM, signal.SIGINT):  # meant for rank 0, which tells all of us
        signal.signal(number, signal.SIG_IGN)
    # Unbuffered: a thread that waits in a buffered read aborts the interpreter's exit.
    source = io.FileIO(0, closefd=False)
    assignment = json.loads(source.readline())
    threading.Thread(target=_end_with_first_rank, args=(source,), daemon=True).start()
    rank, processes = int(assignment["rank"]), int(assignment["processes"])
    torch.set_num_threads(_threads(processes))
    order = parse_training_order(assignment["order"])
    dataset = load(order.dataset, open_datasets(order.store_uri))
    architecture = find(order.architecture)
    hyperparameters = architecture.hyperparameters.parse(order.hyperparameters)
    device = choose_device(order.device, rank, processes)
    store = TCPStore(HOST, int(assignment["port"]), processes, is_master=False)
    store.set(_ready(rank), "1")
    group = Group(store, rank, processes, device)
    try:
        train(architecture, hyperparameters, dataset, order.seed, device=device, ranks=group)
    except Stopped:
        return 0
    group.leave()
    return 0


def _end_with_first_rank(source: io.FileIO) -> None:
    while source.read(1 << 10):
        pass
    os._exit(1)


if __name__ == "__main__":
    # Without an interpreter's exit: gloo's threads may outlive what they use, and abort in it.
    os._exit(main())
