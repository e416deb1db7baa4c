"""Architectures, one file each. To add one: write its file, name it in `registry.MODULES`."""
