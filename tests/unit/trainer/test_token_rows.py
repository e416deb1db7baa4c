"""Weights of texts go with their tokens, whatever ids these have in another data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainer.data.dataset import Dataset, DatasetInfo, Split
from trainer.export.publish import publish
from trainer.export.release import make_release
from trainer.recipes.supervised import train
from trainer.recipes.token_rows import by_token
from trainer.recipes.trained import Trained, prepare
from trainer.recipes.transfer import Source
from trainer.recipes.watcher import Watcher
from trainer.sources import find_source
from trainer.state_file import pack, unpack
from trainer.zoo.registry import find
from wintergarden.store import open_store
from wintergarden.store.datasets import open_datasets
from wintergarden.text import Vocabulary

FRUIT, TREES = "pear apple fig plum cherry", "oak fig elm apple ash"
SMALL: dict[str, Any] = {"embed_dim": 4, "hidden_size": 5, "epochs": 1, "learning_rate": 1e-9}


def texts(words: str, task: Any = "text-classification") -> Dataset:
    """As many texts as words, of which the first is the most frequent; two classes."""
    said = words.split()
    inputs = np.array([" ".join(said[: n + 1]) for n in range(len(said))] * 2, dtype=object)
    labels = np.arange(len(inputs)) % 2 if task == "text-classification" else inputs
    part = Split(inputs, labels)
    info = DatasetInfo(
        name="texts", summary="texts", source="here", task=task, input_name="text", input_shape=(),
        units="text", value_range=None, class_labels=("a", "b"),
        split_sizes=dict.fromkeys(("train", "validation", "test"), len(inputs)),
    )  # fmt: skip
    return Dataset(info, part, part, part)


def trained(dataset: Dataset, source: Source | None = None, **values: Any) -> Trained:
    architecture = find("lstm")
    chosen = {"tokens": "word", **SMALL, **values}
    log: list[str] = []
    done = train(
        architecture,
        architecture.hyperparameters.parse(chosen),
        dataset,
        1,
        Watcher(on_log=lambda _, text: log.append(text)),
        source=source,
    )
    done.environment["log"] = "\n".join(log)
    return done


def source_of(done: Trained) -> Source:
    info = done.dataset.info
    return Source("s", "s:1", done.network.state_dict(), info.vocabulary, info.target_vocabulary)


def row(done: Trained, module: str, token: str) -> torch.Tensor:
    info = done.dataset.info
    vocabulary = info.vocabulary if module == "embedding" else info.target_vocabulary
    assert vocabulary is not None
    return done.network.state_dict()[f"{module}.weight"][vocabulary.encode([token])[0, 0]]


def test_a_token_keeps_its_row_and_another_does_not_get_it(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first = trained(texts(FRUIT))
    publish(store, "fruit", make_release(first, "fruit"))
    source = find_source("fruit", store, open_datasets(str(tmp_path)))
    fresh, got = trained(texts(TREES)), trained(texts(TREES), source, init_from="fruit")
    for token, origin in (("fig", first), ("apple", first), ("oak", fresh), ("elm", fresh)):
        assert torch.allclose(
            row(got, "embedding", token), row(origin, "embedding", token), atol=1e-6
        ), token
    assert "; of embedding.weight 4 of 7 rows, by their tokens" in got.environment["log"]
    assert got.parent.startswith("fruit:1 ")


def test_neither_need_there_be_as_many_tokens() -> None:
    first, more = trained(texts(FRUIT)), texts(f"{TREES} yew {FRUIT}")
    got = trained(more, source_of(first), init_from="s")
    for token in FRUIT.split():
        assert torch.allclose(
            row(got, "embedding", token), row(first, "embedding", token), atol=1e-6
        )
    same = trained(texts(FRUIT), source_of(first), init_from="s")
    assert "by their tokens" not in same.environment["log"]


def test_what_is_written_has_rows_of_its_own() -> None:
    first = trained(texts(FRUIT, "sequence-to-sequence"), target_tokens="word")
    got = trained(
        texts(TREES, "sequence-to-sequence"), source_of(first),
        init_from="s", replace=["embedding"], target_tokens="word",
    )  # fmt: skip
    for module in ("target_embedding", "read_out"):
        for token in ("fig", "apple"):
            assert torch.allclose(row(got, module, token), row(first, module, token), atol=1e-6)
    assert not torch.allclose(row(got, "embedding", "fig"), row(first, "embedding", "fig"))


def test_marks_and_what_is_unknown_are_rows_too() -> None:
    old = Source("s", "s", {}, Vocabulary("word", ("a", "b"), 9))
    new = Source("t", "t", {}, Vocabulary("word", ("b", "c"), 9, is_marked=True))
    given = {"embedding.weight": torch.arange(4.0)[:, None]}
    own = {"embedding.weight": torch.full((6, 1), -1.0), "read_out.weight": torch.zeros(2, 1)}
    ((name, moved, rows),) = by_token(given, old, own, new)
    assert (name, rows) == ("embedding.weight", 3)
    # padding, unknown, begin, end, b, c
    assert moved[:, 0].tolist() == [0.0, 1.0, -1.0, -1.0, 3.0, -1.0]


@pytest.mark.parametrize("task", ["text-classification", "sequence-to-sequence"])
def test_other_ranks_are_told_the_vocabularies(task: str) -> None:
    hyperparameters = find("lstm").hyperparameters.parse(SMALL)
    source = source_of(prepare(find("lstm"), hyperparameters, texts(FRUIT, task), 0))
    heard = Source.from_state(unpack(pack(source.state_dict()))[1])
    assert (heard.vocabulary, heard.target_vocabulary) == (
        source.vocabulary, source.target_vocabulary,
    )  # fmt: skip
    assert heard.weights.keys() == source.weights.keys()
