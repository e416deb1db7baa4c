"""Virtual environments of their own, kept under `.tools/` until the dependencies change."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = ("pyproject.toml", "constraints.txt")


@dataclass(frozen=True)
class Environment:
    """A virtual environment and nothing of the one the tests run in."""

    path: Path

    @property
    def python(self) -> Path:
        return self.path / "bin/python"

    def run(self, *command: str | Path, cwd: Path = ROOT) -> str:
        """Standard output of `bin/COMMAND`, which must succeed."""
        program, *arguments = command
        ran = subprocess.run(
            [self.path / "bin" / program, *arguments],
            cwd=cwd,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert ran.returncode == 0, f"{command}: {ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"
        return ran.stdout

    def pip(self, *arguments: str | Path) -> None:
        """The tests' own pip at work here: an environment without one is made in a second."""
        pip("--python", self.python, *arguments)

    @property
    def variables(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return ours | {"VIRTUAL_ENV": str(self.path)}

    def has(self, module: str) -> bool:
        probe = f"import importlib.util as u; print(u.find_spec({module!r}) is not None)"
        return self.run("python", "-c", probe, cwd=self.path).strip() == "True"


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel is built from, in a folder without leftovers of other builds."""
    root = tmp_path_factory.mktemp("sources")
    for name in (*LOCK, "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    for room in ("wintergarden", "services", "trainer", "gateway"):
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture(scope="session")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    target = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", target, sources)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def environment(wheel: Path) -> Callable[..., Environment]:
    """Makes `environment("inference,cpu")`: what that extra needs, without wintergarden itself."""

    def make(extras: str, *more: str, locked: bool = True) -> Environment:
        wanted_for = hashlib.sha256(repr((extras, more, locked, sys.version)).encode())
        path = ROOT / ".tools" / "environments" / wanted_for.hexdigest()[:12]
        made = Environment(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        contents = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in LOCK))
        complete = path / f"complete-{contents.hexdigest()[:12]}"
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not complete.exists():
                venv = ("venv", "--clear", "--without-pip")
                subprocess.run([sys.executable, "-m", *venv, path], check=True)
                wanted = f"{wheel}[{extras}]" if extras else str(wheel)
                lock_options = ("--constraint", ROOT / "constraints.txt") if locked else ()
                # Compiled are the modules that a test imports, when it does.
                made.pip("install", "--no-compile", *lock_options, wanted, *more)
                made.pip("uninstall", "--yes", "wintergarden")
                complete.touch()
        return made

    return make


def pip(*arguments: str | Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert ran.returncode == 0, f"pip {arguments}: {ran.stderr[-4000:]}"
