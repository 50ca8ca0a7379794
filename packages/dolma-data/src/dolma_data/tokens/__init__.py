"""``dolma-data tokens``, ``train-tokenizer`` and ``reshard``: documents as token ids."""
