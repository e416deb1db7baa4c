"""Data sets: those that ship with the packages we depend on, and those that users uploaded."""
