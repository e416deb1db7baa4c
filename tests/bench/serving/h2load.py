"""nghttp2's load client, which costs a tenth of what a Python client does.

It knows HTTP only, so it measures servers whose answers were found right just before.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from clients import CONNECTIONS, INFER
from load import tree_cpu


def is_installed() -> bool:
    return shutil.which("h2load") is not None


def measure(
    port: int, path: str, body: Path, pids: list[int], concurrency: int, seconds: float
) -> dict[str, Any]:
    """One line's numbers.

    Args:
        port: of the server on this machine.
        path: of a raw HTTP/1.1 server; empty for gRPC.
        body: file with what each request carries.
        pids: of the server's processes.
        concurrency: requests at once.
        seconds: that it takes.
    """
    connections = concurrency if path else min(CONNECTIONS, concurrency)
    flags = ["-c", str(connections), "-m", str(max(1, concurrency // connections))]
    if path:
        flags = ["--h1", *flags, "-H", "content-type: application/octet-stream"]
    else:
        flags += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    before = tree_cpu(pids)
    ran = subprocess.run(
        [
            "h2load",
            "-D",
            f"{1000 * seconds:.0f}ms",
            "-d",
            body,
            *flags,
            f"http://127.0.0.1:{port}{path or INFER}",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    used = sum(s - before.get(pid, 0) for pid, s in tree_cpu(pids).items())
    done, failed, errored = (_count(word, ran.stdout) for word in ("done", "failed", "errored"))
    (rate,) = re.findall(r"([\d.]+) req/s", ran.stdout)[:1]
    return {
        "client": "h2load",
        "concurrency": concurrency,
        "answered": done,
        "errors": failed + errored,
        "wrong": 0,
        "requests_per_s": float(rate),
        "server_us": round(1e6 * used / max(1, done), 1),
    }


def _count(word: str, output: str) -> int:
    found = re.search(rf"(\d+) {word}", output)
    if found is None:
        raise RuntimeError(f"h2load said nothing of requests {word}: {output[-500:]}")
    return int(found[1])
