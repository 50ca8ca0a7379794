"""``dolma-data stat``, ``analyze`` and ``why``: what attributes, a corpus and a document hold."""
