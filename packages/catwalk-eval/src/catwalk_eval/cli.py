"""Command line of catwalk-eval."""
