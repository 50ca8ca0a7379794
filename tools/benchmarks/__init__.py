"""Benchmarks against other tools: the same files, both in turn, medians, ratios."""
