"""Decoder-only transformer of the OLMo family and its trainer."""

__version__ = "0.1.0"
