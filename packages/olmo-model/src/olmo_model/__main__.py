"""``python -m olmo_model``, and under a launcher ``torchrun … -m olmo_model``."""

from .cli import main

main()
