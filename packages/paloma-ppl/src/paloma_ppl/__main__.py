"""``python -m paloma_ppl``, and under a launcher ``torchrun … -m paloma_ppl``."""

from .cli import main

main()
