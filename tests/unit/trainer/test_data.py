from __future__ import annotations

import numpy as np
import pytest

from trainer.data.registry import datasets, load
from wintergarden.errors import NotFound

NAMES = sorted(datasets())


@pytest.mark.parametrize("name", NAMES)
def test_a_set_is_what_it_says(name: str) -> None:
    dataset = load(name)
    info = dataset.info
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    assert {part: len(split) for part, split in parts.items()} == info.split_sizes
    for split in parts.values():
        assert split.inputs.shape[1:] == info.input_shape
        assert split.inputs.dtype == np.float32
        assert split.labels.dtype == np.int64
        assert set(split.labels) == set(range(len(info.class_labels)))
        assert len(info.feature_names) in (0, split.inputs.shape[-1])
        if info.value_range is not None:
            assert split.inputs.min() >= info.value_range[0]
            assert split.inputs.max() <= info.value_range[1]


@pytest.mark.parametrize("name", NAMES)
def test_parts_share_no_example(name: str) -> None:
    dataset = load(name)
    held_out = {x.tobytes() for x in dataset.test.inputs}
    seen = [x.tobytes() for x in (*dataset.train.inputs, *dataset.validation.inputs)]
    assert not held_out.intersection(seen)


@pytest.mark.parametrize("name", NAMES)
def test_parts_have_the_classes_proportions(name: str) -> None:
    dataset = load(name)
    splits = (dataset.train, dataset.validation, dataset.test)
    whole = np.bincount(np.concatenate([s.labels for s in splits]))
    for split in splits:
        counts = np.bincount(split.labels, minlength=len(whole))
        expected = whole / whole.sum() * len(split)
        assert np.abs(counts - expected).max() <= 1.5


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("breast-cancer", "c6d25e06accd2a085d7e7e21b023c6539b4bcbdb6b7556bce964b3d31af19017"),
        ("digits", "532b2487a5899ed8d0eed34e99edb8fffaf1776a2ea39383aedaacbcf265be30"),
        ("mnist-5k", "bbabf309b51c16a96234dc586beadbf0c09ebe8d07e8e83526fb648f6333cd43"),
        ("wine", "5ffb742e69b552aa39cf8cc8892753b4bfcbb99744567eb1db9ecf90fe34ac21"),
    ],
)
def test_the_split_never_changes(name: str, digest: str) -> None:
    # Held out for ever: a change here would let models be tested on what they were trained on.
    assert load(name).digest == digest


def test_an_unknown_set_names_those_there_are() -> None:
    with pytest.raises(NotFound, match="'cifar'; there are breast-cancer, digits, mnist-5k, wine"):
        load("cifar")
