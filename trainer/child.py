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
from wintergarden.errors import Cancelled, InvalidArgument, NotFound, WintergardenError

# Shares of the whole job, for progress: training takes nearly all of it.
DATA_END, TRAIN_END, EXPORT_END = 0.03, 0.9, 0.98

HELP = """Trains one model; the worker starts it.

Alone, for debugging: give it an order on standard input and keep the input open; it prints what
happens as JSON lines, asks "publish?" and publishes when it reads {"publish": true}.

  (echo '{"job_id": "try", "model": "lenet5-mnist-5k", "architecture": "lenet5",
          "dataset": "mnist-5k", "hyperparameters": {"epochs": 2}, "seed": 0,
          "store_uri": "/tmp/store"}' | tr -d '\\n'; echo; echo '{"publish": true}'; sleep 60) \\
    | python -m trainer.child
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
    if parser.parse_args().catalogue:
        from trainer.recipes.catalogue import catalogue

        sys.stdout.write(json.dumps(catalogue()) + "\n")
        return 0
    return _serve(Control())


def _serve(control: Control) -> int:
    signal.signal(signal.SIGTERM, lambda *_: control.stop("terminated"))
    from trainer.recipes.classification import Stopped  # torch, loaded while nobody waits

    try:
        result = _run(control, control.read_order())
    except (Stopped, Cancelled) as error:
        control.say("error", kind="cancelled", reason=str(error))
    except (InvalidArgument, NotFound) as error:
        control.say("error", kind="invalid", reason=error.message)
    except WintergardenError as error:
        control.say("error", kind="failed", reason=error.message)
    except Exception as error:
        traceback.print_exc()
        control.say("error", kind="failed", reason=f"{type(error).__name__}: {error}")
    else:
        control.say("result", **result)
        return 0
    return 1


def _run(control: Control, order: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    from trainer.data.registry import load
    from trainer.export.publish import publish
    from trainer.recipes.classification import Watcher, train
    from trainer.recipes.hyperparameters import validate
    from trainer.zoo.registry import check_fits, find
    from wintergarden.runtime import available_threads
    from wintergarden.store import open_store

    torch.set_num_threads(available_threads())
    architecture = find(order["architecture"])
    hyperparameters = validate(architecture, order["hyperparameters"])
    control.progress("data", 0.0)
    dataset = load(order["dataset"])
    check_fits(architecture, dataset.info)
    control.progress("train", DATA_END)

    def on_step(step: int, steps: int) -> None:
        done = DATA_END + (TRAIN_END - DATA_END) * step / steps
        control.progress("train", done, step, is_due=False)

    def on_epoch(step: int, metrics: Mapping[str, float]) -> None:
        control.say("metrics", step=step, values=dict(metrics))

    trained = train(
        architecture, hyperparameters, dataset, order["seed"], Watcher(on_step, on_epoch)
    )
    control.say(
        "log",
        level="info",
        text=f"weights of epoch {trained.kept_epoch} of {len(trained.history)}; exporting",
    )
    control.progress("export", TRAIN_END)

    def may_publish(version: int) -> bool:
        control.progress("publish", EXPORT_END)
        return control.may_publish(version)

    manifest = publish(
        open_store(order["store_uri"]),
        order["model"] or f"{architecture.name}-{dataset.info.name}",
        trained,
        order.get("job_id", ""),
        may_publish,
    )
    return {"model": manifest.model, "version": manifest.version, "metrics": manifest.metrics}


if __name__ == "__main__":
    sys.exit(main())
