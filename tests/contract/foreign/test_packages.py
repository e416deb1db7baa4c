"""Open NSFW, Magika, RapidOCR, Silero VAD and Basic Pitch: their gradients, by central differences.

Convolutions and attention of PaddlePaddle, a spectrogram and harmonic stacking of TensorFlow,
embeddings of JAX, recurrent layers inside branches of PyTorch.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from services.explanation.backprop import differentiate
from services.explanation.heads import cut, embedding, exposing
from tests.contract.foreign.directions import MEDIAN_ERROR, median_error, session_of
from tests.contract.foreign.packages import MODELS
from wintergarden.errors import InvalidArgument

pytestmark = pytest.mark.environments

LARGE = frozenset({"open-nsfw", "magika", "rapidocr-recognition", "basic-pitch"})
"""Two hundred evaluations of these take ten seconds and more."""


def needs_time(name: str) -> None:
    if name in LARGE and not os.environ.get("WINTERGARDEN_SOAK"):
        pytest.skip("a matter of ten seconds: WINTERGARDEN_SOAK=1 runs it")


@pytest.mark.parametrize("name", MODELS)
def test_its_gradient_is_the_slope_of_what_it_computes(name: str) -> None:
    needs_time(name)
    packaged = MODELS[name]
    model = exposing(packaged.read(), packaged.output)
    feeds, wrt = dict(packaged.feeds(np.random.default_rng(2))), packaged.wrt
    if packaged.are_tokens:
        with pytest.raises(InvalidArgument, match=r"not of a float type; .* inner tensor"):
            differentiate(model, wrt, output=packaged.output)
        wrt = embedding(model, packaged.wrt)
        (feeds[wrt],) = session_of(exposing(model, wrt)).run([wrt], feeds)
        model = cut(model, wrt)
    begun = time.perf_counter()
    error = median_error(
        model, wrt, packaged.output, feeds, steps=packaged.steps, batch=packaged.batch
    )
    print(f"{name}: median error {error:.2e}, {time.perf_counter() - begun:.1f} s")
    assert error <= MEDIAN_ERROR
