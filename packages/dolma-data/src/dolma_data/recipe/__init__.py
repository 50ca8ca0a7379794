"""``dolma-data run``: whole pipelines in one file."""
