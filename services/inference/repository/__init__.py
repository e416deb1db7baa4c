"""Which model versions are served, and who decides it."""
