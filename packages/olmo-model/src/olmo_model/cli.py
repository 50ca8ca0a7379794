"""Command line of olmo-model."""
