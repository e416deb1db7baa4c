"""What is told of a served graph beside its bar: where it is right, and where it looked."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer.data.captions import NAMES, draw_scenes
from trainer.data.dataset import Array
from trainer.data.dates import draw_dates
from trainer.data.scenes import SIDE
from trainer.decoding.compose import TOKENS
from trainer.decoding.parts import ATTENTION
from trainer.export.sequence_parity import run
from trainer.recipes.trained import Trained
from trainer.zoo.vocabularies import target_vocabulary
from wintergarden.runtime import RuntimeOptions, open_session

_ROWS = 64


def observe(trained: Trained, model: bytes) -> dict[str, Any]:
    """What the data set knows more of than an answer.

    Args:
        trained: the network, and what it was trained on.
        model: the ONNX file that writes whole texts.
    """
    observations = {"dates": _by_writing, "digit-captions": _on_boxes}
    look = observations.get(trained.dataset.info.name)
    if look is None:
        return {}
    test = trained.dataset.test
    session = open_session(model, RuntimeOptions(device="cpu", intra_op_threads=1))
    (source,) = (spec.name for spec in session.inputs)
    blocks = (test.inputs[start : start + _ROWS] for start in range(0, len(test), _ROWS))
    return look(trained, [run(session, {source: block}) for block in blocks])


def _by_writing(trained: Trained, answers: list[Mapping[str, Array]]) -> dict[str, Any]:
    """Of the test's dates by writing system: how many are right, and how many there are."""
    vocabulary = target_vocabulary(trained.dataset.info)
    told = [vocabulary.text(row) for answer in answers for row in answer[TOKENS].tolist()]
    right, all_of_them = Counter[str](), Counter[str]()
    for said, date in zip(told, draw_dates("test"), strict=True):
        writing = _writing(date.text)
        all_of_them[writing] += 1
        right[writing] += said == date.iso
    return {"by_writing": {name: [right[name], n] for name, n in all_of_them.most_common()}}


def _writing(text: str) -> str:
    """LATIN, ARABIC, CJK …, as Unicode names the first letter."""
    letters = (unicodedata.name(c, "?").split()[0] for c in text if c.isalpha())
    return next(letters, "digits alone")


def _on_boxes(trained: Trained, answers: list[Mapping[str, Array]]) -> dict[str, Any]:
    """Share of the attention that lies within a digit's box while its name is written.

    Of captions that name the right digits; a place's attention is spread evenly over its pixels.
    """
    vocabulary = target_vocabulary(trained.dataset.info)
    rows = [
        (tokens, looked)
        for answer in answers
        for tokens, looked in zip(answer[TOKENS].tolist(), answer[ATTENTION], strict=True)
    ]
    masses = []
    for (tokens, looked), scene in zip(rows, draw_scenes("test"), strict=True):
        words = [word.strip() for word in vocabulary.decode(tokens)]
        places = [place for place, word in enumerate(words) if word in NAMES]
        corners = sorted(scene.digits)
        if [words[place] for place in places] != [NAMES[scene.digits[c]] for c in corners]:
            continue
        masses += [
            _within(looked[place], scene.boxes[corner])
            for place, corner in zip(places, corners, strict=True)
        ]
    return {"attention_on_box": float(np.mean(masses)), "boxes": len(masses)}


def _within(attention: Array, box: tuple[int, int, int, int]) -> float:
    side = round(len(attention) ** 0.5)
    pixels = np.kron(attention.reshape(side, side), np.ones((SIDE // side, SIDE // side)))
    top, left, bottom, right = box
    return float(pixels[top:bottom, left:right].sum() / pixels.sum())
