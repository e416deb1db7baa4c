"""The SDK and the command have a real service write."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from services.inference.generation.sampling import Sampling
from tests.contract.open_inference import hash_writer
from tests.contract.open_inference.conftest import World
from tests.contract.open_inference.test_generation import ENDLESS, publish
from wintergarden.cli.app import app as command
from wintergarden.client import connect, connect_async
from wintergarden.errors import DeadlineExceeded, InvalidArgument, NotFound, Overloaded, Unsupported

PROMPT, SEED = "die katze", 9
EXPECTED = hash_writer.expected(PROMPT, 30, Sampling(temperature=0.5, top_k=6, seed=SEED))
OPTIONS = {"max_tokens": 30, "temperature": 0.5, "top_k": 6, "seed": SEED}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("writing"), "native")
    publish(world, "writer.step")
    publish(world, "endless", generation=ENDLESS)
    world.publish("sum")
    # The main model of a family whose step graph writes.
    world.publish("writer", "writer (int64[n, 2] prompt) => (int64[n, 2] t) { t = Neg (prompt) }")
    app, _ = world.serve(max_batch_rows=1, max_waiting=1)
    yield f"127.0.0.1:{app.server.ports[0]}", app
    world.close()


def test_pieces_come_one_by_one_and_say_how_it_ended(address):
    with connect(address[0]) as client:
        pieces = list(client.generate("writer", PROMPT, **OPTIONS))
    assert [piece.token for piece in pieces] == EXPECTED
    assert "".join(piece.text for piece in pieces) == hash_writer.text(EXPECTED)
    assert [bool(piece.finish_reason) for piece in pieces] == [False] * 29 + [True]
    assert all(piece.log_probability < 0 for piece in pieces)


def test_ids_are_a_prompt_and_a_stop_is_a_text(address):
    ids = hash_writer.VOCABULARY.encode([PROMPT])[0].tolist()
    text = hash_writer.text(EXPECTED)
    with connect(address[0]) as client:
        pieces = list(client.generate("writer.step", ids, stop=text[5:8], **OPTIONS))
    assert "".join(piece.text for piece in pieces) == text[: text.find(text[5:8])]
    assert pieces[-1].finish_reason == "stop"


def test_the_asyncio_client_reads_the_same(address):
    async def read():
        async with connect_async(address[0]) as client:
            return [piece.token async for piece in client.generate("writer", PROMPT, **OPTIONS)]

    assert asyncio.run(read()) == EXPECTED


def test_who_stops_reading_stops_the_writing(address):
    generator = address[1].repository.resolve("endless").generator.scheduler
    with connect(address[0]) as client:
        pieces = client.generate("endless", "a", max_tokens=65_536)
        next(pieces)
        assert generator.active == 1
        pieces.close()
        World.eventually(lambda: not generator.active, 30)


def test_errors_have_their_types(address):
    with connect(address[0]) as client:
        with pytest.raises(InvalidArgument, match="max_tokens"):
            list(client.generate("writer", PROMPT, max_tokens=0))
        with pytest.raises(InvalidArgument, match="no option 'wings'"):
            client.generate("writer", PROMPT, wings=2)
        with pytest.raises(NotFound, match="nobody"):
            client.generate("nobody", PROMPT)
        with pytest.raises(Unsupported, match=r"'sum' writes no texts: it takes a, b"):
            client.generate("sum", PROMPT)
        with pytest.raises(DeadlineExceeded):
            list(client.generate("endless", "a", max_tokens=65_536, timeout_s=0.2))


def test_a_full_server_says_when_to_come_again(address):
    generator = address[1].repository.resolve("endless").generator.scheduler
    with connect(address[0]) as client:
        World.eventually(lambda: not generator.active, 30)
        writing = client.generate("endless", "a", max_tokens=65_536)
        next(writing)

        async def wait_in_line():
            async with connect_async(address[0]) as other:
                waiting = asyncio.create_task(
                    anext(other.generate("endless", "a", max_tokens=65_536))
                )
                await asyncio.to_thread(World.eventually, lambda: generator.waiting, 30)
                with pytest.raises(Overloaded) as caught:
                    await anext(other.generate("endless", "a", max_tokens=2))
                assert caught.value.retry_after_s == 1.0
                waiting.cancel()

        asyncio.run(wait_in_line())
        writing.close()


def test_the_command_writes_the_text_and_nothing_else(address):
    arguments = ["-n", "30", "-t", "0.5", "--top-k", "6", "--seed", str(SEED), "-a", address[0]]
    plain = CliRunner().invoke(command, ["generate", "writer", PROMPT, *arguments])
    assert plain.exit_code == 0, plain.output
    assert plain.stdout == hash_writer.text(EXPECTED)
    piped = CliRunner().invoke(command, ["generate", "writer", "-", *arguments], input=PROMPT)
    assert piped.stdout == plain.stdout
    as_json = CliRunner().invoke(command, ["generate", "writer", PROMPT, *arguments, "--json"])
    assert [json.loads(line)["token"] for line in as_json.stdout.splitlines()] == EXPECTED
