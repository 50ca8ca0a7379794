"""The same weights under other names: Hugging Face's, and those of official OLMo checkpoints."""
