"""Which requests are traced, and when their traces are written.

While nothing is traced, `is_on` is all that anybody looks at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.inference.tracing.file import TraceDirectory
from services.inference.tracing.settings import TraceSetting, Values, parse
from services.inference.tracing.trace import Trace, TracedRequest
from wintergarden.errors import NotFound

if TYPE_CHECKING:
    from services.inference.repository.repository import Model

_DEFAULT_FILE = "trace.json"
# Traces that wait to be written, where no frequency is set: memory is bounded all the same.
_MAX_KEPT = 10_000

_GLOBAL = ""


class Tracing:
    """Triton's trace extension for one process.

    Attributes:
        is_on: some requests may have to be traced.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        suffix: str = "",
        is_known: Callable[[str], bool] = lambda name: True,
    ) -> None:
        """Trace nothing yet.

        Args:
            directory: where files may be written; None: traces are off for good.
            suffix: of every file, where several processes write to one directory.
            is_known: whether there is a model of that name.
        """
        self.is_on = False
        self._directory = TraceDirectory(directory, suffix)
        self._is_known = is_known
        self._defaults = TraceSetting(trace_file="" if directory is None else _DEFAULT_FILE)
        self._specified: dict[str, dict[str, Any]] = {_GLOBAL: {}}
        self._samplers = {_GLOBAL: _Sampler(self._defaults, self._directory, -1)}
        self._changing = threading.Lock()

    def update(self, model: str, settings: Mapping[str, Values]) -> dict[str, list[str]]:
        """Change settings, and tell all of them.

        Args:
            model: whose; "" for the server's.
            settings: values by name; without a value it falls back on the server's, or on the
                default.

        Raises:
            NotFound: there is no such model.
            InvalidArgument: there is no such setting, or it cannot have that value.
            Unsupported: the server writes no traces, or OpenTelemetry is asked for.
        """
        if model and not self._is_known(model):
            raise NotFound(f"trace settings of model {model!r:.200}: there is no such model")
        with self._changing:
            if settings:
                self._change(model, parse(settings))
            return self._sampler(model).values()

    def sample(self, model: Model, requests: Sequence[Any]) -> Sequence[Any]:
        """The requests, with those that are to be traced wrapped."""
        sampler = self._sampler(model.name)
        if not sampler.is_active:
            return requests
        return [sampler.sample(model, request) for request in requests]

    def computed(self, batch: Sequence[Any], *moments: int) -> None:
        """Tell the traces of a batch about its run: when it started, had merged, had inferred."""
        for request in batch:
            trace: Trace | None = getattr(request, "trace", None)
            if trace is not None:
                trace.computed(*moments)

    def close(self) -> None:
        """Write what has been traced so far."""
        with self._changing:
            for sampler in self._samplers.values():
                sampler.write()
        self._directory.flush()

    def _sampler(self, model: str) -> _Sampler:
        return self._samplers.get(model) or self._samplers[_GLOBAL]

    def _change(self, model: str, values: Mapping[str, Any]) -> None:
        specified = {n: dict(s) for n, s in self._specified.items()}
        merged = {**specified.get(model, {}), **values}
        specified[model] = {name: value for name, value in merged.items() if value is not None}
        if model and not specified[model]:
            del specified[model]
        server = self._defaults.update(specified[_GLOBAL])
        wanted = {n: server.update(s) if n else server for n, s in specified.items()}
        for setting in wanted.values():
            if not setting.is_off:
                self._directory.check(setting.trace_file)
        self._specified = specified
        counts_anew = "trace_count" in values
        self._replace(
            wanted,
            {
                n
                for n in wanted
                if counts_anew and (n == model or "trace_count" not in specified[n])
            },
        )

    def _replace(self, wanted: Mapping[str, TraceSetting], count_anew: Collection[str]) -> None:
        before, after = self._samplers, {}
        for name, setting in wanted.items():
            old = before.get(name)
            if old is not None and name not in count_anew:
                after[name] = old if old.setting == setting else old.successor(setting)
            else:
                after[name] = _Sampler(setting, self._directory, setting.trace_count)
        self._samplers = after
        self.is_on = any(not sampler.setting.is_off for sampler in after.values())
        for name, old in before.items():
            if after.get(name) is not old:
                old.retire()


class _Sampler:
    """Picks the requests of one setting and keeps their traces until they are written."""

    def __init__(self, setting: TraceSetting, directory: TraceDirectory, remaining: int) -> None:
        self.setting = setting
        self._directory = directory
        self._lock = threading.Lock()
        self._seen = 0
        self._remaining = remaining
        self._under_way = 0
        self._kept: list[str] = []
        self._number = 0  # of traces kept
        self._is_retired = False

    @property
    def is_active(self) -> bool:
        return not self.setting.is_off and self._remaining != 0

    def values(self) -> dict[str, list[str]]:
        return {**self.setting.values(), "trace_count": [str(self._remaining)]}

    def sample(self, model: Model, request: Any) -> Any:
        with self._lock:
            self._seen += 1
            if self._seen % self.setting.trace_rate or self._remaining == 0:
                return request
            if self._remaining > 0:
                self._remaining -= 1
            self._under_way += 1
        trace = Trace(model, request, self.setting.trace_level, self._end)
        return TracedRequest(request, model, trace)

    def successor(self, setting: TraceSetting) -> _Sampler:
        """Goes on with other settings, and with what is left of the count."""
        return _Sampler(setting, self._directory, self._remaining)

    def retire(self) -> None:
        """Sample no more; traces under way are written when they end."""
        with self._lock:
            self._is_retired = True
            self._write_rest()

    def write(self) -> None:
        """Write what is kept."""
        with self._lock:
            self._write_rest()

    def _end(self, events: list[str]) -> None:
        with self._lock:
            self._under_way -= 1
            self._kept += events
            self._number += 1
            if self._is_retired:
                self._write_rest()
            elif self._number >= (self.setting.log_frequency or _MAX_KEPT) or (
                self._remaining == 0 and not self._under_way
            ):
                self._write(is_numbered=True)

    def _write_rest(self) -> None:
        if not self._under_way or not self._is_retired:
            self._write(is_numbered=self.setting.log_frequency > 0)

    def _write(self, *, is_numbered: bool) -> None:
        if self._kept:
            self._directory.write(self.setting.trace_file, self._kept, is_numbered=is_numbered)
            self._kept, self._number = [], 0
