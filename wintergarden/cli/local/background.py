"""`wintergarden up` in a process of its own, for those that only want its address."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wintergarden.cli.local import leash
from wintergarden.cli.local.home import Home
from wintergarden.cli.local.system import READY_LIMIT_S
from wintergarden.errors import FailedPrecondition

_STOP_LIMIT_S = 120.0


@dataclass(frozen=True)
class Background:
    """A system that was serving when this was made. `process` is `wintergarden up`."""

    home: Home
    address: str
    process: subprocess.Popen[str]


@contextmanager
def in_background(
    path: Path, *, port: int = 0, ready_limit_s: float = READY_LIMIT_S
) -> Iterator[Background]:
    """Start a system on the data in `path`, and stop it at the end.

    It stops too when this process is killed.

    Raises:
        FailedPrecondition: it does not start; the message is what `up` said.
    """
    home = Home(path.resolve())
    home.prepare()
    command = [sys.executable, "-P", leash.__file__, "--lock", str(home.run / "background")]
    command += ["--leads", "--", sys.executable, "-m", "wintergarden", "up", "--json"]
    command += ["--home", str(home.path), "--port", str(port)]
    command += ["--ready-limit", str(ready_limit_s)]
    said = home.logs / "up.err"
    with (
        said.open("w") as complaints,
        subprocess.Popen(
            command,
            env={**os.environ, leash.PARENT_VARIABLE: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            start_new_session=True,  # Ctrl-C is for us, and we stop it
        ) as process,
    ):
        try:
            ready = process.stdout.readline() if process.stdout else ""
            if not ready:
                process.wait()
                raise FailedPrecondition(
                    f"the system did not start: {said.read_text().strip().removeprefix('error ')}"
                )
            yield Background(home, json.loads(ready)["address"], process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()  # and the leashes end the rest
