"""The whole system on one machine: what to start, how to keep it running, how to end it.

    up (talks to the person) ── supervisord ──┬─ valkey-server
                                              ├─ python -m services.inference
                                              ├─ python -m services.explanation
                                              ├─ python -m trainer
                                              └─ python -m gateway

supervisord restarts what dies, slower each time, and stops in order. Every process starts on a
leash (`leash.py`): it ends when its parent does, and no second one of its kind runs on the same
data. Nothing here imports a room.
"""
