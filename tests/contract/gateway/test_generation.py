"""Texts that a real inference service writes come through the gateway as they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from services.inference.generation.sampling import Sampling
from tests.contract.open_inference import hash_writer
from tests.contract.open_inference.conftest import World
from tests.contract.open_inference.test_generation import ENDLESS, publish
from wintergarden.client import connect
from wintergarden.errors import InvalidArgument, NotFound

PROMPT, LENGTH, SEED = "die katze", 30, 9


def alone(seed: int) -> list[int]:
    return hash_writer.expected(PROMPT, LENGTH, Sampling(seed=seed))


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The service, and where the gateway finds it."""
    world = World(tmp_path_factory.mktemp("writer"), "native")
    publish(world)
    publish(world, "endless", generation=ENDLESS)
    socket = Path(tmp_path_factory.mktemp("socket")) / "inference.sock"
    app, _ = world.serve(max_batch_rows=8, max_waiting=64, socket=socket)
    yield app, {"inference": f"127.0.0.1:{app.server.ports[0]}", "inference_socket": socket}
    world.close()


@pytest.fixture(params=["socket", "client", "grpcio"])
def address(
    request: pytest.FixtureRequest, deploy: Callable[..., Any], writer: tuple[Any, dict[str, Any]]
) -> str:
    """Of a gateway before it."""
    where = dict(writer[1])
    if request.param != "socket":
        where["inference_socket"] = None
    target: str = deploy(request.param, **where).target
    return target


def test_pieces_come_while_it_is_still_writing(address: str, writer: tuple[Any, Any]) -> None:
    scheduler = writer[0].repository.resolve("endless").generator.scheduler
    with connect(address) as client:
        pieces = client.generate("endless", "a", max_tokens=65_536)
        for _ in range(5):
            next(pieces)
        assert scheduler.active == 1
        pieces.close()
        World.eventually(lambda: not scheduler.active, 30)


def test_many_at_once_are_each_as_if_alone(address: str) -> None:
    with connect(address) as client:
        writers = [
            client.generate("writer", PROMPT, max_tokens=LENGTH, seed=seed)
            for seed in range(SEED, SEED + 6)
        ]
        told = [*zip(*zip_longest(*writers), strict=True)]  # a piece of each in turn
    for seed, pieces in enumerate(told, SEED):
        own = [piece for piece in pieces if piece]
        assert [piece.token for piece in own] == alone(seed)
        assert "".join(piece.text for piece in own) == hash_writer.text(alone(seed))
        assert [bool(piece.finish_reason) for piece in own] == [False] * (len(own) - 1) + [True]


def test_what_goes_wrong_is_told_as_the_service_tells_it(address: str) -> None:
    with connect(address) as client:
        with pytest.raises(InvalidArgument, match="max_tokens"):
            list(client.generate("writer", PROMPT, max_tokens=0))
        with pytest.raises(NotFound, match="nobody"):
            list(client.generate("nobody", PROMPT))
