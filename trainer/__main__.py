"""`python -m trainer`: see `python -m trainer --help`."""

from __future__ import annotations

import sys

from trainer.app import run
from trainer.settings import Settings
from wintergarden.errors import WintergardenError
from wintergarden.service import logging
from wintergarden.service.settings import load


def main() -> None:
    settings = load(Settings, "trainer")
    logging.configure("trainer", settings)
    try:
        sys.exit(run(settings))
    except (WintergardenError, OSError) as error:
        # A wrong address or directory: who starts us needs the line, not the traceback.
        sys.exit(f"trainer: {error}")


if __name__ == "__main__":
    main()
