"""What the process logs, in the words of Triton's logging extension.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_logging.md
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.service import logging

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_SWITCHES = {"log_info": "info", "log_warning": "warning", "log_error": "error"}
# Both are true of every line: it has its time in ISO 8601.
_FORMATS = ("default", "ISO8601")


class LogSettings:
    """Reads and changes what is logged, for the whole process."""

    def __init__(self, directory: Path | None = None, *, suffix: str = "") -> None:
        """Log as the process was started.

        Args:
            directory: where log files may be; None: there are none.
            suffix: of the file, where several processes log to one directory.
        """
        self._directory = directory
        self._suffix = suffix
        self._changing = threading.Lock()
        self._settings: dict[str, bool | int | str] = {
            "log_file": "",
            **{name: level in logging.levels() for name, level in _SWITCHES.items()},
            "log_verbose_level": int("debug" in logging.levels()),
            "log_format": _FORMATS[0],
        }

    def update(self, settings: Mapping[str, Any]) -> Mapping[str, bool | int | str]:
        """Change settings, and tell all of them.

        Args:
            settings: values by name. `log_file` is a plain name in the directory, or "" for the
                standard error; a `log_verbose_level` above 0 logs every request.

        Raises:
            InvalidArgument: there is no such setting, or it cannot have that value.
            Unsupported: the server logs to no files.
        """
        with self._changing:
            if settings:
                wanted = {**self._settings, **{n: self._checked(n, v) for n, v in settings.items()}}
                if wanted["log_file"] != self._settings["log_file"]:
                    self._switch_file(str(wanted["log_file"]))
                self._settings = wanted
                levels = [level for name, level in _SWITCHES.items() if wanted[name]]
                logging.log_levels([*levels, *(["debug"] if wanted["log_verbose_level"] else [])])
            return dict(self._settings)

    def _checked(self, name: str, value: Any) -> bool | int | str:
        if name in _SWITCHES:
            if not isinstance(value, bool):
                raise _invalid(name, value, "a bool_param")
            return value
        if name == "log_verbose_level":
            if isinstance(value, bool) or not isinstance(value, int):
                raise _invalid(name, value, "a uint32_param")
            return value
        if name == "log_format":
            if value not in _FORMATS:
                raise _invalid(name, value, " or ".join(_FORMATS))
            return str(value)
        if name == "log_file":
            return self._checked_file(value)
        raise InvalidArgument(
            f"log setting {name!r:.200}: unknown; allowed: {', '.join(self._settings)}",
            field=f"settings.{name:.200}",
        )

    def _checked_file(self, value: Any) -> str:
        if value == "":
            return ""
        if self._directory is None:
            raise Unsupported(
                "log setting 'log_file': this server logs to no files; start it with "
                "--log-directory (INFERENCE_LOG_DIRECTORY)"
            )
        # Who gives the whole path of a file in the directory means that file.
        plain = value.removeprefix(f"{self._directory}/") if isinstance(value, str) else ""
        if not _NAME.fullmatch(plain):
            raise _invalid("log_file", value, f"a plain file name, in {self._directory}")
        return plain

    def _switch_file(self, name: str) -> None:
        if not name or self._directory is None:
            logging.log_to(None)
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            logging.log_to(self._directory / f"{name}{self._suffix}")
        except OSError as error:
            raise _invalid("log_file", name, f"a file that can be opened ({error})") from error


def _invalid(name: str, value: Any, allowed: str) -> InvalidArgument:
    return InvalidArgument(
        f"log setting {name!r}: {value!r:.200}; allowed: {allowed}", field=f"settings.{name}"
    )
