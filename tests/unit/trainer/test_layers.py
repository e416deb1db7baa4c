"""The zoo's own layers against PyTorch's and the papers' formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from trainer.zoo.normalisation import LocalResponseNormalisation
from trainer.zoo.pooling import (
    AdaptiveAveragePool,
    IndexedMaxPool,
    MaxUnpool,
    StochasticPool,
    pool_of_four,
    unpool_of_four,
)
from trainer.zoo.textcnn import TextCNN
from trainer.zoo.width import scaled


@pytest.mark.parametrize(("height", "width"), [(6, 6), (1, 1), (3, 7), (13, 20), (12, 6)])
def test_adaptive_pooling_is_pytorchs(height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width)
    torch.testing.assert_close(AdaptiveAveragePool(6)(x), functional.adaptive_avg_pool2d(x, 6))


def test_normalisation_is_pytorchs_whose_alpha_is_shared_by_the_channels() -> None:
    x = torch.randn(2, 9, 4, 4) * 30
    for size in (1, 4, 5):
        ours = LocalResponseNormalisation(size, alpha=1e-2, beta=0.75, k=2.0)(x)
        theirs = nn.LocalResponseNorm(size, alpha=1e-2 * size, beta=0.75, k=2.0)(x)
        torch.testing.assert_close(ours, theirs)


def test_what_is_exported_of_unpooling_is_what_is_trained_also_where_maxima_are_equal() -> None:
    x = torch.randint(0, 3, (2, 3, 8, 6)).float()
    pooled, places = pool_of_four(x)
    theirs, indices = IndexedMaxPool()(x)
    assert torch.equal(pooled, theirs)
    values = torch.randn_like(pooled)
    assert torch.equal(unpool_of_four(values, places), MaxUnpool()(values, indices))


def test_stochastic_pooling_draws_by_size_and_answers_the_mean() -> None:
    window = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    pool = StochasticPool()
    many = window.expand(40_000, 1, 2, 2)
    drawn = pool(many).flatten()
    for value, share in ((0, 0), (1, 1 / 8), (2, 2 / 8), (5, 5 / 8)):
        assert (drawn == value).float().mean().item() == pytest.approx(share, abs=0.01)
    pool.eval()
    assert pool(many)[0].item() == pytest.approx((1 + 4 + 25) / 8)
    assert pool(torch.zeros(1, 1, 2, 2)).item() == 0
    pool.train()
    assert pool(torch.zeros(1, 1, 2, 2)).item() == 0


def test_a_share_of_channels_is_never_none() -> None:
    assert [scaled(64, w) for w in (1, 0.5, 0.001)] == [64, 32, 1]
    assert scaled(96, 0.06, multiple=2) == 6
    assert np.mod(scaled(256, 0.01, multiple=2), 2) == 0


def test_a_texts_answer_does_not_depend_on_how_long_its_neighbours_are() -> None:
    network = TextCNN(20, 3).eval()
    text = torch.tensor([[4, 7, 2, 19]])
    padded = torch.cat([text, torch.zeros(1, 9, dtype=torch.int64)], dim=1)
    torch.testing.assert_close(network(padded), network(text))
    assert network(text[:, :1]).isfinite().all()
