"""Tries ONNX files of unknown origin, each in a process of its own, forked from this one.

    python -I rehearse.py

reads one request a line, a JSON list [path, memory in bytes, seconds], and answers each with one
line: "" when ONNX Runtime can open the file and one run of it ends, or the reason. It is run as a
script with nothing of ours on its path; `rehearsal.py` is its parent. What the file does to the
process that tries it, it does to nobody else: that process has no descriptors but the answer's,
may write no file, and has little memory and time.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import signal
import sys
from typing import Any

_MAX_REASON = 1000
_MAX_INPUT_BYTES = 2**30
_FATAL = 4
_OUT_OF_MEMORY = re.compile(r"allocate memory|bad allocation|bad_alloc|out of memory", re.I)
_TYPES = {
    "tensor(bool)": "bool",
    "tensor(double)": "float64",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(int8)": "int8",
    "tensor(string)": "object",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(uint8)": "uint8",
}


def try_file(path: str) -> None:
    """Open it and run it once on zeros; raises whatever ONNX Runtime raises of either."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(_FATAL)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    if all(node.type in _TYPES for node in inputs):
        try:
            session.run(None, {node.name: _zeros(node) for node in inputs})
        except Exception as error:
            # Zeros do not suit every graph; what it takes to try them matters.
            if _OUT_OF_MEMORY.search(str(error)):
                raise MemoryError from error


def _zeros(node: Any) -> Any:
    import numpy as np

    shape = [size if isinstance(size, int) and size >= 0 else 1 for size in node.shape]
    if math.prod(shape) * 8 > _MAX_INPUT_BYTES:
        raise MemoryError
    kind = _TYPES[node.type]
    return np.full(shape, "", object) if kind == "object" else np.zeros(shape, kind)


def confine(memory: int, seconds: int) -> None:
    """Give up what trying a file does not need."""
    limits = {
        resource.RLIMIT_AS: _address_space() + memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for which, limit in limits.items():
        # The soft limit of time ends the process with a signal that says why.
        resource.setrlimit(which, (limit, limit + 1 if which == resource.RLIMIT_CPU else limit))


def _address_space() -> int:
    """What is mapped already, most of it by libraries that are loaded and not used."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[0]) * resource.getpagesize()


def rehearse(path: str, memory: int, seconds: int) -> str:
    """Fork, and say what became of the child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os._exit(_child(path, memory, seconds, writing))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        signal.alarm(2 * seconds)  # a child that sleeps uses no CPU time
        try:
            answer = pipe.read(4 * _MAX_REASON)
            _, status = os.waitpid(child, 0)
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"it takes more than {2 * seconds} s"
        finally:
            signal.alarm(0)
    if os.WIFSIGNALED(status):
        killer = signal.Signals(os.WTERMSIG(status)).name
        if killer == "SIGXCPU":
            return f"it takes more than {seconds} s of a processor"
        return f"it broke the process that tried it ({killer})"
    if os.WEXITSTATUS(status) == 0:
        return ""
    return answer.decode(errors="replace") or "it ended the process that tried it"


def _child(path: str, memory: int, seconds: int, writing: int) -> int:
    try:
        os.dup2(writing, 3)
        os.closerange(4, 256)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        confine(memory, seconds)
        try_file(path)
    except MemoryError:
        os.write(3, f"it takes more than {memory} bytes of memory".encode())
        return 1
    except Exception as error:
        os.write(3, (str(error) or repr(error))[:_MAX_REASON].encode())
        return 1
    return 0


def _on_alarm(*_: Any) -> None:
    raise TimeoutError


def main() -> None:
    import onnxruntime  # noqa: F401  # once, for all the children

    signal.signal(signal.SIGALRM, _on_alarm)
    for line in sys.stdin:
        path, memory, seconds = json.loads(line)
        print(json.dumps(rehearse(path, memory, seconds)), flush=True)


if __name__ == "__main__":
    main()
