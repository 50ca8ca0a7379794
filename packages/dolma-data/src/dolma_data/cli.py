"""Command line of dolma-data."""

from __future__ import annotations

import sys

from .command_line import make_app, run
from .errors import UserError

app = make_app(
    "dolma-data",
    "dolma-data",
    "Curation of text corpora: extraction, tagging, deduplication, decontamination, mixing, tokenisation.",
)


@app.command
def tag() -> None:
    """Score documents with taggers and write the scores as attributes beside them."""
    raise UserError("tag is not built yet")


@app.command
def dedupe() -> None:
    """Find repeated documents or paragraphs and write them as attributes."""
    raise UserError("dedupe is not built yet")


@app.command
def decontaminate() -> None:
    """Find evaluation text in documents and write it as attributes."""
    raise UserError("decontaminate is not built yet")


@app.command
def stat() -> None:
    """Summarise attributes as histograms."""
    raise UserError("stat is not built yet")


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(app))
