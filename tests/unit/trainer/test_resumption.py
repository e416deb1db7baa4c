"""A training that is interrupted anywhere ends as one that never was, bit by bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.dataset import Dataset, Split
from trainer.data.dates import DATES, draw_dates
from trainer.data.registry import load
from trainer.recipes.supervised import train
from trainer.recipes.trained import Trained
from trainer.recipes.transfer import Source
from trainer.recipes.watcher import Checkpointable, Stopped, Watcher
from trainer.state_file import pack, unpack
from trainer.zoo.registry import architectures, find

MLP = {"epochs": 5, "batch_size": 32, "hidden_sizes": [16]}
LOSS_FALLS = {"epochs": 12, "patience": 2, "learning_rate": 0.2, "optimizer": "sgd"}

SMALL = {"epochs": 2, "batch_size": 16, "width": 0.1}
WRITING = {"epochs": 2, "batch_size": 16, "hidden_size": 8, "embed_dim": 8, "dropout": 0.2}
ATTENDING = {
    "epochs": 2, "batch_size": 16, "embed_dim": 8, "num_heads": 2, "layers": 1,
    "feedforward_dim": 16, "dropout": 0.2,
}  # fmt: skip

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lenet5": ("lenet5", "digits", {"epochs": 2, "batch_size": 256, "dropout": 0.3}),
    "one_cycle": ("mlp", "wine", MLP),
    "sgd": ("mlp", "wine", MLP | {"optimizer": "sgd", "dropout": 0.2}),
    "cosine": ("mlp", "wine", MLP | {"schedule": "cosine", "warmup": 0.3}),
    "step": ("mlp", "wine", MLP | {"schedule": "step", "decay_epochs": 2, "warmup": 0.1}),
    "plateau": (
        "mlp",
        "wine",
        MLP | LOSS_FALLS | {"schedule": "plateau", "decay_epochs": 1, "patience": 5},
    ),
    "patience": ("mlp", "wine", MLP | LOSS_FALLS | {"schedule": "constant"}),
    "l1": ("mlp", "wine", MLP | {"l1": 0.02, "l2": 0.0, "label_smoothing": 0.1}),
    "parts": ("mlp", "wine", MLP | {"accumulate": 3, "clip_norm": 0.5, "dropout": 0.2}),
    "bf16": ("mlp", "wine", MLP | {"precision": "bf16"}),
    "average": ("mlp", "wine", MLP | {"ema_decay": 0.9, "dropout": 0.2}),
    "best average": (
        "mlp",
        "wine",
        MLP | LOSS_FALLS | {"schedule": "constant", "ema_decay": 0.6, "class_weights": "balanced"},
    ),
    "values": ("mlp", "function-abs", MLP | {"batch_size": 128}),
    "transfer": (
        "mlp",
        "wine",
        MLP
        | {"hidden_sizes": [16, 8], "init_from": "other", "freeze": ["layers.1", "layers.4"]}
        | {"unfreeze_epochs": 2, "rate_decay": 0.5},
    ),
    "alexnet": ("alexnet", "few digits", SMALL | {"dropout": 0.3}),
    "googlenet": ("googlenet", "few digits", SMALL | {"ema_decay": 0.9}),
    "resnet18": ("resnet18", "few digits", SMALL),
    "vgg11": ("vgg11", "few digits", SMALL),
    "segnet": ("segnet", "few scenes", SMALL | {"stages": 2}),
    "linear": ("linear", "wine", {"epochs": 3}),
    "perceptron": ("perceptron", "wine", {"epochs": 3}),
    "rnn": ("rnn", "few dates", WRITING),
    "lstm": ("lstm", "few documents", WRITING | {"layers": 2}),
    "gru": ("gru", "wine", {"epochs": 2, "hidden_size": 8}),
    "bahdanau": ("bahdanau", "few dates", WRITING),
    "transformer": ("transformer", "few dates", ATTENDING),
    "char_transformer": ("char_transformer", "few documents", ATTENDING | {"context": 16}),
    "show_attend_tell": (
        "show_attend_tell",
        "few captions",
        {"epochs": 2, "batch_size": 16, "maps": 8, "embed_dim": 6, "hidden_size": 7},
    ),
}
QUICK = [case for case, (architecture, _, _) in CASES.items() if architecture == "mlp"]


def examples(name: str) -> Dataset:
    """A data set; a few examples of one for what is slow."""
    if not name.startswith("few "):
        return load(name)
    if name in ("few dates", "few documents", "few captions"):
        return few_texts(name)
    whole = load({"few digits": "digits", "few scenes": "digit-masks"}[name])
    parts = [
        Split(part.inputs[:count], part.labels[:count])
        for part, count in ((whole.train, 48), (whole.validation, 16), (whole.test, 16))
    ]
    return Dataset(whole.info, *parts)


def few_texts(name: str) -> Dataset:
    """Dates of one locale: to be read, to be learnt as a language, or to be said of pictures."""
    task: Any = {"few dates": "sequence-to-sequence", "few documents": "language-modelling"}
    sizes = {"train": 48, "validation": 16, "test": 16}
    info = replace(DATES, name=name, task=task.get(name, "captioning"), split_sizes=sizes)
    parts = []
    for part, count in sizes.items():
        drawn = draw_dates(part, count, ["de"])
        texts = np.array([date.text for date in drawn], dtype=object)
        labels = np.array([date.iso for date in drawn], dtype=object)
        if name == "few documents":
            labels = np.zeros(count, np.int64)
        if name == "few captions":
            texts = np.random.default_rng(count).random((count, 1, 16, 16), np.float32)
            info = replace(info, input_shape=(1, 16, 16))
        parts.append(Split(texts, labels))
    return Dataset(info, *parts)


@dataclass
class Recorder:
    """Takes a checkpoint wherever one can be taken."""

    offered: list[bytes] = field(default_factory=list)

    def __call__(self, training: Checkpointable, is_last: bool) -> None:
        self.offered.append(pack(training.state_dict()))


class Undisturbed:
    """A training of a case to its end, and the checkpoints there were on its way."""

    def __init__(self, case: str) -> None:
        architecture, dataset, values = CASES[case]
        self.architecture = find(architecture)
        self.dataset = examples(dataset)
        self.hyperparameters = self.architecture.hyperparameters.parse(values)
        self.source = None
        if self.hyperparameters.init_from:
            other = self.architecture.hyperparameters.parse(
                {"hidden_sizes": values["hidden_sizes"], "epochs": 1}
            )
            begun = train(self.architecture, other, self.dataset, 8)
            self.source = Source("other", "other:1", begun.network.state_dict())
        recorder = Recorder()
        self.trained = self.run(Watcher(on_checkpoint=recorder))
        self.checkpoints = recorder.offered

    def run(self, watcher: Watcher, checkpoint: bytes | None = None) -> Trained:
        state = None if checkpoint is None else unpack(checkpoint)[1]
        return train(
            self.architecture,
            self.hyperparameters,
            self.dataset,
            3,
            watcher,
            state=state,
            source=self.source,
        )

    def check(self, trained: Trained) -> None:
        expected = self.trained.network.state_dict()
        assert list(trained.network.state_dict()) == list(expected)
        for name, tensor in trained.network.state_dict().items():
            assert torch.equal(tensor, expected[name]), name
        assert without_seconds(trained) == without_seconds(self.trained)
        assert trained.kept_epoch == self.trained.kept_epoch


def without_seconds(trained: Trained) -> list[Mapping[str, float]]:
    return [{k: v for k, v in row.items() if k != "epoch_seconds"} for row in trained.history]


_UNDISTURBED: dict[str, Undisturbed] = {}


def undisturbed(case: str) -> Undisturbed:
    if case not in _UNDISTURBED:
        _UNDISTURBED[case] = Undisturbed(case)
    return _UNDISTURBED[case]


def places(run: Undisturbed) -> list[int]:
    """The first step, one inside an epoch, and around the end of one; the last of all."""
    per_epoch = len(run.checkpoints) // len(run.trained.history)
    return [0, per_epoch // 2, per_epoch - 2, per_epoch - 1, per_epoch, len(run.checkpoints) - 1]


def test_an_architecture_of_every_file_is_here() -> None:
    files = {name: found.network.__module__ for name, found in architectures().items()}
    here = {files[architecture] for architecture, _, _ in CASES.values()}
    # A fixed kernel learns nothing; textcnn waits for texts.
    assert here >= set(files.values()) - {"trainer.zoo.convolution", "trainer.zoo.textcnn"}


@pytest.mark.parametrize("case", CASES)
def test_resumed_anywhere_it_ends_the_same(case: str) -> None:
    run = undisturbed(case)
    for place in places(run):
        run.check(run.run(Watcher(), run.checkpoints[place]))


@given(st.sampled_from(QUICK), st.data())
@settings(deadline=None, max_examples=30)
def test_interrupted_twice_it_ends_the_same(case: str, data: st.DataObject) -> None:
    run = undisturbed(case)
    first = data.draw(st.integers(0, len(run.checkpoints) - 1))
    again = Recorder()
    run.check(run.run(Watcher(on_checkpoint=again), run.checkpoints[first]))
    if again.offered:
        second = data.draw(st.integers(0, len(again.offered) - 1))
        run.check(run.run(Watcher(), again.offered[second]))


@pytest.mark.parametrize("step", [1, 4, 6])
def test_what_it_leaves_when_it_is_stopped_is_enough(step: int) -> None:
    run = undisturbed("sgd")
    taken: list[bytes] = []

    def on_step(done: int, steps: int) -> None:
        del steps
        if done == step:
            raise Stopped("paused")

    def on_checkpoint(training: Checkpointable, is_last: bool) -> None:
        if is_last:
            taken.append(pack(training.state_dict()))

    with pytest.raises(Stopped, match="paused"):
        run.run(Watcher(on_step, on_checkpoint=on_checkpoint))
    assert len(taken) == 1
    run.check(run.run(Watcher(), taken[0]))


def test_it_goes_on_and_does_not_begin_anew() -> None:
    run = undisturbed("one_cycle")
    steps: list[int] = []
    logged: list[tuple[str, str]] = []
    watcher = Watcher(
        on_step=lambda step, _: steps.append(step), on_log=lambda *line: logged.append(line)
    )
    run.run(watcher, run.checkpoints[9])  # 4 batches an epoch, 5 checkpoints
    assert steps == list(range(9, 21))
    assert "going on after step 8 of 20" in logged[0][1]


def test_taking_checkpoints_changes_nothing() -> None:
    run = undisturbed("sgd")
    run.check(run.run(Watcher()))


def test_a_state_that_does_not_fit_is_a_warning_and_a_new_beginning() -> None:
    run, other = undisturbed("one_cycle"), undisturbed("lenet5")
    logged: list[tuple[str, str]] = []
    watcher = Watcher(on_log=lambda *line: logged.append(line))
    run.check(run.run(watcher, other.checkpoints[0]))
    assert logged[0][0] == "warning"
    assert "from the beginning: the state does not fit this training: RuntimeError" in logged[0][1]


def test_seconds_add_up_over_interruptions() -> None:
    run = undisturbed("one_cycle")
    metadata, state = unpack(run.checkpoints[6])  # inside the second epoch
    del metadata
    state["epoch_seconds"] += 1000
    trained = run.run(Watcher(), pack(state))
    assert 1000 < trained.history[1]["epoch_seconds"] < 1100
    assert trained.history[2]["epoch_seconds"] < 1000
