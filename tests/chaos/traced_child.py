"""The training process, unchanged but for a trace of when each attempt got on.

    python tests/chaos/traced_child.py TRACE_FOLDER [ARGUMENTS OF trainer.child …]

Every progress is a line `<monotonic time> <step>` in `<job>-<fence>.trace`: what the records say
about superseded attempts is checked against what their processes did.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from trainer import child
from wintergarden.worker.control import Control

_folder = Path(sys.argv.pop(1))
_read_order, _check = Control.read_order, Control.check
_trace: Any = None


def _read_and_open(control: Control) -> bytes:
    global _trace
    text = _read_order(control)
    if text:
        order = json.loads(text)
        # Unbuffered: a process may end between any two lines.
        name = f"{order['job_id']}-{order['fence']}.trace"
        _trace = (_folder / name).open("ab", buffering=0)
    return text


def _check_and_trace(control: Control) -> None:
    _check(control)
    if _trace is not None:
        _trace.write(f"{time.monotonic():.3f}\n".encode())


Control.read_order = _read_and_open  # type: ignore[method-assign]
Control.check = _check_and_trace  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(child.main())
