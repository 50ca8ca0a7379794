"""Creative Commons licences that a web page links to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import regex  # type: ignore[import-untyped]

from ..batch import Batch, Spans, listed_spans
from .registry import tagger

SOURCE = "regular expressions of dkpro/dkpro-c4corpus (Habernal et al. 2016), as in allenai/dolma"
PLACES = ("creativecommons.org/licenses", "creativecommons.org/publicdomain")
LINK = regex.compile(
    r"""<(?:a|A|meta)\s[\w\p{Punct}\s=]*\n*(?:href|HREF|content)=(?:'|"|&quot;)?https*://creativecommons\.org/"""
    r"""(?:licenses/(?P<type>by(?:-nc)?(?:-nd)?(?:-sa)?)|(?P<type>publicdomain/(?:zero|certification|mark)))"""
    r"""(?P<version>/\d+\.\d+)?(?:(?:/\w{2})?/(?:(?:deed|legalcode)\.)?(?P<lang>\w{2}))?.*?(?:'|"|&quot;).*?>"""
)
BARE_LINK = regex.compile(
    r"""https?://creativecommons\.org/licenses/(?P<type>by|by-sa|by-nd|by-nc|by-nc-sa|by-nc-nd|publicdomain)["/ >]"""
)


@tagger("cc_re", types=("*",), source=SOURCE)
def cc_re(batch: Batch) -> Iterator[Spans]:
    """Creative Commons licences of the links in metadata.html: a type by licence, version and language.

    The first link of a page scores 1, the k-th 0.5 + 0.5 / k.
    """
    return _licences(batch, LINK)


@tagger("cc_re_fast", types=("*",), source=SOURCE)
def cc_re_fast(batch: Batch) -> Iterator[Spans]:
    """Creative Commons licences named anywhere in metadata.html, without version and language."""
    return _licences(batch, BARE_LINK)


def _licences(batch: Batch, pattern: Any) -> Iterator[Spans]:
    found: dict[str, list[tuple[int, int, int, float]]] = {}
    for document, row in enumerate(batch.documents):
        html = (row.get("metadata") or {}).get("html")
        if not isinstance(html, str) or not any(place in html for place in PLACES):
            continue
        for k, match in enumerate(pattern.finditer(html), start=1):
            parts = match.groupdict()
            name = "_".join(part.strip("/") for part in parts.values() if part is not None)
            found.setdefault(f"cc_{name}", []).append((document, 0, len(row["text"]), 0.5 + 0.5 / k))
    for name in sorted(found):
        yield listed_spans(name, found[name])
