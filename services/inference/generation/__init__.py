"""Texts written by step graphs: many at once, token by token, each with states of its own."""
