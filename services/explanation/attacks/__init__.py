"""Attacks: inputs changed as little as allowed so that the model errs."""
