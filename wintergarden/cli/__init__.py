"""The command line: `wintergarden …`. A client of the gateway like any other, and its launcher."""

from __future__ import annotations


def main() -> None:
    from wintergarden.cli.app import run

    run()
