"""``python -m dolma_data``."""

from .cli import main

main()
