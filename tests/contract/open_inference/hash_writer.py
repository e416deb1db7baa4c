"""A step graph whose states are hashes of all its tokens, and the same in Python.

Its logits are small whole numbers that follow from the state alone, so they are exact in any
batch; whoever is fed one token of somebody else's text, or loses one of its own, says something
else from then on.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser

from services.inference.generation.sampling import Chance, Choices, Sampling
from wintergarden.store import ManifestFields, TensorInfo
from wintergarden.store.manifest import GenerationInfo, StateInfo, VocabularyInfo
from wintergarden.text import Vocabulary

BEGIN, END, WIDTH = 2, 3, 40
CHARACTERS = tuple("abcdefghijklmnopqrstuvwxyz äöü€\n.,;'")
VOCABULARY = Vocabulary("character", CHARACTERS, 4096, is_marked=True, is_verbatim=True)
GRAPH = f"""<ir_version: 8, opset_import: ["" : 17]>
writer (int64[n, 1] token, int64[n, 1] hash, float[n, 3] count)
    => (float[n, {WIDTH}] logits, int64[n, 1] next_hash, float[n, 3] next_count)
    <int64[1] a = {{31}}, int64[1] b = {{7}}, int64[1] p = {{1000003}}, int64[1] q = {{1009}},
     int64[1] r = {{23}}, float[1] one = {{1}},
     int64[1, {WIDTH}] ids = {{{", ".join(map(str, range(WIDTH)))}}}>
    {{ shifted = Mul (hash, a)  taken = Add (shifted, token)  sum = Add (taken, b)
       next_hash = Mod (sum, p)  next_count = Add (count, one)
       small = Mod (next_hash, q)  spread = Mul (small, ids)  moved = Add (spread, next_hash)
       rest = Mod (moved, r)  number = Cast <to = 1> (rest)  logits = Neg (number) }}"""
STATES = (
    StateInfo(input="hash", output="next_hash", datatype="INT64", shape=(1,)),
    StateInfo(input="count", output="next_count", datatype="FP32", shape=(3,)),
)


def build() -> bytes:
    model = onnx.parser.parse_model(GRAPH)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def fields(**changes: object) -> ManifestFields:
    known = {
        "architecture": "hash",
        "task": "language-modelling",
        "inputs": (
            TensorInfo(
                name="token", datatype="INT64", shape=(-1, 1), value_range=(0.0, WIDTH - 1.0)
            ),
            TensorInfo(name="hash", datatype="INT64", shape=(-1, 1)),
            TensorInfo(name="count", datatype="FP32", shape=(-1, 3)),
        ),
        "outputs": (
            TensorInfo(name="logits", datatype="FP32", shape=(-1, WIDTH)),
            TensorInfo(name="next_hash", datatype="INT64", shape=(-1, 1)),
            TensorInfo(name="next_count", datatype="FP32", shape=(-1, 3)),
        ),
        "vocabulary": VocabularyInfo(**VOCABULARY.to_fields()),
        "states": STATES,
        "generation": GenerationInfo(begin=BEGIN, end=END),
    }
    return ManifestFields(**(known | changes))


def step(token: int, state: int) -> tuple[np.ndarray, int]:
    """The logits (WIDTH,) after a token, and the state."""
    state = (state * 31 + token + 7) % 1_000_003
    ids = np.arange(WIDTH)
    return -((state % 1009 * ids + state) % 23).astype(np.float32), state


def expected(prompt: str, max_tokens: int, sampling: Sampling, end: int | None = END) -> list[int]:
    """The tokens of a text, one after the other and alone."""
    state, chance, said = 0, Chance(sampling.seed), []
    ids = VOCABULARY.encode([prompt])[0].tolist() if prompt else []
    for token in (BEGIN, *ids):
        logits, state = step(token, state)
    choices = Choices([sampling])
    while len(said) < max_tokens and end not in said:
        number = chance.draw() if sampling.temperature else 0.0
        (token,), _ = choices.choose(logits[None], [number])
        said.append(int(token))
        logits, state = step(token, state)
    return said


def text(tokens: list[int]) -> str:
    return b"".join(VOCABULARY.pieces(tokens)).decode()
