"""What a tagger says of one text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dolma_data.batch import Batch
from dolma_data.taggers import TaggerOptions, find_tagger

Found = dict[str, list[tuple[int, int, float]]]


def scores_of(
    name: str, text: str, resource: Path | None = None, differences: Iterable[str] = (), **document: Any
) -> Found:
    """Spans of the text by type, scored as the middle one of three documents."""
    others = [{"id": "", "source": "", "text": other} for other in ("one\ntwo@three.com", "Ende.")]
    batch = Batch([others[0], {"id": "", "source": "", "text": text, **document}, others[1]])
    found: Found = {}
    options = TaggerOptions(((name, (resource,)),) if resource else (), differences=frozenset(differences))
    for spans in find_tagger(name).prepare(options).score(batch):
        assert sorted(spans.documents.tolist()) == spans.documents.tolist()
        columns = (spans.documents.tolist(), spans.starts.tolist(), spans.ends.tolist(), spans.scores.tolist())
        rows = [row[1:] for row in zip(*columns, strict=True) if row[0] == 1]
        if rows:
            found[spans.type] = rows
    return found
