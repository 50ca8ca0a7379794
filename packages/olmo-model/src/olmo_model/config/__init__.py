"""Every setting as plain dataclasses. Nothing here imports torch, so that ``--help`` stays fast."""
