"""Settings of the commands, one dataclass tree each; nothing heavy is imported here, so that ``--help`` is fast."""
