"""From an uploaded file to a data set: read without trust, validate, split, report, store.

Runs in a process of its own, with limits, for what is uploaded may be hostile. Knows no torch.
"""
