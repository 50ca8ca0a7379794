"""``dolma-data mix``: join attributes, keep or leave out documents by rules, replace spans."""
