"""One job's explanations, in a process of its own; `wintergarden.worker.messages` has the words."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys

from wintergarden.jobs.records import ExplainSpec
from wintergarden.worker.child import runner, serve
from wintergarden.worker.control import Control

MODULES = {ExplainSpec.kind: "services.explanation.worker.job"}


def main() -> int:
    parser = argparse.ArgumentParser("python -m services.explanation.worker.child")
    parser.add_argument(
        "--warm", action="store_true", help="import everything before the order comes"
    )
    arguments = parser.parse_args()
    faulthandler.enable()  # a crash in a library leaves a trace among the last log lines
    control = Control()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: control.stop("terminated"))
    if arguments.warm:
        runner(ExplainSpec.kind, MODULES)
    text = control.read_order()
    if arguments.warm and not text:
        return 0  # the worker ended, and had no use for it
    return serve(control, text, MODULES, ExplainSpec.kind)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
