"""One set-up of logging for a process: structlog, and the standard library's through it.

To stderr, a line an event: for people on a terminal, JSON otherwise. Payloads are never logged.
Which levels are logged, and where to, may change while the process runs; a level that is off
costs a call of nothing.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from wintergarden.service.settings import ProcessSettings

# The levels that can be switched, and the methods of a logger that are silent without them.
LEVELS = {
    "debug": ("debug",),
    "info": ("info", "msg"),
    "warning": ("warning", "warn"),
    "error": ("error", "exception", "critical", "fatal"),
}
_NUMBERS = {
    "debug": (logging.DEBUG,),
    "info": (logging.INFO,),
    "warning": (logging.WARNING,),
    "error": (logging.ERROR, logging.CRITICAL),
}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

_All: Any = structlog.make_filtering_bound_logger(logging.NOTSET)


class _Logger(_All):  # type: ignore[misc]
    """Modules keep their loggers, so a level is switched on the class of them all."""

    numbers = frozenset((logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL))

    def is_enabled_for(self, level: int) -> bool:
        return level in self.numbers

    def get_effective_level(self) -> int:
        return min(self.numbers, default=logging.CRITICAL + 1)

    def log(self, level: int, event: str, *args: Any, **context: Any) -> Any:
        return super().log(level, event, *args, **context) if level in self.numbers else None


class _Output:
    """Where lines go: stderr, or a file. Loggers keep it, so the file is switched within."""

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def write(self, text: str) -> None:
        if self._file is not None:
            try:
                self._file.write(_COLOURS.sub("", text))
                return
            except (OSError, ValueError):
                pass  # the disk is full, or the file was switched: no request may fail of that
        sys.stderr.write(text)

    def flush(self) -> None:
        if self._file is None:  # files are flushed with every line
            sys.stderr.flush()

    def switch(self, file: IO[str] | None) -> None:
        before, self._file = self._file, file
        if before is not None:
            before.close()


_output: Any = _Output()


def configure(service: str, settings: ProcessSettings) -> None:
    """Log as the settings say, each line with the service's name."""
    structlog.contextvars.clear_contextvars()
    level = getattr(logging, settings.log_level.upper())
    for_people = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _named(service),
    ]
    # By default both would show the frames' variables: payloads, and whatever is secret.
    rendered: list[structlog.typing.Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if for_people
        else [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(),
        ]
    )
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *shared, *rendered],
        wrapper_class=_Logger,
        logger_factory=structlog.WriteLoggerFactory(_output),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_output)
    handler.addFilter(lambda record: record.levelno // 10 * 10 in _Logger.numbers)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)  # libraries' debug logs name payloads
    log_to(None)
    log_levels(name for name, numbers in _NUMBERS.items() if numbers[0] >= level)


def levels() -> frozenset[str]:
    """Of `LEVELS`, those that are logged."""
    return frozenset(n for n, numbers in _NUMBERS.items() if numbers[0] in _Logger.numbers)


def log_levels(names: Iterable[str]) -> None:
    """Log these of `LEVELS` from now on, and no others."""
    wanted = frozenset(names)
    _Logger.numbers = frozenset(n for name in wanted for n in _NUMBERS[name])
    for name, methods in LEVELS.items():
        for method in methods:
            setattr(_Logger, method, getattr(_All, method) if name in wanted else _silent)


def log_to(path: Path | None) -> None:
    """Append to a file from now on; None: to stderr.

    Raises:
        OSError: the file cannot be opened, or is a link.
    """
    if path is None:
        _output.switch(None)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    _output.switch(os.fdopen(os.open(path, flags, 0o640), "a", buffering=1, encoding="utf-8"))


def _silent(self: object, *args: object, **context: object) -> None:
    """Of a level that is off."""


def _named(service: str) -> structlog.typing.Processor:
    def add(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return add
