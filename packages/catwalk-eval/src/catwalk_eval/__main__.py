"""``python -m catwalk_eval``, and under a launcher ``torchrun … -m catwalk_eval``."""

from .cli import main

main()
