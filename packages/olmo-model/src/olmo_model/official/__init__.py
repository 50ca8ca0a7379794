"""Configuration files of OLMo's own trainer (allenai/OLMo), read as they are."""
