"""Comparison of dolma-data with allenai/dolma: `tools/parity_dolma.py`."""
