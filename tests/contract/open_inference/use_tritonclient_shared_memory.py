"""Tensors in system shared memory, in and out, and regions that are not what they should be.

python use_tritonclient_shared_memory.py HOST:PORT
"""

import base64
import os
import sys
from contextlib import suppress

import numpy as np
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

NAME = f"wintergarden-{os.getpid()}"
ROWS = 4
SIZE = ROWS * 16 * 4


def fails(status, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        assert error.status() == f"StatusCode.{status}", error
    else:
        raise AssertionError(f"{call.__name__} {arguments} succeeded")


def inputs(offset=0):
    tensors = [triton.InferInput(f"INPUT{i}", [ROWS, 16], "INT32") for i in range(2)]
    for i, tensor in enumerate(tensors):
        tensor.set_shared_memory(NAME, SIZE, offset + i * SIZE)
    return tensors


with triton.InferenceServerClient(sys.argv[1]) as client:
    region = shm.create_shared_memory_region(NAME, f"/{NAME}", 4 * SIZE)
    try:
        client.register_system_shared_memory(NAME, f"/{NAME}", 4 * SIZE)
        status = client.get_system_shared_memory_status(NAME).regions[NAME]
        assert (status.key, status.offset, status.byte_size) == (f"/{NAME}", 0, 4 * SIZE)
        fails("ALREADY_EXISTS", client.register_system_shared_memory, NAME, f"/{NAME}", SIZE)

        outputs = [triton.InferRequestedOutput(f"OUTPUT{i}") for i in range(2)]
        for i, output in enumerate(outputs):
            output.set_shared_memory(NAME, SIZE, (2 + i) * SIZE)
        for seed in range(50):
            a, b = np.random.default_rng(seed).integers(-99, 99, (2, ROWS, 16), np.int32)
            shm.set_shared_memory_region(region, [a, b])
            result = client.infer("simple", inputs(), outputs=outputs)
            assert not result.get_response().raw_output_contents or not any(
                result.get_response().raw_output_contents
            )
            for i, expected in enumerate((a + b, a - b)):
                got = shm.get_contents_as_numpy(region, np.int32, [ROWS, 16], (2 + i) * SIZE)
                assert np.array_equal(got, expected)
            # Of one request, one tensor here and the other in the message.
            mixed = inputs()
            mixed[1] = triton.InferInput("INPUT1", [ROWS, 16], "INT32")
            mixed[1].set_data_from_numpy(b)
            mine = client.infer("simple", mixed, outputs=outputs[:1])
            got = shm.get_contents_as_numpy(region, np.int32, [ROWS, 16], 2 * SIZE)
            assert np.array_equal(got, a + b)
            assert mine.as_numpy("OUTPUT1") is None

        fails("INVALID_ARGUMENT", client.infer, "simple", inputs(offset=3 * SIZE))
        outputs[0].set_shared_memory(NAME, SIZE, 4 * SIZE - 1)
        fails("INVALID_ARGUMENT", client.infer, "simple", inputs(), outputs=outputs)
        outputs[0].set_shared_memory(NAME, SIZE - 1)
        fails("INVALID_ARGUMENT", client.infer, "simple", inputs(), outputs=outputs)
        client.unregister_system_shared_memory(NAME)
        assert NAME not in client.get_system_shared_memory_status().regions
        fails("NOT_FOUND", client.infer, "simple", inputs())
        fails("NOT_FOUND", client.get_system_shared_memory_status, "nobody's")
    finally:
        with suppress(InferenceServerException):
            client.unregister_system_shared_memory(NAME)
        shm.destroy_shared_memory_region(region)

    for key in ("/wintergarden-nothing", "/../etc/passwd", "etc/passwd", ""):
        try:
            client.register_system_shared_memory("elsewhere", key, 16)
        except InferenceServerException as error:
            assert error.status() in ("StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND"), error
        else:
            raise AssertionError(f"{key!r} was registered")
    # Clients forget all regions before they begin, of whatever kind.
    client.unregister_cuda_shared_memory()
    assert not client.get_cuda_shared_memory_status().regions
    fails(
        "UNIMPLEMENTED",
        client.register_cuda_shared_memory,
        "gpu",
        base64.b64encode(b"handle"),
        0,
        16,
    )
