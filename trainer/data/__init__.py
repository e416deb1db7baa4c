"""Data sets that ship with the packages we depend on: nothing is downloaded."""
