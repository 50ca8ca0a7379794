"""Command line of dolma-data."""
