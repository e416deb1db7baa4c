"""Networks of attention against PyTorch's own, and step by step against all at once."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.data.captions import CORNERS, DIGIT, DIGIT_CAPTIONS, draw_scenes
from trainer.data.scenes import SIDE
from trainer.decoding.network import Translator, Writer
from trainer.zoo.additive_attention import AdditiveAttention
from trainer.zoo.attention import EncoderLayer, MultiHeadAttention, causal, visible
from trainer.zoo.bahdanau import Bahdanau
from trainer.zoo.char_transformer import CharTransformer, rotated
from trainer.zoo.show_attend_tell import ShowAttendTell
from trainer.zoo.transformer import Transformer, TransformerEncoder

PREFIX = torch.tensor([[2, 5, 6, 4, 7], [2, 7, 7, 4, 5], [2, 4, 5, 5, 6]])

DIGEST = "687cf9e549f65a4ff72b94c4a01ae1f6dcfc8c0f08f799d0aef61a2e8bcea2fc"


def ids(rows: int, places: int, lengths: list[int], most: int = 20) -> Tensor:
    found = torch.randint(1, most, (rows, places), generator=torch.Generator().manual_seed(0))
    return found * (torch.arange(places) < torch.tensor(lengths)[:, None])


def parameters(network: nn.Module) -> int:
    return sum(tensor.numel() for tensor in network.parameters())


def test_parameters_are_as_documented() -> None:
    assert parameters(Bahdanau(200, 32)) == 401_568
    assert parameters(Transformer(200, 32)) == 424_352
    assert parameters(TransformerEncoder(200, 71)) == 274_151
    assert parameters(CharTransformer(100)) == 819_044
    assert parameters(ShowAttendTell(30, (1, 64, 64))) == 229_967
    assert parameters(MultiHeadAttention(24, 4)) == 4 * (24**2 + 24)


def test_heads_attend_as_pytorchs_do() -> None:
    own = MultiHeadAttention(24, 4).eval()
    theirs = nn.MultiheadAttention(24, 4, batch_first=True).eval()
    with torch.no_grad():
        for name in ("weight", "bias"):
            packed = [getattr(part, name) for part in (own.query, own.key, own.value)]
            getattr(theirs, f"in_proj_{name}").copy_(torch.cat(packed))
            getattr(theirs.out_proj, name).copy_(getattr(own.output, name))
        x, source = torch.randn(3, 5, 24), torch.randn(3, 7, 24)
        there = torch.arange(7) < torch.tensor([[7], [3], [1]])
        got, weights = own(
            own.queries(x), own.keys(source), own.values(source), visible(there)[:, None, None]
        )
        expected, looked = theirs(
            x, source, source, key_padding_mask=~there, average_attn_weights=False
        )
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(weights, looked, atol=1e-6, rtol=1e-4)
    assert not weights[~there[:, None, None].expand_as(weights)].any()


def test_an_encoder_layer_is_pytorchs() -> None:
    own = EncoderLayer(16, 2, 24, 0.0).eval()
    theirs = nn.TransformerEncoderLayer(
        16, 2, 24, 0.0, "gelu", batch_first=True, norm_first=True
    ).eval()
    attention, (norm, first, _, _, second) = own.attention, own.feedforward
    with torch.no_grad():
        for name in ("weight", "bias"):
            packed = [getattr(p, name) for p in (attention.query, attention.key, attention.value)]
            getattr(theirs.self_attn, f"in_proj_{name}").copy_(torch.cat(packed))
            for to, of in (
                (theirs.self_attn.out_proj, attention.output), (theirs.norm1, own.norm),
                (theirs.norm2, norm), (theirs.linear1, first), (theirs.linear2, second),
            ):  # fmt: skip
                getattr(to, name).copy_(getattr(of, name))
        x = torch.randn(2, 6, 16)
        got = own(x, torch.zeros(1, 1, 1, 6))
        torch.testing.assert_close(got, theirs(x), atol=1e-5, rtol=1e-4)


def test_additive_attention_is_its_equation() -> None:
    attention = AdditiveAttention(4, 6, 5)
    state, annotations = torch.randn(2, 4), torch.randn(2, 3, 6)
    bias = visible(torch.tensor([[True, True, True], [True, False, True]]))
    context, weights = attention(state, annotations, attention.key(annotations), bias)
    for row in range(2):
        energies = [
            attention.energy(torch.tanh(attention.query(state[row]) + attention.key(h))).item()
            if not (row == 1 and place == 1)
            else -np.inf
            for place, h in enumerate(annotations[row])
        ]
        shares = np.exp(energies) / np.exp(energies).sum()
        np.testing.assert_allclose(weights[row].detach().numpy(), shares, atol=1e-6)
        expected = (torch.from_numpy(shares).float()[:, None] * annotations[row]).sum(dim=0)
        torch.testing.assert_close(context[row], expected, atol=1e-5, rtol=1e-4)


def test_places_are_told_by_distance_alone() -> None:
    x, y = torch.randn(1, 2, 1, 8), torch.randn(1, 2, 1, 8)
    products = [
        (rotated(x, torch.tensor([[at]])) * rotated(y, torch.tensor([[at - 3]]))).sum().item()
        for at in (3, 50, 400)
    ]
    assert products == pytest.approx([products[0]] * 3, abs=1e-3)
    assert (rotated(x, torch.tensor([[9]])).norm() - x.norm()).abs() < 1e-5


def test_each_place_sees_what_came_before() -> None:
    seen = causal(torch.zeros(1, 4), window=2) == 0
    assert seen.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]


@pytest.mark.parametrize("kind", ["bahdanau", "transformer", "show_attend_tell"])
def test_steps_say_what_all_places_say(kind: str) -> None:
    torch.manual_seed(0)
    source = ids(3, 6, [6, 2, 4])
    network: nn.Module
    if kind == "bahdanau":
        network = Bahdanau(20, 8, embed_dim=6, target_embed_dim=5, hidden_size=7)
    elif kind == "transformer":
        network = Transformer(20, 8, embed_dim=8, num_heads=2, feedforward_dim=9, max_target=5)
    else:
        network, source = ShowAttendTell(8, (1, 16, 24), maps=8), torch.randn(3, 1, 16, 24)
    network.eval()
    assert isinstance(network, Translator)
    with torch.no_grad():
        logits, attention, *_ = network(source, PREFIX)
        memory = network.memory(source)
        states = network.begin(memory)
        for place in range(PREFIX.shape[1]):
            token = PREFIX[:, place : place + 1]
            step, states, looked = network.step(token, states, memory)
            torch.testing.assert_close(step, logits[:, place], atol=1e-5, rtol=1e-4)
            assert looked is not None
            torch.testing.assert_close(looked, attention[:, place], atol=1e-5, rtol=1e-4)
    assert attention.sum(dim=2).sub(1).abs().max() < 1e-5
    if kind != "show_attend_tell":
        assert not attention[(source == 0)[:, None].expand_as(attention)].any()


def test_a_text_does_not_see_its_neighbours_padding() -> None:
    torch.manual_seed(0)
    source = ids(3, 9, [9, 2, 4])
    for network in (Bahdanau(20, 8).eval(), Transformer(20, 8).eval()):
        with torch.no_grad():
            together, *_ = network(source, PREFIX)
            alone, *_ = network(source[1:2, :2], PREFIX[1:2])
        torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)
    classifier = TransformerEncoder(20, 4).eval()
    with torch.no_grad():
        torch.testing.assert_close(classifier(source)[1:2], classifier(source[1:2, :2]))


def test_a_language_model_steps_through_its_ring() -> None:
    torch.manual_seed(0)
    network = CharTransformer(9, embed_dim=8, num_heads=2, layers=3, feedforward_dim=9, context=4)
    network.eval()
    assert isinstance(network, Writer)
    tokens = torch.randint(1, 9, (2, 11))
    with torch.no_grad():
        logits, carried = network(tokens)
        states = tuple(state.zeros(2) for state in network.states)
        for place in range(11):
            step, states = network.step(tokens[:, place : place + 1], states)
            torch.testing.assert_close(step, logits[:, place], atol=1e-5, rtol=1e-4)
    assert carried == ()


def test_what_is_looked_at_once_costs_nothing() -> None:
    network = ShowAttendTell(8, (1, 16, 16), maps=8, regularisation=0.5)
    looked = torch.tensor([[[0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]])
    # The third token is padding: two places are looked at once and two never.
    assert network.penalty((looked,), torch.tensor([[2, 5, 3, 0]])).item() == pytest.approx(1.0)


def test_captions_say_what_is_there() -> None:
    scenes = draw_scenes("validation")
    assert len(scenes) == DIGIT_CAPTIONS.split_sizes["validation"]
    for scene in scenes[:50]:
        told = scene.caption.split(", ")
        assert len(told) == len(scene.digits) == len(scene.boxes)
        for corner, (top, left, bottom, right) in scene.boxes.items():
            vertical, horizontal = CORNERS[corner].split()
            assert (bottom - top, right - left) == (DIGIT, DIGIT)
            assert (top + bottom < SIDE) == (vertical == "top")
            assert (left + right < SIDE) == (horizontal == "left")
    # Held out for ever: a change here would let models be tested on what they were trained on.
    sha256 = hashlib.sha256()
    for scene in scenes:
        sha256.update(scene.picture.astype(np.float32).tobytes() + scene.caption.encode())
    assert sha256.hexdigest() == DIGEST
