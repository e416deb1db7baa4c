from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from trainer.data.dataset import Dataset, Split
from trainer.data.functions import FUNCTIONS, NOISE
from trainer.data.registry import datasets, load
from wintergarden.errors import NotFound

# test_sequence_data and test_attention_networks have them
SEQUENCES = ("digit-captions", "dates", "python-source", "python-tags")

NAMES = sorted(name for name in datasets() if name not in SEQUENCES)


@cache
def loaded(name: str) -> Dataset:
    return load(name)


def parts_of(dataset: Dataset) -> dict[str, Split]:
    return {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}


@pytest.mark.parametrize("name", NAMES)
def test_a_set_is_what_it_says(name: str) -> None:
    dataset = loaded(name)
    info = dataset.info
    parts = parts_of(dataset)
    assert {part: len(split) for part, split in parts.items()} == info.split_sizes
    for split in parts.values():
        assert split.inputs.shape[1:] == info.input_shape
        if info.task == "text-classification":
            assert all(isinstance(text, str) and text for text in split.inputs)
        else:
            assert split.inputs.dtype == np.float32
            assert len(info.feature_names) in (0, split.inputs.shape[-1])
        if info.value_range is not None:
            assert split.inputs.min() >= info.value_range[0]
            assert split.inputs.max() <= info.value_range[1]
        if info.task == "regression":
            assert split.labels.dtype == np.float32
            assert split.labels.shape == (len(split), len(info.class_labels))
        else:
            assert split.labels.dtype == np.int64
            assert set(np.unique(split.labels)) == set(range(len(info.class_labels)))
        if info.task == "segmentation":
            assert split.labels.shape == (len(split), *info.input_shape[1:])


def content(example: object) -> bytes:
    return example.encode() if isinstance(example, str) else example.tobytes()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_parts_share_no_example(name: str) -> None:
    dataset = loaded(name)
    held_out = {content(x) for x in dataset.test.inputs}
    seen = [content(x) for x in (*dataset.train.inputs, *dataset.validation.inputs)]
    assert not held_out.intersection(seen)


@pytest.mark.parametrize(
    "name", [name for name, info in datasets().items() if info.task.endswith("classification")]
)
def test_parts_have_the_classes_proportions(name: str) -> None:
    splits = parts_of(loaded(name)).values()
    whole = np.bincount(np.concatenate([s.labels for s in splits]))
    for split in splits:
        counts = np.bincount(split.labels, minlength=len(whole))
        expected = whole / whole.sum() * len(split)
        assert np.abs(counts - expected).max() <= 1.5


DIGESTS = {
    "breast-cancer": "c6d25e06accd2a085d7e7e21b023c6539b4bcbdb6b7556bce964b3d31af19017",
    "diabetes": "bf352eeae6253f580131262c9df1c605431267848587ec88883591745e7dbbec",
    "digit-masks": "9656e18264af66e66d6e0b8a52bdec255edef2a9736f267baed738ac5487d021",
    "digit-scenes": "7736a224627ad8dfe160edf7a6bccfb05ece50253bcad1c13b34045bc47ad0e0",
    "digits": "532b2487a5899ed8d0eed34e99edb8fffaf1776a2ea39383aedaacbcf265be30",
    "function-abs": "bd466f94f5f14befd4828700a2130a5bcd24af95578bc8b9d78b8ff87256f2c1",
    "function-sin": "37e28db255b643c4d8c907960f8ac5265bf084d377d2d4997f2428edeb99d0b7",
    "function-step": "637ba4efc22f73dc4a47e06c23997814b778bb960645bed89ed63facb0752701",
    "languages": "dddf8f6052db935d8b300d0371e92b2e830b76d383138e64320d9f7da18d8a7a",
    "mnist-5k": "bbabf309b51c16a96234dc586beadbf0c09ebe8d07e8e83526fb648f6333cd43",
    "wine": "5ffb742e69b552aa39cf8cc8892753b4bfcbb99744567eb1db9ecf90fe34ac21",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_split_never_changes(name: str) -> None:
    # Held out for ever: a change here would let models be tested on what they were trained on.
    assert loaded(name).digest == DIGESTS[name]


def test_a_function_is_exact_where_it_is_tested() -> None:
    for name, (_, compute) in FUNCTIONS.items():
        test = loaded(f"function-{name}").test
        np.testing.assert_allclose(test.labels, compute(test.inputs.astype(np.float64)), atol=1e-6)
        noise = loaded(f"function-{name}").train
        spread = (noise.labels - compute(noise.inputs.astype(np.float64))).std()
        assert spread == pytest.approx(NOISE, rel=0.15)


def test_the_ink_of_a_scene_can_be_seen_and_its_mask_is_where_it_is() -> None:
    masks, named = loaded("digit-masks").test, loaded("digit-scenes").test
    np.testing.assert_array_equal(masks.inputs, named.inputs)
    np.testing.assert_array_equal(masks.labels, np.minimum(named.labels, 1))
    shares = (masks.labels > 0).mean(axis=(1, 2))
    assert shares.min() > 0.005
    assert shares.max() < 0.25


def test_an_unknown_set_names_those_there_are() -> None:
    with pytest.raises(NotFound, match="'cifar'; there are breast-cancer, dates, diabetes, "):
        load("cifar")
