"""Lets multiprocessing start under the interpreter inside Triton's Python backend.

That interpreter is an older 3.11 than the standard library it finds, which asks the resource
tracker's lock how often it is held.
"""

import threading
from multiprocessing import resource_tracker


class _Lock:
    def __init__(self):
        self._lock = threading.Lock()

    def __enter__(self):
        return self._lock.__enter__()

    def __exit__(self, *error):
        return self._lock.__exit__(*error)

    def _recursion_count(self):
        return 1


if not hasattr(resource_tracker._resource_tracker._lock, "_recursion_count"):
    resource_tracker._resource_tracker._lock = _Lock()
