"""tritonclient's shared memory, as its examples use it, and what it must not be able to do.

python use_shared_memory.py HOST:PORT
"""

import os
import sys

import numpy as np
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

(address,) = sys.argv[1:]
PREFIX = f"/wintergarden-test-{os.getpid()}"


def refused(status, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        assert error.status() == f"StatusCode.{status}", error
        return error.message()
    raise AssertionError(f"{call.__name__}{arguments} was not refused")


with triton.InferenceServerClient(address) as client:
    # Other clients share the server: nothing of theirs is touched.
    given, taken = f"given-{os.getpid()}", f"taken-{os.getpid()}"
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    source = shm.create_shared_memory_region(given, f"{PREFIX}-in", 2 * x.nbytes)
    target = shm.create_shared_memory_region(taken, f"{PREFIX}-out", 256)
    try:
        shm.set_shared_memory_region(source, [x, -x])
        client.register_system_shared_memory(given, f"{PREFIX}-in", 2 * x.nbytes)
        client.register_system_shared_memory(taken, f"{PREFIX}-out", 256)
        refused("ALREADY_EXISTS", client.register_system_shared_memory, given, f"{PREFIX}-in", 8)
        region = client.get_system_shared_memory_status(given).regions[given]
        assert (region.key, region.offset, region.byte_size) == (f"{PREFIX}-in", 0, 64), region
        assert {given, taken} <= set(client.get_system_shared_memory_status().regions)

        def ask(byte_size=x.nbytes, offset=0, region=given, room=96):
            asked = triton.InferInput("x", list(x.shape), np_to_triton_dtype(x.dtype))
            asked.set_shared_memory(region, byte_size, offset)
            logits = triton.InferRequestedOutput("logits")
            logits.set_shared_memory(taken, room, 32)
            return client.infer(
                "classifier",
                [asked],
                outputs=[triton.InferRequestedOutput("probabilities"), logits],
            )

        def plain(array):
            asked = triton.InferInput("x", list(array.shape), "FP32")
            asked.set_data_from_numpy(array)
            return client.infer("classifier", [asked])

        for offset, array in ((0, x), (x.nbytes, -x)):
            answer, expected = ask(offset=offset), plain(array)
            logits = answer.get_output("logits")
            assert logits.parameters["shared_memory_region"].string_param == taken
            assert logits.parameters["shared_memory_byte_size"].int64_param == 24
            got = shm.get_contents_as_numpy(target, np.float32, logits.shape, 32)
            np.testing.assert_array_equal(got, expected.as_numpy("logits"))
            probabilities = answer.as_numpy("probabilities")
            np.testing.assert_array_equal(probabilities, expected.as_numpy("probabilities"))

        assert "needs 32 bytes, got 16" in refused("INVALID_ARGUMENT", ask, byte_size=16)
        assert "of a region of 64 bytes" in refused("INVALID_ARGUMENT", ask, offset=48)
        assert "do not fit into the 8 bytes" in refused("INVALID_ARGUMENT", ask, room=8)
        assert "no shared memory region" in refused("NOT_FOUND", ask, region="nobody's")
        for key in ("/../../etc/passwd", "a/b", "/wintergarden-no-such-object"):
            refused("INVALID_ARGUMENT", client.register_system_shared_memory, "r", key, 8)
        refused("INVALID_ARGUMENT", client.register_system_shared_memory, "r", f"{PREFIX}-in", 65)

        # A truncated object costs an answer and no server.
        os.truncate(f"/dev/shm{PREFIX}-in", 8)
        assert "not there any more" in refused("INVALID_ARGUMENT", ask)

        client.unregister_system_shared_memory(given)
        refused("NOT_FOUND", ask)
        refused("NOT_FOUND", client.get_system_shared_memory_status, given)
        client.unregister_system_shared_memory(given)  # no error, as in Triton
        client.unregister_system_shared_memory(taken)

        refused("UNIMPLEMENTED", client.get_cuda_shared_memory_status)
        refused("UNIMPLEMENTED", client.register_cuda_shared_memory, "c", b"", 0, 8)
        refused("UNIMPLEMENTED", client.unregister_cuda_shared_memory)
    finally:
        shm.destroy_shared_memory_region(source)
        shm.destroy_shared_memory_region(target)
