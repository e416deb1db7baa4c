"""A job's metrics as TensorBoard's event files, for those who look at all their runs there.

An option: what a job reports is in its record, whoever else reads along. `torch.utils.tensorboard`
needs the package `tensorboard`, which is an extra of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from wintergarden.errors import Unsupported

OnEpoch = Callable[[int, Mapping[str, float]], None]


def check_tensorboard() -> None:
    """Refuses where the event files cannot be written.

    Raises:
        Unsupported: the package is not installed; naming the cure.
    """
    if find_spec("tensorboard") is None:
        raise Unsupported(
            "curves for TensorBoard need the package tensorboard, which is not installed here: "
            "pip install 'wintergarden[tensorboard]', or leave TRAINER_TENSORBOARD_DIR unset"
        )


@contextmanager
def curves(folder: Path | None, warn: Callable[[str], None]) -> Iterator[OnEpoch]:
    """A `Watcher.on_epoch` that adds each metric to its curve.

    An attempt that goes on from a checkpoint hides what earlier ones wrote from there on. If the
    folder cannot be written to, that is a warning, and the curves end.

    Args:
        folder: of this run; one for each job. None: no curves.
        warn: takes what the user should know.

    Raises:
        Unsupported: the package is not installed; naming the cure.
    """
    if folder is None:
        yield lambda step, metrics: None
        return
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    writer: SummaryWriter | None = None
    is_broken = False

    def on_epoch(step: int, metrics: Mapping[str, float]) -> None:
        nonlocal writer, is_broken
        if is_broken:
            return
        try:
            if writer is None:
                writer = SummaryWriter(str(folder), purge_step=step)
            for name, value in metrics.items():
                writer.add_scalar(name, value, step)
            writer.flush()
        except OSError as error:
            is_broken = True
            warn(f"no more curves for TensorBoard: {folder}: {error}")

    try:
        yield on_epoch
    finally:
        if writer is not None and not is_broken:
            writer.close()
