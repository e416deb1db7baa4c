"""Pairs of texts, and the documents of a language, from the file to the data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer.data.dataset import DatasetInfo
from trainer.data.prepared import read_prepared, write_prepared
from trainer.preparation import sequences
from trainer.preparation.examples import TEST, TRAIN, VALIDATION
from trainer.preparation.prepare import Prepared, describe
from wintergarden.errors import InvalidArgument
from wintergarden.store.manifest import FileInfo
from wintergarden.store.preparation import make_options

Reading = Callable[..., Any]
PAIRS = "text\tlabel\n" + "".join(f"the {n}\tdie {n}\n" for n in range(20))
WRITING = {"task": "sequence-to-sequence"}
SPEAKING = {"task": "language-modelling"}


def refusal(reading: Reading, content: bytes | str, **options: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        reading(content, "text", **options)
    return caught.value.message


def test_pairs(reading: Reading) -> None:
    found = reading(PAIRS, "text", **WRITING)
    assert found.task == "sequence-to-sequence"
    assert found.inputs[3] == "the 3"
    assert found.labels[3] == "die 3"
    assert found.class_labels == ()
    assert found.details["target_characters"] == {"least": 5, "most": 6, "mean": 5.5}
    swapped = reading(PAIRS, "text", text="label", label="text", **WRITING)
    assert swapped.inputs[3] == "die 3"
    assert "no column 'french'" in refusal(reading, PAIRS, label="french", **WRITING)
    message = refusal(reading, PAIRS + "x\t \n", **WRITING)
    assert message.startswith("example 21 of column 'label' is an empty text")


def test_documents_of_an_archive(reading: Reading, archive: Any) -> None:
    found = reading(archive({"b.TXT": b"two\n\n  lines", "a/c.txt": b"one", "x.md": b""}), "text",
                    **SPEAKING)  # fmt: skip
    assert found.task == "language-modelling"
    assert found.inputs.tolist() == ["one", "two\n\n  lines"]
    assert found.warnings == ["1 files do not end in .txt: left out ('x.md' …)"]
    assert "no text files" in refusal(reading, archive({"x.md": b"a"}), **SPEAKING)
    latin = archive({"a.txt": "schön".encode("latin-1")})
    assert refusal(reading, latin, **SPEAKING).startswith("a.txt is not in UTF-8: byte 3")


def test_one_text_is_cut_at_ends_of_lines(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"line {n}\n" for n in range(1000)) + "the last"
    pieces = reading(text, "text", **SPEAKING).inputs.tolist()
    assert "".join(pieces) == text
    assert 90 <= len(pieces) <= 101
    assert all(piece.endswith("\n") for piece in pieces[:-1])
    monkeypatch.setattr(sequences, "MAX_DOCUMENT_BYTES", 5)
    assert "at most 5 are allowed in one file" in refusal(reading, "too long", **SPEAKING)


@pytest.mark.parametrize(("content", "options"), [(PAIRS, WRITING), ("a line\n" * 300, SPEAKING)])
def test_they_are_what_is_trained_on(
    content: str, options: Any, preparing: Callable[..., Prepared], tmp_path: Path
) -> None:
    prepared = preparing(content, "text", **options)
    examples = prepared.examples
    wanted = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    rows = {part: prepared.parts == number for part, number in wanted.items()}
    path = tmp_path / "prepared.npz"
    write_prepared(path, {p: (prepared.inputs[at], examples.labels[at]) for p, at in rows.items()})
    file = FileInfo(sha256="0" * 64, bytes=1)
    manifest = describe(prepared, {"prepared.npz": file}, file, "text", make_options(options))
    assert manifest.class_labels == ()
    assert manifest.report["classes"] == []
    info = DatasetInfo(
        name="own", summary=manifest.summary, source=manifest.source, task=manifest.task,
        input_name=manifest.input_name, input_shape=manifest.input_shape, units=manifest.units,
        value_range=None, class_labels=(), split_sizes=dict(manifest.split_sizes),
    )  # fmt: skip
    dataset = read_prepared(path, info)
    for part, at in rows.items():
        split = getattr(dataset, part)
        assert split.inputs.tolist() == prepared.inputs[at].tolist()
        assert split.labels.tolist() == examples.labels[at].tolist()


def test_equal_sources_with_other_targets_are_told(preparing: Callable[..., Prepared]) -> None:
    report = preparing(PAIRS + "the 1\tder 1\n", "text", **WRITING).report
    assert report["duplicates"]["contradictory"] == 2
    assert any("different classes, values or targets" in warning for warning in report["warnings"])
