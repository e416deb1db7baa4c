"""One job's work, in a process of its own.

Started by the worker, which reads its messages and speaks to it over its standard input
(`trainer.messages`). A process of its own has its own CUDA context, gives all memory back at
its end, and takes nobody along when it dies. What is done is said by the order's kind.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from trainer.control import Control
from trainer.kinds import MODULES
from trainer.order import kind_of, licence_of
from trainer.recipes.watcher import Stopped
from wintergarden.errors import (
    Cancelled,
    InvalidArgument,
    NotFound,
    Overloaded,
    StorageFull,
    Unavailable,
    WintergardenError,
)

Run = Callable[[bytes | str, Control], Mapping[str, Any]]

HELP = """Does one job. The worker starts it, writes an order (one line of JSON) to its standard
input and keeps the input open; what happens comes back as lines of JSON on the standard output.
Ends with 0 and a "result", or with 1 and an "error": invalid, failed, unavailable, memory or
cancelled.

Alone, without a worker, Redis or leave to publish:

  python -m trainer.child --alone '{"architecture": "lenet5", "dataset": "mnist-5k",
      "hyperparameters": {"epochs": 2}, "store_uri": "/tmp/store"}'
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m trainer.child",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--catalogue",
        action="store_true",
        help="print the architectures and data sets that can be trained and the devices there are, "
        "as JSON, and exit",
    )
    parser.add_argument(
        "--warm",
        action="store_true",
        help="import everything before the order comes: it then starts at once",
    )
    parser.add_argument(
        "--alone",
        metavar="ORDER",
        help="carry out this order and publish unasked; Ctrl-C stops at the next step",
    )
    arguments = parser.parse_args()
    faulthandler.enable()  # a crash in a library leaves a trace among the last log lines
    if arguments.catalogue:
        from trainer.devices import devices
        from trainer.recipes.catalogue import catalogue

        sys.stdout.write(json.dumps({**catalogue(), "devices": devices()}) + "\n")
        return 0
    control = Control(is_alone=arguments.alone is not None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: control.stop("terminated"))
    if arguments.warm:
        _runner("train")
    text = control.read_order() if arguments.alone is None else arguments.alone
    if arguments.warm and not text:
        return 0  # the worker ended, and had no use for it
    return _serve(control, text)


def _serve(control: Control, text: bytes | str) -> int:
    # Before anything else: what is imported now may take longer than a lease.
    control.listen(licence_of(text))
    try:
        result = _runner(kind_of(text))(text, control)
    except (Stopped, Cancelled) as error:
        control.say("error", kind="cancelled", reason=str(error))
    except (InvalidArgument, NotFound) as error:
        control.say("error", kind="invalid", reason=error.message)
    except (Unavailable, Overloaded, StorageFull) as error:  # worth another attempt
        control.say("error", kind="unavailable", reason=error.message)
    except WintergardenError as error:
        control.say("error", kind="failed", reason=error.message)
    except Exception as error:
        traceback.print_exc()
        control.say("error", kind=_kind(error), reason=f"{type(error).__name__}: {error}")
    else:
        control.say("result", **result)
        return 0
    return 1


def _runner(kind: str) -> Run:
    if kind not in MODULES:
        there_are = ", ".join(MODULES)
        raise InvalidArgument(f"no kind of job {kind!r}; there are {there_are}", field="kind")
    run: Run = importlib.import_module(MODULES[kind]).run
    return run


def _kind(error: Exception) -> str:
    """Memory may be there next time, when its other users have gone; so may a disk that failed."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "memory"
    return "unavailable" if isinstance(error, OSError) else "failed"


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The job's end waits for ours: there is nothing that a second of tearing down would save.
    os._exit(code)
