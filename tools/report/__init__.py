"""The parts of ``tools/report.py``: a self-contained page from the artifacts that a recipe run leaves on disk."""
