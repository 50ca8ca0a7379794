"""Curation of text corpora: extraction, tagging, deduplication, decontamination, mixing, tokenisation."""

__version__ = "0.1.0"
