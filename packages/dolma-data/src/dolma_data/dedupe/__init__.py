"""``dolma-data dedupe``: repeated documents, paragraphs and substrings."""
