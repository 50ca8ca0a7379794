"""Perplexity over many domains under the controls of Paloma."""

__version__ = "0.1.0"
