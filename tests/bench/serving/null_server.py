"""A server that reads requests and answers nothing: what the traffic alone costs a machine.

python tests/bench/serving/null_server.py 127.0.0.1:8501
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from wintergarden.service.transport import Call, Route, ServerOptions, create_server

INFER = "/inference.GRPCInferenceService/ModelInfer"


def answer(calls: Sequence[Call]) -> None:
    for call in calls:
        call.respond(b"")


def main(address: str) -> None:
    route = Route(INFER, lambda call: answer([call]), is_inline=True, batch_handler=answer)
    server = create_server([route], [address], ServerOptions(transport="native"))
    server.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main(*sys.argv[1:])
