"""What of the requests is traced, in the words of Triton's trace extension.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_trace.md

A model's settings fall back on the server's, and those on the defaults, setting by setting. Only
words and numbers here: no requests, and no files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from wintergarden.errors import InvalidArgument, Unsupported

OFF = "OFF"
TIMESTAMPS = "TIMESTAMPS"
TENSORS = "TENSORS"

# A setting's values as they travel.
Values = Sequence[str]


@dataclass(frozen=True)
class TraceSetting:
    """All settings of a model, or of the server.

    Attributes:
        trace_file: name of the file, in the server's directory of traces.
        trace_level: what is recorded: (OFF,), or one or both of TIMESTAMPS and TENSORS.
        trace_rate: of so many requests one is traced.
        trace_count: how many more requests are traced; -1: all.
        log_frequency: so many traces go to each file `<trace_file>.<number>`; 0: all go to one
            file once the settings change or the server ends.
        trace_mode: whose format it is.
    """

    trace_file: str = ""
    trace_level: tuple[str, ...] = (OFF,)
    trace_rate: int = 1000
    trace_count: int = -1
    log_frequency: int = 0
    trace_mode: str = "triton"

    @property
    def is_off(self) -> bool:
        return self.trace_level == (OFF,)

    def update(self, specified: Mapping[str, Any]) -> TraceSetting:
        """With other values where they are specified."""
        return replace(self, **specified)

    def values(self) -> dict[str, list[str]]:
        """As they travel."""
        listed: dict[str, list[str]] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            listed[field.name] = list(value) if isinstance(value, tuple) else [str(value)]
        return listed


def parse(settings: Mapping[str, Values]) -> dict[str, Any]:
    """The values of settings; None for one that is to fall back, which travels without a value.

    Raises:
        InvalidArgument: there is no such setting, or it cannot have that value.
        Unsupported: OpenTelemetry is asked for.
    """
    parsed: dict[str, Any] = {}
    for name, values in settings.items():
        reader = _READERS.get(name)
        if reader is None:
            raise _invalid(name, "unknown", ", ".join(_READERS))
        parsed[name] = reader(name, values) if values else None
    return parsed


def _level(name: str, values: Values) -> tuple[str, ...]:
    levels = tuple(dict.fromkeys(values))
    if levels != (OFF,) and not set(levels) <= {TIMESTAMPS, TENSORS}:
        raise _invalid(name, repr(list(values))[:200], f"{OFF}, or {TIMESTAMPS} and {TENSORS}")
    return levels


def _text(name: str, values: Values) -> str:
    if len(values) != 1:
        raise _invalid(name, f"{len(values)} values", "one")
    return values[0]


def _mode(name: str, values: Values) -> str:
    mode = _text(name, values)
    if mode == "opentelemetry":
        raise Unsupported(
            "trace_mode opentelemetry is not offered; use triton, whose files tools can convert"
        )
    if mode != "triton":
        raise _invalid(name, repr(mode)[:200], "triton")
    return mode


def _number(minimum: int) -> Callable[[str, Values], int]:
    def read(name: str, values: Values) -> int:
        text = _text(name, values)
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
            raise _invalid(name, repr(text)[:200], f"a whole number from {minimum}")
        if int(text) < minimum:
            raise _invalid(name, text, f"a whole number from {minimum}")
        return int(text)

    return read


def _invalid(name: str, got: str, allowed: str) -> InvalidArgument:
    return InvalidArgument(
        f"trace setting {name!r:.200}: {got}; allowed: {allowed}", field=f"settings.{name:.200}"
    )


_READERS: dict[str, Callable[[str, Values], Any]] = {
    "trace_file": _text,
    "trace_level": _level,
    "trace_rate": _number(1),
    "trace_count": _number(-1),
    "log_frequency": _number(0),
    "trace_mode": _mode,
}
