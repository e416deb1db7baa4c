"""Speaks the training process's protocol and does what the job's hyperparameters say.

{"steps": n, "step_s": s}: reports n steps, asks to publish, "publishes" by writing a file named
after the job and its fence into the store directory.
{"die": how}: misbehaves at step 2; see `misbehave`.
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
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            self.renewed_until = message.get("renewed_until", self.renewed_until)
            self.is_cancelled |= message.get("cancel", False)
            self.may_publish = message.get("publish", self.may_publish)
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
        say(**CATALOGUE)
        return
    order = json.loads(sys.stdin.readline())
    script = order["hyperparameters"]
    control = Control(order["renewed_until"])
    signal.signal(signal.SIGTERM, lambda *_: setattr(control, "is_cancelled", True))
    store = Path(order["store_uri"])
    me = f"{order['job_id']}-{order['fence']}"
    (store / f"{me}.pid").write_text(str(os.getpid()))
    say(type="progress", phase="data", fraction=0.0, step=0)
    say(type="log", level="info", text=f"nice {os.nice(0)} in {order['work_dir']}")
    steps = script.get("steps", 3)
    for step in range(1, steps + 1):
        control.check()
        if step == 2:
            misbehave(script.get("die", ""), order["fence"])
        time.sleep(script.get("step_s", 0.02))
        say(type="progress", phase="train", fraction=step / (steps + 1), step=step)
        say(type="metrics", step=step, values={"loss": 1 / step})
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
