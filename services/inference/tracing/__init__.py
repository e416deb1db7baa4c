"""Triton's trace extension."""
