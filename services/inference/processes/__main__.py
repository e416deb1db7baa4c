"""`python -m services.inference.processes`: one child, started by the parent and by nobody else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from services.inference.app import App
from services.inference.processes.member import Member, Place
from services.inference.processes.parent import VARIABLE
from services.inference.settings import InferenceSettings
from wintergarden.errors import WintergardenError
from wintergarden.service import logging
from wintergarden.service.lifecycle import run
from wintergarden.service.orphan import SUPERVISOR_VARIABLE


def main() -> None:
    told = os.environ.get(VARIABLE)
    if told is None:
        sys.exit("this is a part of python -m services.inference --processes N; start that")
    values = json.loads(told)
    folder = Path(values["place"].pop("folder"))
    place = Place(folder=folder, **values["place"])
    settings = InferenceSettings(**values["settings"])
    logging.configure(f"inference.{place.process}", settings)
    member = Member(place, on_failure=lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        run(App(settings, member), settings)
    except (WintergardenError, OSError) as error:
        sys.exit(f"services.inference: process {place.process}: {error}")
    finally:
        member.stop()
    if str(os.getppid()) != os.environ.get(SUPERVISOR_VARIABLE):
        shutil.rmtree(folder, ignore_errors=True)  # the parent could not


if __name__ == "__main__":
    main()
