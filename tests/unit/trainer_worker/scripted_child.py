"""Speaks the training process's protocol and does what the job's hyperparameters say.

{"steps": n, "step_s": s}: reports n steps, asks to publish, "publishes" by writing a file named
after the job and its fence into the store directory.
{"die": how}: misbehaves at step 2; see `misbehave`.
{"checkpoint_every": n}: takes a checkpoint after every n steps, and one when it is stopped.
{"use_mb": n}: holds so many mebibytes of memory from step 2 on.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

CATALOGUE = {
    "architectures": [{"name": "scripted", "datasets": ["none"]}],
    "datasets": [{"name": "none"}],
}


class Control:
    """The supervisor's side of the pipe, read in a thread."""

    def __init__(self, renewed_until: float) -> None:
        self.renewed_until = renewed_until
        self.is_cancelled = False
        self.is_abandoned = False
        self.may_publish: bool | None = None
        self.is_kept: bool | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            self.renewed_until = message.get("renewed_until", self.renewed_until)
            self.is_cancelled |= message.get("cancel", False)
            self.may_publish = message.get("publish", self.may_publish)
            self.is_kept = message.get("checkpoint_kept", self.is_kept)
        self.is_abandoned = True

    def check(self) -> None:
        """What a training process does at each step."""
        if self.is_abandoned:
            sys.exit("nobody waits for the result")
        if time.time() > self.renewed_until:
            say(type="error", kind="cancelled", reason="the lease ran out")
            sys.exit(3)
        if self.is_cancelled:
            say(type="error", kind="cancelled", reason="cancelled")
            sys.exit(4)


def say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def take_checkpoint(order: dict[str, Any], step: int, control: Control) -> None:
    """Its content is the step."""
    from wintergarden.store.job_files import open_job_files  # most tests do not wait for it

    name = f"{order['fence']}/checkpoint-{step}.txt"
    open_job_files(order["store_uri"], order["job_id"]).put(name, str(step).encode())
    control.is_kept = None
    say(type="checkpoint", name=name, step=step)
    while control.is_kept is None and not control.is_abandoned:
        time.sleep(0.01)


def resumed_step(order: dict[str, Any]) -> int:
    if not order["checkpoint"]:
        return 0
    from wintergarden.store.job_files import open_job_files

    files = open_job_files(order["store_uri"], order["job_id"])
    step = int(files.read(order["checkpoint"], 100))
    say(type="log", level="info", text=f"resumed from step {step}")
    return step


def misbehave(how: str, fence: int) -> None:
    print(f"about to {how}", file=sys.stderr, flush=True)
    match how:
        case "exit":
            sys.exit(7)
        case "exit once":
            if fence == 1:
                sys.exit(7)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "memory":
            say(type="error", kind="memory", reason="MemoryError: ")
            sys.exit(1)
        case "error":
            say(type="error", kind="failed", reason="the loss became NaN at step 2")
            sys.exit(1)
        case "invalid":
            say(type="error", kind="invalid", reason="hyperparameter 'layers': too deep")
            sys.exit(1)
        case "unavailable":
            say(type="error", kind="unavailable", reason="the model store does not answer")
            sys.exit(1)
        case "hang":
            time.sleep(3600)
        case "ignore":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                say(type="progress", phase="train", fraction=0.5, step=time.monotonic_ns())
                time.sleep(0.05)
        case "print":
            print("a library that prints")


def main() -> None:
    if "--catalogue" in sys.argv:
        gpus = ["cuda:0 pretended"] if "--cuda" in sys.argv else []
        say(**CATALOGUE, devices=["cpu", *gpus])
        return
    line = sys.stdin.readline()
    if not line:
        return  # kept ready in vain
    order = json.loads(line)
    script = order["hyperparameters"]
    control = Control(order["renewed_until"])
    signal.signal(signal.SIGTERM, lambda *_: setattr(control, "is_cancelled", True))
    store = Path(order["store_uri"])
    me = f"{order['job_id']}-{order['fence']}"
    (store / f"{me}.pid").write_text(str(os.getpid()))
    say(type="progress", phase="data", fraction=0.0, step=0)
    say(type="log", level="info", text=f"nice {os.nice(0)} in {order['work_dir']}")
    steps, every = script.get("steps", 3), script.get("checkpoint_every", 0)
    held = bytearray()
    for step in range(resumed_step(order) + 1, steps + 1):
        if every and control.is_cancelled:
            take_checkpoint(order, step - 1, control)
        control.check()
        if step == 2:
            misbehave(script.get("die", ""), order["fence"])
            held = bytearray(os.urandom(1 << 20)) * script.get("use_mb", 0)
        time.sleep(script.get("step_s", 0.02))
        say(type="progress", phase="train", fraction=step / (steps + 1), step=step)
        say(type="metrics", step=step, values={"loss": 1 / step})
        if every and step % every == 0:
            take_checkpoint(order, step, control)
    say(type="progress", phase="export", fraction=steps / (steps + 1), step=len(held))
    say(type="publish?", version=order["fence"])
    while control.may_publish is None:
        control.check()
        time.sleep(0.01)
    if not control.may_publish:
        say(type="error", kind="cancelled", reason="not allowed to publish")
        sys.exit(5)
    (store / f"{me}.published").touch()
    say(
        type="result",
        model=order["model"],
        version=order["fence"],
        metrics={"test_accuracy": 0.5, "seed": order["seed"]},
    )


if __name__ == "__main__":
    main()
