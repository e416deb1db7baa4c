"""Python's standard library: a language to learn, and a text whose structure is known."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from trainer.data.dataset import Array, Dataset, DatasetInfo, Split
from trainer.data.python_code import Structure, structure
from wintergarden.errors import FailedPrecondition

FILES = {"train": 200, "validation": 20, "test": 40}
WINDOW = 256
"""Characters, at most, of a text to be tagged; it begins where a statement does."""
WINDOWS = {"train": 6_000, "validation": 500, "test": 1_000}
TAGS = ("code", "bracket", "string", "comment")

_SOURCE = "the standard library of the Python that the trainer runs on; PSF licence"
PYTHON_SOURCE = DatasetInfo(
    name="python-source",
    summary="260 files of Python's standard library, parts by file; other releases of Python have "
    "others",
    source=_SOURCE,
    task="language-modelling",
    input_name="text",
    input_shape=(),
    units="text in UTF-8",
    value_range=None,
    class_labels=(),
    split_sizes=FILES,
    is_verbatim=True,
)
PYTHON_TAGS = replace(
    PYTHON_SOURCE,
    name="python-tags",
    summary="7 500 pieces of source code and what each character is part of: a bracket, a string, "
    "a comment or neither; parts by file",
    task="tagging",
    class_labels=TAGS,
    split_sizes=WINDOWS,
)

_SIZES = range(2_000, 60_001)  # bytes; smaller ones say little, larger ones are tables
_LEFT_OUT = {
    "__pycache__", "distutils", "encodings", "ensurepip", "idlelib", "lib-dynload", "lib2to3",
    "pydoc_data", "site-packages", "test", "tests", "turtledemo",
}  # fmt: skip


def load_python_source() -> Dataset:
    """Whole files."""

    def part(name: str) -> Split:
        texts = files(name)
        return Split(np.array(texts, dtype=object), np.zeros(len(texts), np.int64))

    return Dataset(PYTHON_SOURCE, **{name: part(name) for name in FILES})


def load_python_tags() -> Dataset:
    """Pieces of files, and the tag of each of their characters.

    Raises:
        FailedPrecondition: there are too few.
    """
    seen: set[str] = set()
    parts = {}
    # What files of two parts have alike, such as licences, is the first's.
    for name, count in WINDOWS.items():
        texts, labels = [], []
        for text, tagged in _tagged(name):
            if text not in seen:
                texts.append(text)
                labels.append(tagged)
        seen.update(texts)
        parts[name] = _chosen(texts, labels, count, name)
    return Dataset(PYTHON_TAGS, **parts)


@cache
def files(part: str) -> tuple[str, ...]:
    """The texts of a part's files, by chance but always the same for one release of Python.

    Raises:
        FailedPrecondition: there are too few.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = {str(path.relative_to(root)): path for path in root.rglob("*.py")}
    kept = [
        name
        for name, path in paths.items()
        if not _LEFT_OUT & set(Path(name).parts) and path.stat().st_size in _SIZES
    ]
    # By a hash of the name, so that a file that is new moves no other to another part.
    ordered = sorted(kept, key=lambda name: hashlib.sha256(name.encode()).digest())
    needed = sum(FILES.values())
    if len(ordered) < needed:
        raise FailedPrecondition(
            f"data sets of source code need {needed} files of Python's standard library in "
            f"{root}, and there are {len(ordered)}"
        )
    # The held-out parts first: they stay the same when there are more files.
    test, validation = FILES["test"], FILES["validation"]
    cut = {
        "test": ordered[:test],
        "validation": ordered[test : test + validation],
        "train": ordered[test + validation : needed],
    }
    return tuple(paths[n].read_text(encoding="utf-8", errors="replace") for n in cut[part])


def tags(found: Structure) -> Array:
    """(L,) int64, places in `TAGS`; a bracket within a string is a string's."""
    tagged = np.where(found.depth > 0, TAGS.index("bracket"), TAGS.index("code"))
    tagged[found.in_string] = TAGS.index("string")
    tagged[found.in_comment] = TAGS.index("comment")
    return tagged.astype(np.int64)


def windows(text: str, found: Structure) -> list[slice]:
    """Pieces of a text: as many whole statements as fit; of a longer one its beginning."""
    starts = [*np.flatnonzero(found.starts).tolist(), len(text)]
    pieces: list[slice] = []
    for begin, end in pairwise(starts):
        if pieces and end - pieces[-1].start <= WINDOW and begin == pieces[-1].stop:
            pieces[-1] = slice(pieces[-1].start, end)
        else:
            pieces.append(slice(begin, min(end, begin + WINDOW)))
    return pieces


def _tagged(part: str) -> Iterator[tuple[str, Array]]:
    for text in files(part):
        if (found := structure(text)) is not None:
            tagged = tags(found)
            for piece in windows(text, found):
                yield text[piece], tagged[piece]


def _chosen(texts: Sequence[str], labels: Sequence[Array], count: int, part: str) -> Split:
    """So many of them, by chance but always the same."""
    if len(texts) < count:
        raise FailedPrecondition(
            f"data set {PYTHON_TAGS.name!r} needs {count} pieces in its part {part}, and there "
            f"are {len(texts)}"
        )
    chosen = np.random.default_rng(0).permutation(len(texts))[:count]
    of_chosen = np.empty(count, dtype=object)
    of_chosen[:] = [labels[i] for i in chosen]
    return Split(np.array([texts[i] for i in chosen], dtype=object), of_chosen)
