"""Models of several inputs: explained by one, while the others stay what they are."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from services.explanation.explain import ExplainQuery, Explanation, explain
from services.explanation.methods import attribution
from services.explanation.subject import Subject, Subjects
from services.explanation.worker.work import work_of
from wintergarden.client.explanation import explain_request
from wintergarden.errors import InvalidTensor, Unsupported
from wintergarden.runtime import RuntimeOptions
from wintergarden.store import ManifestFields, TensorInfo, open_store
from wintergarden.store.manifest import VocabularyInfo
from wintergarden.store.reference import write_reference
from wintergarden.wire import explanation_pb2 as pb

RNG = np.random.default_rng(0)
READ = RNG.normal(size=(9, 4)).astype(np.float32)
WRITTEN = RNG.normal(size=(7, 4)).astype(np.float32)
SOURCE = np.int64([[2, 3, 4, 4], [5, 6, 0, 0], [7, 8, 2, 0]])
PREFIX = np.int64([[2, 4, 3], [2, 5, 0], [2, 6, 6]])
STEP, TOKEN = 1, 3


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """What is written next depends on the source's sum and on the token before."""
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 20]>
        g (int64[n, s] source, int64[n, t] prefix) => (float[n, t, 4] log_probabilities) {
            axes = Constant<value_ints = [1]>()
            looked = Gather(read, source)
            squashed = Tanh(looked)
            summed = ReduceSum<keepdims = 1>(squashed, axes)
            own = Gather(written, prefix)
            both = Mul(own, summed)
            log_probabilities = LogSoftmax<axis = -1>(both)
        }""")
    for name, array in (("read", READ), ("written", WRITTEN)):
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    store = open_store(str(tmp_path_factory.mktemp("store")))
    with store.publish("forced") as draft:
        draft.write("model.onnx", model.SerializeToString())
        examples = {"source": SOURCE, "prefix": PREFIX}
        draft.write("reference.npz", write_reference(examples, np.zeros(3, np.int64), SOURCE))
        words = VocabularyInfo(level="word", tokens=tuple("abcdefg"), max_tokens=9)
        draft.commit(
            ManifestFields(
                architecture="by-hand",
                task="sequence-to-sequence",
                vocabulary=words,
                inputs=tuple(
                    TensorInfo(name=name, datatype="INT64", shape=(-1, -1))
                    for name in ("source", "prefix")
                ),
                outputs=(TensorInfo(name="log_probabilities", datatype="FP32", shape=(-1, -1, 4)),),
            )
        )
    return Subjects(store, RuntimeOptions(device="cpu"), 1 << 28).open(
        "forced", 0, lambda rows: None
    )


def answer(subject: Subject, method: str, **more: object) -> Explanation:
    query = {
        "rows": SOURCE, "input_name": "source", "context": {"prefix": PREFIX}, "parameters": {},
        "targets": (TOKEN,), "region": ((STEP, STEP + 1),),
    }  # fmt: skip
    return explain(attribution(method).run, subject, ExplainQuery(**(query | more)))


def truth(looked: torch.Tensor, prefix: np.ndarray = PREFIX) -> torch.Tensor:
    """log p of the token at the step, [N]."""
    summed = torch.tanh(looked).sum(dim=1, keepdim=True)
    both = torch.tensor(WRITTEN)[torch.tensor(prefix)] * summed
    return torch.log_softmax(both, dim=-1)[:, STEP, TOKEN]


def test_a_row_of_the_matrix_of_target_and_source(subject: Subject) -> None:
    found = answer(subject, "saliency")
    looked = torch.tensor(READ)[torch.tensor(SOURCE)].requires_grad_()
    value = truth(looked)
    value.sum().backward()
    np.testing.assert_allclose(found.outputs, value.detach(), rtol=1e-5)
    np.testing.assert_allclose(found.attributions, looked.grad.norm(dim=-1), rtol=1e-4)
    assert found.head.space == "logit"
    assert found.regions is not None
    assert found.regions[:, STEP].all()
    assert found.regions.sum() == len(SOURCE)


def test_each_row_has_a_context_of_its_own(subject: Subject) -> None:
    together = answer(subject, "integrated_gradients")
    for row in range(len(SOURCE)):
        one = slice(row, row + 1)
        alone = answer(
            subject, "integrated_gradients", rows=SOURCE[one], context={"prefix": PREFIX[one]}
        )
        np.testing.assert_allclose(together.attributions[one], alone.attributions, atol=1e-6)
    assert np.abs(together.efficiency_gaps).max() < 1e-2


def test_each_row_expects_what_is_left_of_all(subject: Subject) -> None:
    told: list[int] = []
    there = copy.copy(subject)
    there._announce = told.append
    answer(there, "smooth_grad", parameters={"samples": 4, "noise": 0.15})
    assert told == [4 * left for left in range(len(SOURCE), 0, -1)]


def test_shapley_values_of_source_tokens(subject: Subject) -> None:
    found = answer(subject, "kernel_shap")
    assert found.is_exact
    assert np.abs(found.efficiency_gaps).max() < 1e-5
    assert found.player_values[0, 2] == pytest.approx(found.player_values[0, 3], abs=1e-5)
    assert found.player_values[1, 2:].tolist() == [0, 0]


def test_of_what_was_written_only_the_token_before_counts(subject: Subject) -> None:
    found = answer(
        subject, "integrated_gradients",
        rows=PREFIX, input_name="prefix", context={"source": SOURCE},
    )  # fmt: skip
    assert (found.attributions != 0).tolist() == 3 * [[False, True, False]]


def test_a_job_over_examples_has_their_context(subject: Subject) -> None:
    request = pb.SubmitExplanationRequest()
    request.explain.method, request.explain.targets[:] = "saliency", [TOKEN]
    request.explain.region.box.begin[:], request.explain.region.box.end[:] = [STEP], [STEP + 1]
    block = work_of(request, subject, (1, 2)).block(0)
    expected = answer(subject, "saliency").attributions[1:]
    np.testing.assert_allclose(block.arrays["attributions"], expected, atol=1e-6)
    assert block.arrays["regions"].shape == (2, PREFIX.shape[1])


def test_a_job_explains_the_input_of_the_examples_that_is_named(subject: Subject) -> None:
    request = pb.SubmitExplanationRequest()
    where = ((STEP, STEP + 1),)
    request.explain.CopyFrom(
        explain_request("forced", None, "integrated_gradients", targets=[TOKEN], region=where,
                        input_name="prefix")
    )  # fmt: skip
    block = work_of(request, subject, (1, 2)).block(0)
    asked = {"rows": PREFIX, "input_name": "prefix", "context": {"source": SOURCE}}
    expected = answer(subject, "integrated_gradients", **asked).attributions[1:]
    np.testing.assert_allclose(block.arrays["attributions"], expected, atol=1e-6)

    request.explain.input.name = "suffix"
    with pytest.raises(InvalidTensor, match="has the inputs source, prefix, got 'suffix'"):
        work_of(request, subject, (1, 2))


def test_what_goes_with_a_request_is_checked(subject: Subject) -> None:
    with pytest.raises(Unsupported, match="has the inputs source, prefix; explained is 'source'"):
        answer(subject, "saliency", context={})
    with pytest.raises(InvalidTensor, match=r"with 3 rows, got INT64 \[2, 3\]"):
        answer(subject, "saliency", context={"prefix": PREFIX[:2]})
    with pytest.raises(InvalidTensor, match="context 'suffix'"):
        answer(subject, "saliency", context={"prefix": PREFIX, "suffix": PREFIX})
    with pytest.raises(InvalidTensor, match="got 'suffix'"):
        answer(subject, "saliency", input_name="suffix")
    with pytest.raises(InvalidTensor, match=r"must be INT64 \[-1, -1\] .* got FP32"):
        answer(subject, "saliency", context={"prefix": PREFIX.astype(np.float32)})


def test_the_background_is_of_the_input_that_is_explained(subject: Subject) -> None:
    """The artefact's background is of its first input alone."""
    other = {"rows": PREFIX, "input_name": "prefix", "context": {"source": SOURCE}}
    players = np.arange(3)
    found = answer(subject, "kernel_shap", players=players, **other)
    assert found.background == "expectation over 3 held-out examples"
    wanted = answer(subject, "kernel_shap", players=players, background=PREFIX, **other)
    np.testing.assert_allclose(found.attributions, wanted.attributions)
    with pytest.raises(InvalidTensor, match="background rows of shape"):
        answer(subject, "kernel_shap", players=players, background=PREFIX[:, :2], **other)
