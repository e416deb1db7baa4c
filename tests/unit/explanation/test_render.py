"""Pictures are PNG of a sensible size for whatever the numbers are; how they look, people judge."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.explanation.render.bars import SHOWN, bars
from services.explanation.render.curve import ABOVE, NUMBER, POINTS, curves, stacked
from services.explanation.render.heat_map import heat_map
from services.explanation.render.panda import Verdict, panda
from services.explanation.render.style import Caption, is_image

CAPTION = Caption("title", "subtitle", "legend", ("one note", "another"))
rng = np.random.default_rng(0)


def opened(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    assert 600 < picture.width < 2500
    assert 300 < picture.height < 2500
    return picture


def colours(picture: Image.Image) -> int:
    return len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0))


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (3, 32, 32), (1, 8, 8), (3, 20, 90)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e-9])
def test_heat_map(shape: tuple[int, ...], scale: float) -> None:
    attribution = scale * rng.normal(size=shape[-2:])
    picture = opened(heat_map(rng.random(shape), attribution, (0, 1), CAPTION))
    assert colours(picture) > 50


def test_zero_is_in_the_middle_of_the_scale() -> None:
    """All positive: nothing is blue but the scale's lower half."""
    attribution = np.zeros((8, 8))
    attribution[2, 2] = 5
    pixels = np.asarray(opened(heat_map(np.zeros((8, 8)), attribution, (0, 1), CAPTION)))[..., :3]
    pixels = pixels.astype(int)
    map_only = pixels[:, : int(pixels.shape[1] * 0.8)]
    assert (map_only[..., 0] - map_only[..., 2] > 100).any()
    assert not (map_only[..., 2] - map_only[..., 0] > 100).any()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("change", [0.0, 0.2])
def test_panda(shape: tuple[int, ...], change: float) -> None:
    x = rng.random(shape)
    moved = np.clip(x + change * rng.choice([-1, 1], shape), 0, 1)
    before, after = Verdict("panda", 0.577, True), Verdict("gibbon", 0.99999, False)
    opened(panda(x, moved, (0, 1), epsilon="ε = 0.2", before=before, after=after, caption=CAPTION))


@pytest.mark.parametrize("count", [1, 5, SHOWN, 100])
@pytest.mark.parametrize("sign", [-1, 0, 1])
def test_bars(count: int, sign: int) -> None:
    values = sign * rng.random(count)
    names = [f"feature {i}" for i in range(count)]
    opened(bars(names, values, np.abs(values) / 5, CAPTION))
    opened(bars(names, values, np.zeros(0), CAPTION))


@pytest.mark.parametrize("count", [1, 7])
def test_curve(count: int) -> None:
    radii = np.linspace(0.3, 0, count)
    opened(curves(radii, {"one": rng.random(count)}, CAPTION))
    opened(curves(radii, {"one": rng.random(count), "$other": rng.random(count)}, CAPTION))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_no_number_of_a_curve_is_written_over_another(accuracies: list[float]) -> None:
    above = stacked(accuracies)
    bottoms = sorted(y * POINTS + gap for y, gap in zip(accuracies, above, strict=True))
    assert min(above) >= ABOVE - 1e-9
    assert min(np.diff(bottoms), default=NUMBER) >= NUMBER - 1e-9


def test_words_are_taken_literally() -> None:
    hostile = Caption("$\\frac{$", "a $ and a $", "$_$", ("%s {} \\n",))
    opened(bars(["$^$"], np.ones(1), np.zeros(0), hostile))


def test_threads_draw_the_same_picture() -> None:
    image, attribution = rng.random((28, 28)), rng.normal(size=(28, 28))
    alone = heat_map(image, attribution, (0, 1), CAPTION)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(heat_map, image, attribution, (0, 1), CAPTION) for _ in range(8)]
        assert all(job.result() == alone for job in jobs)


def test_what_is_an_image() -> None:
    assert is_image((1, 28, 28))
    assert is_image((28, 28))
    assert is_image((3, 8, 8))
    assert not is_image((30,))
    assert not is_image((16, 8, 8))
    assert not is_image((2, 3))
