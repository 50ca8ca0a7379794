"""Downstream evaluation by rank classification with correct statistics."""

__version__ = "0.1.0"
