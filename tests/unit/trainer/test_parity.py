"""In which sizes and with which values a graph is compared; what the exporter froze is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.export.graph import export, variable_axes
from trainer.export.parity import Parity, measure_parity, real_probes
from wintergarden.errors import DataLoss, Unsupported
from wintergarden.runtime import RuntimeOptions, open_session


class MeanOverTime(nn.Module):
    """(N, T, 3) → logits (N, 2) and probabilities."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.linear(x).mean(dim=1)
        return logits, logits.softmax(dim=1)


def test_real_inputs_come_in_several_batches() -> None:
    probes = real_probes(np.zeros((9, 1, 4, 4)), (1, 4, 4))
    assert [probe.shape for probe in probes] == [(n, 1, 4, 4) for n in (1, 2, 7)]


def test_and_in_several_lengths_where_they_may_vary() -> None:
    assert variable_axes((-1, 3)) == [1]
    probes = real_probes(np.zeros((9, 6, 3)), (-1, 3))
    assert [probe.shape for probe in probes] == [(n, t, 3) for n in (1, 2, 7) for t in (1, 3, 6)]


def test_a_graph_of_sequences_is_compared_at_several_lengths() -> None:
    inputs = np.random.default_rng(0).normal(size=(8, 6, 3)).astype(np.float32)
    served = MeanOverTime().eval()
    model = export(served, torch.from_numpy(inputs[:2]), "x", variable_axes((-1, 3)))
    session = open_session(model.SerializeToString(), RuntimeOptions(device="cpu"))
    parity = measure_parity(served, session, real_probes(inputs, (-1, 3)))
    assert parity.relative.keys() == {"logits", "probabilities"}
    assert parity.worst <= 1e-5


def test_a_length_that_the_network_fixes_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"cannot be exported: .*static shape of 3 for dimension"):
        export(MeanOverTime().eval(), torch.ones(2, 6, 3), "x", [2])


def test_the_worst_of_each_output_is_kept() -> None:
    parity = Parity()
    parity.add("logits", np.array([1.0, -8.0]), np.array([1.5, -8.0]))
    parity.add("logits", np.array([0.5]), np.array([0.25]))
    parity.add("probabilities", np.array([0.5]), np.array([0.5]))
    assert parity.absolute == {"logits": 0.5, "probabilities": 0.0}
    assert parity.relative == {"logits": 0.25, "probabilities": 0.0}
    assert parity.worst == 0.25


def test_an_answer_that_is_not_finite_is_refused() -> None:
    class Explodes(MeanOverTime):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            logits = self.linear(x).mean(dim=1) / 0.0
            return logits, logits

    served = MeanOverTime().eval()
    model = export(Explodes().eval(), torch.ones(2, 6, 3), "x")
    session = open_session(model.SerializeToString(), RuntimeOptions(device="cpu"))
    with pytest.raises(DataLoss, match="output 'logits' is not finite on inputs of shape"):
        measure_parity(served, session, [np.ones((1, 6, 3), np.float32)])
