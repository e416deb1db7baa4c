"""Carries out one order in a process of its own, and says how that ended."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from wintergarden.errors import (
    Cancelled,
    InvalidArgument,
    NotFound,
    Overloaded,
    StorageFull,
    Unavailable,
    WintergardenError,
)
from wintergarden.worker.control import Control, Stopped
from wintergarden.worker.order import kind_of, licence_of

Run = Callable[[bytes | str, Control], Mapping[str, Any]]
"""Order and control to the fields of the result."""


def serve(
    control: Control, text: bytes | str, modules: Mapping[str, str], default_kind: str = ""
) -> int:
    """Do what an order says; the exit code.

    Args:
        control: the supervisor.
        text: the order.
        modules: by kind of job, the module whose `run` does it.
        default_kind: of an order that names none.
    """
    # Before anything else: what is imported now may take longer than a lease.
    control.listen(licence_of(text))
    try:
        result = runner(kind_of(text, default_kind), modules)(text, control)
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


def runner(kind: str, modules: Mapping[str, str]) -> Run:
    """What does jobs of a kind, imported.

    Raises:
        InvalidArgument: nothing does, naming the kinds there are.
    """
    if kind not in modules:
        there_are = ", ".join(modules)
        raise InvalidArgument(f"no kind of job {kind!r}; there are {there_are}", field="kind")
    run: Run = importlib.import_module(modules[kind]).run
    return run


def _kind(error: Exception) -> str:
    """Memory may be there next time, when its other users have gone; so may a disk that failed."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "memory"
    return "unavailable" if isinstance(error, OSError) else "failed"
