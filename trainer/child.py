"""One job's work, in a process of its own.

Started by the worker, which reads its messages and speaks to it over its standard input (see
`wintergarden.worker.messages`). A process of its own has its own CUDA context, gives all memory
back at its end, and takes nobody along when it dies. What is done is said by the order's kind.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import signal
import sys

from trainer.kinds import MODULES
from trainer.order import DEFAULT_KIND
from wintergarden.worker.child import runner, serve
from wintergarden.worker.control import Control

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
        runner(DEFAULT_KIND, MODULES)
    text = control.read_order() if arguments.alone is None else arguments.alone
    if arguments.warm and not text:
        return 0  # the worker ended, and had no use for it
    return serve(control, text, MODULES, DEFAULT_KIND)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The job's end waits for ours: there is nothing that a second of tearing down would save.
    os._exit(code)
