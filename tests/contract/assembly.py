"""An environment assembled from what is installed here already: nothing is fetched or unpacked.

pip would give the same files; unpacking them again for each room takes it minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SITE_PACKAGES = Path(sysconfig.get_path("purelib"))


def assemble(path: Path, wheel: Path, extras: Iterable[str]) -> None:
    """Make a virtual environment of what a wheel needs with these extras, less the wheel itself."""
    shutil.rmtree(path, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    target = path / SITE_PACKAGES.relative_to(sys.prefix)
    for needed in closure(_of_wheel(wheel), extras):
        for file in needed.files or ():
            source = Path(str(needed.locate_file(file)))
            if SITE_PACKAGES in source.parents and source.exists():
                _link(source, target / source.relative_to(SITE_PACKAGES))
                for compiled in source.parent.glob(f"__pycache__/{source.stem}.*.pyc"):
                    _link(compiled, target / compiled.relative_to(SITE_PACKAGES))


def closure(root: Distribution, extras: Iterable[str]) -> list[Distribution]:
    """What a distribution needs with these extras, and what that needs, as installed here.

    Raises:
        PackageNotFoundError: something of it is not installed.
        AssertionError: it is, in a version that will not do.
    """
    found: dict[str, Distribution] = {}
    waiting = [(root, extra) for extra in ("", *extras)]
    seen = set()
    while waiting:
        wanting, extra = waiting.pop()
        for text in wanting.requires or ():
            wanted = Requirement(text)
            if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(wanted.name)
            is_root = name == canonicalize_name(root.name)
            there = root if is_root else found.setdefault(name, distribution(name))
            assert is_root or wanted.specifier.contains(there.version, prereleases=True), text
            new = {(name, more) for more in ("", *wanted.extras)} - seen
            seen |= new
            waiting += [(there, more) for _, more in new]
    return list(found.values())


def _of_wheel(wheel: Path) -> Distribution:
    (metadata,) = (
        folder for folder in zipfile.Path(wheel).iterdir() if folder.name.endswith(".dist-info")
    )
    return PathDistribution(metadata)  # type: ignore[arg-type]


def _link(source: Path, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
