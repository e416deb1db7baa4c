"""How much of the machine reading an uploaded file may take, and how large it may become."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wintergarden.errors import InvalidArgument

MAX_UNPACKED_BYTES = 4 * 2**30
MAX_PREPARED_BYTES = 2 * 2**30
MAX_EXAMPLES = 5_000_000
MAX_COLUMNS = 4096
MAX_CLASSES = 1000
MAX_PIXELS = 2**24
MAX_NAME_CHARACTERS = 256
"""Of a class, a column or a category: they travel with every model that is trained on them."""


@contextmanager
def limited(memory_mb: int, seconds: float) -> Iterator[None]:
    """While this holds, the process takes no more memory and processor time than that.

    Args:
        memory_mb: mebibytes beyond what it has now; 0 is no limit.
        seconds: of processor time from now on; 0 is no limit.

    Raises:
        InvalidArgument: it wanted more; the message says of what.
    """
    kinds = (resource.RLIMIT_DATA, resource.RLIMIT_CPU)
    before = {kind: resource.getrlimit(kind) for kind in kinds}
    has_handler = bool(seconds)
    if memory_mb:
        _lower(resource.RLIMIT_DATA, _private_bytes() + memory_mb * 2**20)
    if seconds:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        handler = signal.signal(signal.SIGXCPU, lambda *_: _refuse_time(seconds))
        _lower(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime + seconds) + 1)
    try:
        yield
    except (MemoryError, SystemError) as error:  # C code that forgets to say why it failed
        raise InvalidArgument(
            f"reading the file takes more than the {memory_mb} MiB of memory that are allowed"
        ) from error
    finally:
        for kind, limit in before.items():
            resource.setrlimit(kind, limit)
        if has_handler:
            signal.signal(signal.SIGXCPU, handler)


def _refuse_time(seconds: float) -> None:
    raise InvalidArgument(
        f"reading the file takes more than the {seconds:g} s of processor time that are allowed"
    )


def _lower(kind: int, wanted: int) -> None:
    """The soft limit only: a process without privileges could not raise a hard one again."""
    soft, hard = resource.getrlimit(kind)
    limits: list[Any] = [limit for limit in (wanted, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min(limits), hard))


def _private_bytes() -> int:
    """What RLIMIT_DATA counts, as far as the system tells."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
