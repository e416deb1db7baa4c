"""Tries ONNX files of unknown origin where they can do no harm, before this process opens them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

from wintergarden.errors import FailedPrecondition, InvalidArgument
from wintergarden.runtime import rehearse

_MEMORY_BYTES = 4 * 2**30
_BYTES_PER_MODEL_BYTE = 8
_SECONDS = 60
_NOISE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |\S*onnxruntime_src\S+ ")


class Rehearsal:
    """One process that forks another for each file; started when the first file comes.

    A file takes some milliseconds. One at a time: whoever sends many shall not take every core.
    """

    def __init__(self, seconds: int = _SECONDS, memory_bytes: int = _MEMORY_BYTES) -> None:
        """`seconds` of a processor and `memory_bytes`, beside the file's own, for each file."""
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()

    def check(self, model: Path) -> None:
        """Try a file, with its external data beside it.

        Raises:
            InvalidArgument: it cannot be opened, or takes too much.
            FailedPrecondition: the process that tries files cannot be had.
        """
        size = sum(p.stat().st_size for p in model.parent.iterdir() if p.is_file())
        memory = self._memory_bytes + _BYTES_PER_MODEL_BYTE * size
        with self._turn:
            problem = self._ask([str(model), memory, self._seconds])
        if problem:
            plain = problem.replace(str(model.parent) + "/", "")
            reason = " ".join(_NOISE.sub("", plain).split())
            raise InvalidArgument(f"the model is not opened here: {reason}")

    def close(self) -> None:
        """End the process."""
        with self._turn:
            self._end()

    def _ask(self, request: list[object]) -> str:
        for _ in range(2):  # the process may have been killed since
            process = self._process or self._start()
            stdin, stdout = process.stdin, process.stdout
            if stdin is None or stdout is None:
                raise RuntimeError("the process was started without pipes")
            try:
                stdin.write(json.dumps(request) + "\n")
                stdin.flush()
                answer = json.loads(stdout.readline())
            except (OSError, ValueError):
                self._end()
                continue
            return str(answer)
        raise FailedPrecondition("the process that tries models of unknown origin does not run")

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", rehearse.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path("/"),
            env={"PATH": os.defpath, "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"},
            text=True,
        )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
