"""What a shadow is sent, and when."""

import numpy as np
import pytest

from services.inference.protocol.servicer import Servicer
from services.inference.repository.lifecycle import Lifecycle
from services.inference.repository.repository import Model, Repository
from services.inference.scheduling.engine import Engine
from services.inference.scheduling.plan import Plan
from services.inference.scheduling.statistics import Statistics
from services.inference.signature import Signature
from services.inference.tracing.sampling import Tracing
from wintergarden.runtime import TensorSpec
from wintergarden.store.labels import Labels
from wintergarden.wire import open_inference_pb2 as pb

SPEC = (TensorSpec("x", "FP32", (-1, 1)),)


class Recording:
    """Says which version was given requests, and what; answers nothing."""

    def __init__(self, version, events):
        self.version, self.events, self.statistics = version, events, Statistics()

    def submit(self, requests):
        self.events.append((self.version, [r.feeds[0].ravel().tolist() for r in requests]))


class Session:
    def __init__(self, version, events):
        self.version, self.events = version, events

    def run(self, feeds, outputs=None):
        self.events.append((self.version, feeds["x"].ravel().tolist()))
        return [feeds["x"]]


class Call:
    is_gone = is_cancelled = False
    method = ""

    def __init__(self, value, events=None, *, model="m", version="", sequence=0):
        request = pb.ModelInferRequest(model_name=model, model_version=version)
        request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
        request.raw_input_contents.append(np.float32(value).tobytes())
        if sequence:
            request.parameters["sequence_id"].int64_param = sequence
            request.parameters["sequence_start"].bool_param = True
        self.payload, self.events = request.SerializeToString(), events

    def respond(self, payload):
        if self.events is not None:
            self.events.append("answered")

    def fail(self, error):
        raise error


def servicer(make, labels):
    repository = Repository()
    for name, version in (("m", 1), ("m", 2), ("other", 3)):
        signature = Signature(name, str(version), SPEC, SPEC, is_rowwise=True)
        served = Model(name, version, signature, make(version), 0.0)
        Lifecycle(repository).serve([served], "")
    repository.relabel("m", labels)
    return Servicer(repository, Tracing())


@pytest.fixture
def events():
    return []


def test_requests_that_name_no_version_are_mirrored(events):
    served = servicer(lambda v: Recording(v, events), Labels(labels={"old": 1}, shadow=2))
    for _ in range(2):  # parsed, and recognised
        for version, mirrored in (("", True), ("-1", True), ("1", False), ("old", False)):
            served.infer([Call(5, version=version), Call(6, version=version)])
            given = [[5.0], [6.0]]
            assert events == [(1, given), (2, given)][: 1 + mirrored], version
            events.clear()
    served.infer([Call(5, version="2")])
    assert events == [(2, [[5.0]])]


def test_sequences_are_not_mirrored(events):
    served = servicer(lambda v: Recording(v, events), Labels(shadow=2))
    served.infer([Call(5, sequence=7)])
    assert events == [(1, [[5.0]])]


def test_nobody_waits_for_a_shadow(events):
    def engine(version):
        return Engine(Session(version, events), Plan(("x",), max_rows=8, inline_rows=8), "m")

    served = servicer(engine, Labels(shadow=2))
    served.infer([Call(5, events), Call(6, events), Call(7, events, model="other")])
    answered = [(1, [5.0, 6.0]), "answered", "answered", (3, [7.0]), "answered"]
    assert events == [*answered, (2, [5.0, 6.0])]
