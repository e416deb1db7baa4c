"""supervisord, configured for our services."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from wintergarden.cli.local import leash
from wintergarden.cli.local.home import Home
from wintergarden.cli.local.services import Service
from wintergarden.errors import InvalidArgument

# By path, and -P: it needs nothing of ours, and nothing beside it may pass for a module.
_LEASH = (sys.executable, "-P", leash.__file__)
_EXITED = re.compile(r" exited: (\S+) \((.*)\)")


def configuration(services: Sequence[Service], home: Home, tree: Path) -> str:
    """supervisord.conf, for one that runs in `home`: https://supervisord.org/configuration.html.

    Later services have higher priority numbers: they start later and are stopped earlier, one
    after the other. A process that dies within a second of its start is started again after 1, 2,
    3 … seconds, for ever.
    """
    sections = [
        _section(
            "supervisord",
            {
                "nodaemon": "true",
                "logfile": home.log_of("supervisor").relative_to(home.path),
                "logfile_maxbytes": "2MB",
                "logfile_backups": 1,
                "pidfile": (home.run / "supervisor.pid").relative_to(home.path),
                "silent": "true",  # the log file is enough
                "minfds": 256,
                **({"user": "root"} if os.getuid() == 0 else {}),  # else it warns of being root
            },
        )
    ]
    for priority, service in enumerate(services, start=1):
        command = [*_LEASH, "--lock", str(home.lock_of(service.name))]
        command += ["--nice", str(service.nice), "--", *service.command]
        sections.append(
            _section(
                f"program:{service.name}",
                {
                    "command": shlex.join(command),
                    "directory": tree,
                    "priority": priority,
                    "autorestart": "true",
                    "startsecs": 1,
                    "startretries": 1_000_000,
                    "stopsignal": "TERM",
                    "stopwaitsecs": service.stop_s,
                    "killasgroup": "true",
                    "redirect_stderr": "true",
                    # supervisor 4.3 expands % in this one twice: no directory, no %.
                    "stdout_logfile": home.log_of(service.name).relative_to(home.path),
                    "stdout_logfile_maxbytes": "5MB",
                    "stdout_logfile_backups": 2,
                },
            )
        )
    return "\n".join(sections)


def _section(name: str, options: Mapping[str, object]) -> str:
    for key, value in options.items():
        if re.search(r"\s;|\n", str(value)):
            raise InvalidArgument(f"{key} {value}: no ' ;' or line break may stand in a path here")
    lines = [f"{key} = {str(value).replace('%', '%%')}" for key, value in options.items()]
    return "\n".join([f"[{name}]", *lines, ""])


class Supervisor:
    """A running supervisord. It ends, and all with it, when the process that made it does."""

    def __init__(
        self,
        services: Sequence[Service],
        home: Home,
        tree: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._log = home.log_of("supervisor")
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        self._stop_s = sum(service.stop_s for service in services)
        path = home.run / "supervisord.conf"
        path.write_text(configuration(services, home, tree))
        command = [*_LEASH, "--lock", str(home.lock_of("supervisor")), "--leads", "--"]
        command += [sys.executable, "-m", "supervisor.supervisord", "--configuration", str(path)]
        self._complaints = home.logs / "supervisord.err"
        with self._complaints.open("w") as complaints:
            self._process = subprocess.Popen(
                command,
                cwd=home.path,
                env={**os.environ, **environment, leash.PARENT_VARIABLE: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def complaints(self) -> str:
        """What supervisord could not even log."""
        return self._complaints.read_text().strip()

    def exits(self) -> Counter[str]:
        """How often each service has exited since the start, as supervisord's log tells."""
        if not self._log.exists():
            return Counter()
        with self._log.open(errors="replace") as file:
            if self._log.stat().st_size >= self._log_start:
                file.seek(self._log_start)
            return Counter(match.group(1) for line in file if (match := _EXITED.search(line)))

    def stop(self) -> None:
        """Stop the services in order, the last started first, and wait for it."""
        if not self.has_ended:
            self._process.terminate()
        try:
            self._process.wait(self._stop_s + 10)
        except subprocess.TimeoutExpired:
            self._process.kill()  # and the leashes end the rest
            self._process.wait()
