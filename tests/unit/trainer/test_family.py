"""Networks that write are published as families: proved graphs, siblings first, whole or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainer.data.dataset import Dataset, DatasetInfo, Split
from trainer.decoding import reference
from trainer.decoding.network import Marks, Writer
from trainer.decoding.reference import Sampling
from trainer.export.family import make_releases
from trainer.export.parity import TOLERANCE
from trainer.export.publish import publish_family
from trainer.export.release import Release
from trainer.export.sequence_parity import prompt_feeds, run
from trainer.recipes.trained import Trained, prepare
from trainer.zoo.registry import find
from trainer.zoo.vocabularies import source_vocabulary, target_vocabulary
from wintergarden.errors import Cancelled
from wintergarden.runtime import RuntimeOptions, Session, open_session
from wintergarden.store import open_store
from wintergarden.store.names import GOLDEN, MODEL

TEXTS = DatasetInfo(
    name="reversed", summary="words and the same backwards", source="here",
    task="sequence-to-sequence", input_name="text", input_shape=(), units="text", value_range=None,
    class_labels=(), split_sizes={"train": 24, "validation": 8, "test": 8},
)  # fmt: skip
PICTURES = replace(
    TEXTS, name="bars", task="captioning", input_name="image", input_shape=(1, 16, 16),
    value_range=(0.0, 1.0),
)  # fmt: skip
LANGUAGE = replace(TEXTS, name="words", task="language-modelling")

SMALL: dict[str, tuple[DatasetInfo, dict[str, Any]]] = {
    "bahdanau": (TEXTS, {"embed_dim": 6, "target_embed_dim": 5, "hidden_size": 8}),
    "transformer": (
        TEXTS,
        {"embed_dim": 8, "num_heads": 2, "layers": 2, "feedforward_dim": 9, "beam_width": 3},
    ),
    "show_attend_tell": (PICTURES, {"maps": 8, "embed_dim": 6, "hidden_size": 7}),
    "char_transformer": (
        LANGUAGE,
        {
            "embed_dim": 8, "num_heads": 2, "layers": 1, "feedforward_dim": 9, "context": 6,
            "piece_tokens": 8,
        },
    ),
}  # fmt: skip


def dataset(info: DatasetInfo) -> Dataset:
    generator = np.random.default_rng(0)

    def part(size: int) -> Split:
        words = ["".join(generator.choice(list("abcdé"), 1 + i % 5)) for i in range(size)]
        texts = np.array(words, dtype=object)
        if info.task == "language-modelling":
            return Split(np.array([" ".join(words)] * 4, dtype=object), np.zeros(4, np.int64))
        if info.task == "captioning":
            pictures = generator.random((size, 1, 16, 16)).astype(np.float32)
            return Split(pictures, texts)
        return Split(texts, np.array([word[::-1] for word in words], dtype=object))

    return Dataset(info, *(part(size) for size in info.split_sizes.values()))


@cache
def untrained(name: str) -> Trained:
    info, values = SMALL[name]
    architecture = find(name)
    hyperparameters = architecture.hyperparameters.parse({"dropout": 0.0, **values})
    trained = prepare(architecture, hyperparameters, dataset(info), seed=0)
    trained.network.eval()
    with torch.no_grad():  # so that choices are clear, and texts end now and then
        for tensor in trained.network.parameters():
            tensor.mul_(1.5)
    return trained


@cache
def releases(name: str) -> list[Release]:
    return make_releases(untrained(name), "m", (), pytest.fail)


def session(release: Release) -> Session:
    return open_session(release.files[MODEL], RuntimeOptions(device="cpu"))


# An export takes seconds. These two go the same ways as the others, and are for whoever asks:
# pytest -m bench tests/unit/trainer/test_family.py
ON_DEMAND = ("transformer", "show_attend_tell")
FAMILIES = [
    pytest.param(name, marks=[pytest.mark.bench] if name in ON_DEMAND else []) for name in SMALL
]


def test_a_language_of_one_text_is_published_too() -> None:
    """Of which a test has fewer pieces than there are golden examples."""
    known = untrained("char_transformer")
    test = known.dataset.test
    few = replace(known.dataset, test=Split(test.inputs[:1], test.labels[:1]))
    made = make_releases(replace(known, dataset=few), "m", (), pytest.fail)
    assert [release.suffix for release in made] == [".forced", ".step", ""]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_proved_and_says_what_it_is(name: str) -> None:
    """Making it has held every graph to PyTorch at several batches, lengths and strange inputs."""
    made = releases(name)
    suffixes = [".forced", ".step", ""] if name == "char_transformer" else [".forced", ""]
    assert [release.suffix for release in made] == suffixes
    for release in made:
        fields = release.fields
        assert fields.family == "m"
        assert fields.parity["fp32"]
        assert all(worst <= TOLERANCE for worst in fields.parity["fp32"].values())
        assert GOLDEN in release.files
        opened = session(release)
        for told, spec in ((fields.inputs, opened.inputs), (fields.outputs, opened.outputs)):
            assert [info.name for info in told] == [tensor.name for tensor in spec]
            assert [info.datatype for info in told] == [tensor.datatype for tensor in spec]
            assert [len(info.shape) for info in told] == [len(tensor.shape) for tensor in spec]
    assert (made[-1].fields.target_vocabulary is None) == (name == "char_transformer")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_manifest_says_which_numbers_are_allowed(name: str) -> None:
    info = untrained(name).dataset.info
    written = (source_vocabulary if name == "char_transformer" else target_vocabulary)(info)
    ids = (0.0, float(written.size - 1))
    allowed = dict.fromkeys(("prefix", "prompt", "token", "tokens"), ids)
    allowed["max_tokens"] = (1.0, 65_536.0)
    allowed["image"] = (0.0, 1.0)
    if name != "show_attend_tell":
        allowed["source"] = (0.0, float(source_vocabulary(info).size - 1))
    for release in releases(name):
        told = {given.name: given.value_range for given in release.fields.inputs}
        assert told == {given: allowed.get(given) for given in told}
        assert set(told) & set(allowed)


@pytest.mark.parametrize("name", FAMILIES[:-1])
def test_what_is_told_is_what_was_written(name: str) -> None:
    """The forced graph gives the tokens of the whole one the probability that it told."""
    trained = untrained(name)
    forced, whole = (session(release) for release in releases(name))
    source = trained.dataset.test.inputs[:5]
    key = whole.inputs[0].name
    wrote = run(whole, {key: source})
    tokens, lengths = wrote["tokens"], wrote["lengths"]
    begin = np.full((5, 1), 2)
    prefix = np.concatenate([begin, tokens[:, :-1]], axis=1)
    told = run(forced, {key: source, "prefix": prefix})
    picked = np.take_along_axis(told["log_probabilities"], tokens[..., None], 2)[..., 0]
    there = np.arange(tokens.shape[1]) < lengths[:, None]
    sums = (picked * there).sum(axis=1)
    if name == "transformer":
        sums = sums / ((5 + lengths) / 6) ** 0.6
    np.testing.assert_allclose(sums, wrote["scores"], atol=1e-3)
    np.testing.assert_allclose(told["attention"] * there[..., None], wrote["attention"], atol=1e-3)
    np.testing.assert_allclose(told["attention"].sum(axis=2), 1.0, atol=1e-5)


def test_steps_from_zeros_are_the_told_text() -> None:
    """Also behind the end of the ring: there are twelve places, and six are seen."""
    forced, step, _ = (session(release) for release in releases("char_transformer"))
    tokens = untrained("char_transformer").dataset.test.inputs[:3]
    tokens = np.concatenate([tokens, tokens[:, 1:5]], axis=1)
    told = run(forced, {"tokens": tokens})["log_probabilities"]
    network = untrained("char_transformer").network
    assert isinstance(network, Writer)
    states = {state.name: state.zeros(3).numpy() for state in network.states}
    for place in range(tokens.shape[1]):
        got = run(step, {"token": tokens[:, place : place + 1], **states})
        likely = torch.log_softmax(torch.from_numpy(got["logits"]), dim=1).numpy()
        np.testing.assert_allclose(likely, told[:, place], atol=1e-4)
        states = {name: got[f"next_{name}"] for name in states}
    assert states["place"].tolist() == [[12]] * 3


def test_a_seed_gives_a_text_and_another_seed_another() -> None:
    trained = untrained("char_transformer")
    whole = session(releases("char_transformer")[-1])
    network = trained.network
    assert isinstance(network, Writer)
    prompt = trained.dataset.test.inputs[:2, 1:4]
    texts = []
    for seed in (1, 1, 2):
        sampling = Sampling(20, temperature=1.0, seed=seed)
        texts.append(run(whole, prompt_feeds(prompt, sampling))["tokens"].tolist())
    assert texts[0] == texts[1] != texts[2]
    said = reference.write(network, torch.from_numpy(prompt), Marks(2, 3), sampling)
    assert texts[2] == said.tokens.tolist()


def test_a_family_is_published_siblings_first(tmp_path: Path) -> None:
    store, made = open_store(str(tmp_path)), releases("char_transformer")
    with pytest.raises(Cancelled):
        publish_family(store, "m", made, "job", may_publish=lambda version: False)
    assert store.list_models() == []

    seen: list[Sequence[str]] = []

    def may_publish(version: int) -> bool:
        seen.append(store.list_models())
        return True

    first = publish_family(store, "m", made, "job", may_publish, conditions=["test_loss<=9"])
    again = publish_family(store, "m", made, "job")  # an attempt that did not know
    assert seen == [[]]
    assert first == again
    assert store.list_models() == ["m", "m.forced", "m.step"]
    for name in store.list_models():
        (version,) = store.list_versions(name)
        manifest = store.read_manifest(name, version)
        assert manifest.family == "m"
        assert manifest.lineage.job_id == "job"
        assert (manifest.promotion is not None) == (name == "m")
    network = untrained("char_transformer").network
    assert isinstance(network, Writer)
    states = store.read_manifest("m.step", 2).states
    assert [state.input for state in states] == [state.name for state in network.states]
    store.forget_publication("job")
    assert not [path for path in (tmp_path / "publications").rglob("*") if path.is_file()]


def test_an_attempt_that_ended_between_siblings_is_completed(tmp_path: Path) -> None:
    store, made = open_store(str(tmp_path)), releases("char_transformer")
    half = replace(made[0])
    with store.publish("m.forced") as draft:  # all that the first attempt lived to publish
        for name, content in half.files.items():
            draft.write(name, content)
        draft.commit(half.fields, publication="job.forced")
    publish_family(store, "m", made, "job")
    assert {name: store.list_versions(name) for name in store.list_models()} == {
        "m": [1], "m.forced": [1], "m.step": [1],
    }  # fmt: skip
