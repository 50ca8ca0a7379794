"""Command line of paloma-ppl."""
