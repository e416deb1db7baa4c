"""The wire: messages, methods and the tensor codec. Knows no transport and no model.

Messages live in a descriptor pool of our own. The default pool of a Python process can hold
only one file that defines `inference.ModelInferRequest`; tritonclient and kserve bring theirs,
and a second one raises at import (kserve/kserve#3099). A private pool makes the SDK importable
beside them, on protobuf 6 and 7 alike, because no generated Python code is involved.
"""
