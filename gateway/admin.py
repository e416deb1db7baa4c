"""Triton's calls that change a server for everybody: passed on only where that was asked for.

They load what the caller sends, map the memory of the host and write log and trace files. The
gateway is where strangers come in; an administrator has the inference service's own address.
"""

from __future__ import annotations

from wintergarden.errors import PermissionDenied
from wintergarden.service.transport import Call, Route
from wintergarden.wire.pool import methods

SERVICE = "inference.GRPCInferenceService"
ADMIN_CALLS = frozenset({
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
})  # fmt: skip


def refusals() -> list[Route]:
    """A route for each admin call that says who answers it."""
    return [
        Route(method.path, _refuse, is_inline=True)
        for method in methods(SERVICE).values()
        if method.name in ADMIN_CALLS
    ]


def _refuse(call: Call) -> None:
    name = call.method.rpartition("/")[2]
    raise PermissionDenied(
        f"{name} is an admin call, and this gateway does not pass those on; call the inference "
        "service at its own address, or start the gateway with --admin-calls "
        "(GATEWAY_ADMIN_CALLS=true)"
    )
