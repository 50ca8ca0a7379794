"""fastText models: read, scored, trained, kept by name."""
