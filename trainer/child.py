"""One training, in a process of its own: data → recipe → export → store.

Started by the worker, which reads its messages and speaks to it over its standard input
(`trainer.messages`). A process of its own has its own CUDA context, gives all memory back at
its end, and takes nobody along when it dies.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from trainer.control import Control
from trainer.order import Order, parse_order
from trainer.recipes.watcher import Stopped, Watcher
from wintergarden.errors import (
    Cancelled,
    InvalidArgument,
    NotFound,
    Overloaded,
    Unavailable,
    WintergardenError,
)

# Shares of the whole job, for progress: training takes nearly all of it.
DATA_END, TRAIN_END, EXPORT_END = 0.03, 0.9, 0.98

HELP = """Trains one model. The worker starts it, writes an order (one line of JSON) to its standard
input and keeps the input open; what happens comes back as lines of JSON on the standard output.
Ends with 0 and a "result", or with 1 and an "error": invalid, failed, unavailable or cancelled.

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
        help="print the architectures and data sets that can be trained, as JSON, and exit",
    )
    parser.add_argument(
        "--alone",
        metavar="ORDER",
        help="carry out this order and publish unasked; Ctrl-C stops at the next step",
    )
    arguments = parser.parse_args()
    if arguments.catalogue:
        from trainer.recipes.catalogue import catalogue

        sys.stdout.write(json.dumps(catalogue()) + "\n")
        return 0
    return _serve(Control(is_alone=arguments.alone is not None), arguments.alone)


def _serve(control: Control, text: str | None) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: control.stop("terminated"))
    try:
        order = parse_order(control.read_order() if text is None else text)
        control.listen(order.renewed_until)
        result = _run(control, order)
    except (Stopped, Cancelled) as error:
        control.say("error", kind="cancelled", reason=str(error))
    except (InvalidArgument, NotFound) as error:
        control.say("error", kind="invalid", reason=error.message)
    except (Unavailable, Overloaded) as error:  # worth another attempt
        control.say("error", kind="unavailable", reason=error.message)
    except WintergardenError as error:
        control.say("error", kind="failed", reason=error.message)
    except Exception as error:
        traceback.print_exc()
        control.say("error", kind="failed", reason=f"{type(error).__name__}: {error}")
    else:
        control.say("result", **result)
        return 0
    return 1


def _run(control: Control, order: Order) -> dict[str, Any]:
    import torch  # takes seconds, in which the order has been checked and a stop can be heard

    from trainer.data.registry import describe, load
    from trainer.export.publish import publish
    from trainer.export.release import make_release
    from trainer.recipes.classification import train
    from trainer.zoo.registry import check_fits, find
    from wintergarden.runtime import available_threads
    from wintergarden.store import open_store

    control.progress("data", 0.0)
    torch.set_num_threads(min(torch.get_num_threads(), available_threads()))
    architecture = find(order.architecture)
    check_fits(architecture, describe(order.dataset))
    hyperparameters = architecture.hyperparameters.parse(order.hyperparameters)
    store = open_store(order.store_uri)
    store.list_versions(order.model_name)  # a store out of reach is better met before the work
    dataset = load(order.dataset)
    control.progress("train", DATA_END)

    def on_step(step: int, steps: int) -> None:
        done = DATA_END + (TRAIN_END - DATA_END) * step / steps
        control.progress("train", done, step, is_due=False)

    def on_epoch(step: int, metrics: Mapping[str, float]) -> None:
        control.say("metrics", step=step, values=dict(metrics))

    watcher = Watcher(on_step, on_epoch)
    trained = train(architecture, hyperparameters, dataset, order.seed, watcher)
    control.say(
        "log",
        level="info",
        text=f"weights of epoch {trained.kept_epoch} of {len(trained.history)}; exporting",
    )
    control.progress("export", TRAIN_END)

    def may_publish(version: int) -> bool:
        control.progress("publish", EXPORT_END)
        return control.may_publish(version)

    release = make_release(trained, order.model_name)
    manifest = publish(store, order.model_name, release, order.job_id, may_publish)
    return {"model": manifest.model, "version": manifest.version, "metrics": manifest.metrics}


if __name__ == "__main__":
    sys.exit(main())
