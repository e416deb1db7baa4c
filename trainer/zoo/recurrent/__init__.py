"""Recurrent layers, how they are exported, and the networks that are made of them."""
