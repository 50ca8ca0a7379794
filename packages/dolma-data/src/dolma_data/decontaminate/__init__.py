"""``dolma-data decontaminate``: evaluation text in training documents."""
