"""The whole system: in processes of its own, or anywhere by address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wintergarden.cli.local.background import in_background
from wintergarden.client import Client, connect


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a system that is serving; WINTERGARDEN_E2E_ADDRESS names one that is up already."""
    if elsewhere := os.environ.get("WINTERGARDEN_E2E_ADDRESS"):
        yield elsewhere
        return
    with in_background(tmp_path_factory.mktemp("home")) as system:
        yield system.address


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[Client]:
    with connect(address) as client:
        yield client


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")
