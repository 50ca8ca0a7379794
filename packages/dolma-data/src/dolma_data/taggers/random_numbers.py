"""Random numbers that repeat."""

from __future__ import annotations

from collections.abc import Iterator

import xxhash

from ..batch import Batch, Spans, whole_documents
from .registry import TaggerOptions, tagger

DIFFERENCE = "random-numbers"


@tagger(
    "random_number_v1",
    types=("random",),
    source="the hash XXH3 of --seed, source and id",
    differences=(DIFFERENCE,),
)
def random_number_v1(batch: Batch, options: TaggerOptions) -> Iterator[Spans]:
    """A number of [0, 1), even over documents, always the same for the same seed, source and id."""
    keys = (f"{options.seed}\0{document.get('source', '')}\0{document['id']}" for document in batch.documents)
    # 53 bits, so that no number is rounded up to 1
    numbers = [(xxhash.xxh3_64_intdigest(key.encode()) >> 11) / (1 << 53) for key in keys]
    yield whole_documents(batch, "random", numbers)
