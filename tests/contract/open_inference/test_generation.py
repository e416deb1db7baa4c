"""Texts over the wire: streamed token by token, many in one batch, and nobody in another's."""

from __future__ import annotations

import json
import queue
import threading

import grpc
import numpy as np
import pytest

from services.inference.generation.sampling import Sampling
from tests.contract.open_inference import hash_writer
from wintergarden.service.transport.grpcio_stream import GrpcioBidirectionalCall
from wintergarden.store.manifest import GenerationInfo, VocabularyInfo
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors

LIMIT_S = 30
ENDLESS = GenerationInfo(begin=hash_writer.BEGIN)


def publish(world, model="writer", **changes):
    with world.store.publish(model) as draft:
        draft.write("model.onnx", hash_writer.build())
        draft.commit(hash_writer.fields(**changes))
    return draft.version


@pytest.fixture(scope="module", params=["native", "grpcio"])
def writer(request, tmp_path_factory):
    from tests.contract.open_inference.conftest import World

    world = World(tmp_path_factory.mktemp("writer"), request.param)
    publish(world)
    app, client = world.serve(max_waiting=64, max_batch_rows=8)
    yield world, app, client
    world.close()


def asking(prompt="", /, *, request_id="", model="writer", parameters=None, **inputs):
    request = pb.ModelInferRequest(model_name=model, id=request_id)
    given = dict(inputs)
    if isinstance(prompt, str):
        given["text_input"] = np.array([prompt.encode()], object)
    elif prompt is not None:
        given["prompt"] = np.array([prompt], np.int64)
    for name, value in given.items():
        array = np.asarray(value)
        datatype = tensors.datatype_of(array.dtype)
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(tensors.encode(array))
    for name, value in (parameters or {}).items():
        kind = {int: "int64_param", float: "double_param", str: "string_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    return request


def told(world, response):
    """(text, tokens, log-probabilities, reason) of an answer."""
    arrays = world.arrays(response)
    return (
        arrays["text_output"][0].decode(),
        arrays["tokens"].tolist(),
        arrays["log_probabilities"].tolist(),
        arrays["finish_reason"][0].decode(),
    )


def stream(client, *requests, timeout=LIMIT_S, metadata=()):
    return client.ModelStreamInfer(iter(requests), timeout=timeout, metadata=metadata)


def tokens_of(world, responses):
    tokens = []
    for response in responses:
        assert not response.error_message, response.error_message
        tokens += told(world, response.infer_response)[1]
    return tokens


def test_streams_one_answer_a_token_and_the_last_says_why(writer):
    world, _, client = writer
    answers = list(stream(client, asking("hallo ", seed=[5], max_tokens=[20], request_id="r")))
    expected = hash_writer.expected("hallo ", 20, Sampling(seed=5))
    said = [told(world, answer.infer_response) for answer in answers]
    assert [tokens for _, tokens, _, _ in said] == [[token] for token in expected]
    assert [reason for _, _, _, reason in said] == [""] * (len(expected) - 1) + [
        "stop" if expected[-1] == hash_writer.END else "length"
    ]
    assert "".join(text for text, _, _, _ in said) == hash_writer.text(expected)
    finals = [a.infer_response.parameters["triton_final_response"].bool_param for a in answers]
    assert finals == [False] * (len(expected) - 1) + [True]
    assert {a.infer_response.id for a in answers} == {"r"}


def test_log_probabilities_are_the_models_own(writer):
    world, _, client = writer
    answers = stream(client, asking("ab", seed=[1], max_tokens=[5], temperature=np.float32([0.5])))
    state = 0
    for token in (hash_writer.BEGIN, *hash_writer.VOCABULARY.encode(["ab"])[0]):
        logits, state = hash_writer.step(int(token), state)
    for answer in answers:
        _, (token,), (log_probability,), _ = told(world, answer.infer_response)
        normaliser = np.log(np.exp(logits.astype(np.float64)).sum())
        assert log_probability == pytest.approx(logits[token] - normaliser, abs=1e-5)
        logits, state = hash_writer.step(token, state)


def test_a_unary_call_is_answered_with_the_whole_text(writer):
    world, _, client = writer
    request = asking("Grüße", seed=[7], max_tokens=[30])
    text, tokens, log_probabilities, reason = told(world, client.ModelInfer(request, timeout=30))
    assert tokens == hash_writer.expected("Grüße", 30, Sampling(seed=7))
    assert text == hash_writer.text(tokens)
    assert len(log_probabilities) == len(tokens)
    assert reason in {"stop", "length"}


def test_stream_false_is_one_answer_on_a_stream_too(writer):
    world, _, client = writer
    request = asking("x", temperature=np.float32([0]), max_tokens=[12], stream=[False])
    (answer,) = stream(client, request)
    assert told(world, answer.infer_response)[1] == hash_writer.expected(
        "x", 12, Sampling(temperature=0)
    )


@pytest.mark.parametrize(
    "ways",
    [
        {"max_tokens": [9], "seed": [3], "top_k": [4], "top_p": np.float32([0.5])},
        {"parameters": {"max_tokens": 9, "seed": 3, "top_k": 4, "top_p": 0.5}},
        {"sampling_parameters": {"max_tokens": 9, "seed": 3, "top_k": 4, "top_p": 0.5}},
        # as vLLM's own client writes them
        {"sampling_parameters": {"max_tokens": "9", "seed": 3, "top_k": "4", "top_p": "0.5"}},
    ],
    ids=["inputs", "parameters", "json", "texts"],
)
def test_sampling_parameters_come_in_three_ways(writer, ways):
    world, _, client = writer
    given = dict(ways)
    if "sampling_parameters" in given:
        given["sampling_parameters"] = np.array([json.dumps(given["sampling_parameters"])], object)
    got = told(world, client.ModelInfer(asking("abc", **given), timeout=LIMIT_S))[1]
    assert got == hash_writer.expected("abc", 9, Sampling(top_k=4, top_p=0.5, seed=3))


def test_ids_are_a_prompt_as_well(writer):
    world, _, client = writer
    ids = hash_writer.VOCABULARY.encode(["der tag"])[0].tolist()
    got = told(world, client.ModelInfer(asking(ids, seed=[1], max_tokens=[8]), timeout=LIMIT_S))
    assert got[1] == hash_writer.expected("der tag", 8, Sampling(seed=1))


def test_an_empty_prompt_begins_a_text(writer):
    world, _, client = writer
    got = told(world, client.ModelInfer(asking("", seed=[2], max_tokens=[8]), timeout=LIMIT_S))
    assert got[1] == hash_writer.expected("", 8, Sampling(seed=2))


def test_the_prompt_is_repeated_where_it_is_asked_for(writer):
    world, _, client = writer
    request = asking("ab", seed=[2], max_tokens=[4], exclude_input_in_output=[False])
    text, tokens, *_ = told(world, client.ModelInfer(request, timeout=LIMIT_S))
    assert text == "ab" + hash_writer.text(tokens)
    (answer,) = stream(client, request)
    assert "a stream tells what is new alone" in answer.error_message


def test_a_stop_ends_the_text_before_it(writer):
    world, _, client = writer
    whole = hash_writer.text(hash_writer.expected("z", 40, Sampling(seed=11)))
    stop = whole[10:12]
    at = whole.find(stop)
    request = asking("z", seed=[11], max_tokens=[40], stop=np.array([stop, "never there"], object))
    answers = [told(world, a.infer_response) for a in stream(client, request)]
    assert "".join(text for text, *_ in answers) == whole[:at]
    assert answers[-1][3] == "stop"


@pytest.mark.parametrize(
    ("request_of", "field"),
    [
        (lambda: asking("a", max_tokens=[0]), "max_tokens"),
        (lambda: asking("a", temperature=np.float32([-1])), "temperature"),
        (lambda: asking("a", temperature=np.float32([np.nan])), "temperature"),
        (lambda: asking("a", top_p=np.float32([0])), "top_p"),
        (lambda: asking("a", top_k=[-2]), "top_k"),
        (lambda: asking("a", prompt=np.array([[5]])), "text_input"),
        (lambda: asking([5, 4000]), "prompt"),
        (lambda: asking([-1]), "prompt"),
        (lambda: asking("a", parameters={"temperature": "hot"}), "temperature"),
        (lambda: asking("a", seed=[1], parameters={"seed": 2}), "seed"),
        (lambda: asking("a", stop=np.array([""], object)), "stop"),
        (lambda: asking("a", sampling_parameters=np.array(['{"beams": 3}'], object)), "beams"),
        (
            lambda: asking(
                "a", sampling_parameters=np.array([f'{{"temperature": 1{"0" * 400}}}'], object)
            ),
            "temperature",
        ),
        (lambda: asking("a", sampling_parameters=np.array(["no"], object)), "sampling_parameters"),
        (lambda: asking("a", stream=[True]), "stream"),
        (lambda: asking("a", parameters={"sequence_id": 3}), "sequence_id"),
        (lambda: asking("a", wings=[2]), "wings"),
    ],
)
def test_what_is_wrong_is_named(writer, request_of, field):
    _, _, client = writer
    with pytest.raises(grpc.RpcError) as caught:
        client.ModelInfer(request_of(), timeout=LIMIT_S)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in caught.value.details()


def test_a_text_that_is_certainly_too_long_is_not_taken_apart(writer):
    _, _, client = writer
    for length in (70_000, 300_000):
        with pytest.raises(grpc.RpcError) as caught:
            client.ModelInfer(asking("a" * length), timeout=LIMIT_S)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(65_536 if length < 262_144 else 262_144) in caught.value.details()


def test_a_long_text_is_answered_even_where_it_cannot_be_taken_apart(writer, monkeypatch):
    """That happens on the thread that writes, where nobody else knows of the request."""
    world, _, client = writer
    long = "ab " * 2_000
    said = told(world, client.ModelInfer(asking(long, seed=[1], max_tokens=[3]), timeout=LIMIT_S))
    assert len(said[1]) >= 1

    def fault(*_args):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("services.inference.generation.writer.Writer.prompt", fault)
    with pytest.raises(grpc.RpcError) as caught:
        client.ModelInfer(asking(long), timeout=LIMIT_S)
    assert caught.value.code() is grpc.StatusCode.INTERNAL


def test_tokens_of_prompts_are_counted(writer):
    world, app, client = writer
    generated = app.repository.resolve("writer").generator.scheduler.generated
    before = generated.read()
    answer = client.ModelInfer(asking("abc", seed=[1], max_tokens=[2]), timeout=LIMIT_S)
    said = len(told(world, answer)[1])
    # It is answered before it is counted.
    world.eventually(lambda: generated.read().tokens - before.tokens == said, LIMIT_S)
    assert generated.read().prompt_tokens - before.prompt_tokens == 4, "with the begin"


def test_ids_that_the_model_has_not_are_refused_for_its_steps_too(writer):
    world, _, client = writer
    width = hash_writer.WIDTH
    for token in (-1, width):
        request = world.request("writer", {"token": np.array([[token]], np.int64)})
        request.parameters["sequence_id"].int64_param = 78
        request.parameters["sequence_start"].bool_param = True
        with pytest.raises(grpc.RpcError) as caught:
            client.ModelInfer(request, timeout=LIMIT_S)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"'token': value {token}, allowed are 0 to {width - 1}" in caught.value.details()


def test_who_does_not_read_is_not_written_for(world, monkeypatch):
    """What lies unread has a bound: texts beyond it are given up."""
    is_clogged = property(lambda call: call._sent_bytes - call._written_bytes >= 100_000)
    monkeypatch.setattr(GrpcioBidirectionalCall, "is_clogged", is_clogged)
    publish(world, generation=ENDLESS)
    app, client = world.serve()
    generator = app.repository.resolve("writer").generator.scheduler
    call = stream(client, *[asking("a", max_tokens=[65_536], request_id=str(i)) for i in range(4)])
    next(call)
    world.eventually(lambda: generator.active == 0 and generator._thread is None, LIMIT_S)
    errors = {a.infer_response.id: a.error_message for a in call if a.error_message}
    assert set(errors) == {"0", "1", "2", "3"}
    assert all("has not read" in message for message in errors.values())


def test_one_bad_request_of_a_stream_fails_alone(writer):
    world, _, client = writer
    bad = asking("a", top_k=[-9], request_id="bad")
    good = asking("a", seed=[4], max_tokens=[6], request_id="good")
    answers = list(stream(client, bad, good))
    errors = [a.error_message for a in answers if a.error_message]
    assert len(errors) == 1
    assert "top_k" in errors[0]
    tokens = tokens_of(world, [a for a in answers if a.infer_response.id == "good"])
    assert tokens == hash_writer.expected("a", 6, Sampling(seed=4))


def test_the_same_model_still_answers_steps_of_sequences(writer):
    world, _, client = writer
    state = 0
    for number, token in enumerate((2, 9, 30)):
        request = world.request("writer", {"token": np.array([[token]], np.int64)})
        request.parameters["sequence_id"].int64_param = 77
        request.parameters["sequence_start"].bool_param = number == 0
        request.parameters["sequence_end"].bool_param = number == 2
        answer = world.arrays(client.ModelInfer(request, timeout=LIMIT_S))
        logits, state = hash_writer.step(token, state)
        assert set(answer) == {"logits"}
        np.testing.assert_array_equal(answer["logits"][0], logits)


def test_the_model_says_that_it_writes(writer):
    _, app, client = writer
    metadata = client.ModelMetadata(pb.ModelMetadataRequest(name="writer"))
    assert [t.name for t in metadata.inputs][:3] == ["token", "text_input", "prompt"]
    assert {"logits", "text_output", "tokens"} <= {t.name for t in metadata.outputs}
    config = client.ModelConfig(pb.ModelConfigRequest(name="writer")).config
    assert [s.input_name for s in config.sequence_batching.state] == ["hash", "count"]
    list(stream(client, asking("abc", max_tokens=[3], temperature=np.float32([0]))))
    metrics = type(writer[0]).metrics(app)
    assert 'wintergarden_generated_tokens{model="writer",version="1"}' in metrics
    assert "wintergarden_time_to_first_token_seconds_bucket" in metrics


def test_a_full_queue_refuses_with_a_time_to_come_back(world):
    publish(world, generation=ENDLESS)
    app, client = world.serve(max_waiting=1, max_batch_rows=1)
    generator = app.repository.resolve("writer").generator.scheduler
    endless = asking("a", max_tokens=[65_536])
    calls = [stream(client, endless) for _ in range(2)]
    next(calls[0])  # it has the only row

    def is_refused():
        try:
            client.ModelInfer(asking("b", max_tokens=[1]), timeout=0.5)
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        return False

    world.eventually(is_refused, LIMIT_S)
    for call in calls:
        call.cancel()
    world.eventually(lambda: generator.waiting == 0, LIMIT_S)
    got = told(world, client.ModelInfer(asking("b", seed=[1], max_tokens=[2]), timeout=LIMIT_S))
    assert got[1] == hash_writer.expected("b", 2, Sampling(seed=1))


def test_a_text_whose_caller_has_gone_leaves_the_batch(world):
    publish(world, generation=ENDLESS)
    app, client = world.serve()
    generator = app.repository.resolve("writer").generator.scheduler
    calls = [stream(client, asking("a", max_tokens=[65_536])) for _ in range(3)]
    slow = stream(client, asking("a", max_tokens=[65_536]), timeout=0.5)
    for call in calls:
        next(call)
        call.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        for _ in slow:
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    world.eventually(lambda: generator.active == 0 and generator._thread is None, LIMIT_S)


def test_a_version_that_is_replaced_finishes_its_texts(world):
    publish(world, generation=ENDLESS)
    app, client = world.serve(versions_served=1)
    first = app.repository.resolve("writer")
    got = queue.Queue()
    request = asking("abc", max_tokens=[1000], temperature=np.float32([0]))

    def run():
        for answer in stream(client, request):
            got.put(answer)
        got.put(None)

    thread = threading.Thread(target=run)
    thread.start()
    answers = [got.get(timeout=LIMIT_S)]
    publish(world)
    world.eventually(lambda: app.repository.resolve("writer") is not first, LIMIT_S)
    while (answer := got.get(timeout=LIMIT_S)) is not None:
        answers.append(answer)
    thread.join(LIMIT_S)
    expected = hash_writer.expected("abc", 1000, Sampling(temperature=0), end=None)
    assert tokens_of(world, answers) == expected
    world.eventually(lambda: first.is_drained, LIMIT_S)


def test_a_vocabulary_larger_than_the_graph_is_refused_at_loading(world):
    vocabulary = hash_writer.VOCABULARY.to_fields() | {"tokens": [f"{i}" for i in range(100)]}
    publish(world, vocabulary=VocabularyInfo(**vocabulary))
    _, client = world.serve()
    (entry,) = client.RepositoryIndex(pb.RepositoryIndexRequest()).models
    assert "the vocabulary has 104 tokens, output 'logits' 40" in entry.reason
