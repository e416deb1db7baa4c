"""Pictures of answers as PNG. Plain arrays and words in, bytes out; knows no model and no wire.

Figures are made through matplotlib's object interface alone: pyplot keeps global state that
threads would share.
"""
