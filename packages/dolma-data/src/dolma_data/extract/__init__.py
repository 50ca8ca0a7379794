"""``dolma-data extract`` and ``warc``: documents out of files, web archives and Python itself."""
