"""Personal data as Microsoft's Presidio finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from ..batch import Batch, Places, Spans
from ..errors import UserError
from .personal_data import CONTEXT, IN_URL, KINDS, drop_book_numbers, spans_and_fraction_of_words
from .registry import TaggerOptions, tagger

Find = Callable[[str], Iterator[tuple[str, int, int]]]


@tagger(
    "pii_presidio_v1",
    types=(*KINDS, "doc"),
    source="the package presidio-analyzer, English; what is dropped as in allenai/dolma's pii_regex_v2",
    extra="presidio",
    differences=(CONTEXT, IN_URL),
)
def pii_presidio_v1(batch: Batch, options: TaggerOptions) -> Iterator[Spans]:
    """E-mail addresses, telephone numbers and IP addresses by Presidio's patterns; else as pii_regex_v2."""
    find = _finder()
    places = {name: Places() for name in KINDS}
    for document, text in enumerate(batch.texts):
        for name, start, end in find(text):
            places[name].add(document, [(start, end)])
    found = {name: each.rows() for name, each in places.items()}
    yield from spans_and_fraction_of_words(batch, drop_book_numbers(batch, found, options))


@cache
def _finder() -> Find:
    """Presidio's recognisers of the three types, by themselves: they need no model of language and no network."""
    try:
        import tldextract
        from presidio_analyzer import EntityRecognizer
        from presidio_analyzer.predefined_recognizers import EmailRecognizer, IpRecognizer, PhoneRecognizer
    except ImportError as error:
        fix = "run pip install 'dolma-data[presidio]'"
        raise UserError("the package presidio-analyzer is not installed", fix=fix) from error
    # The list of top-level domains inside the package; by default it would be fetched.
    domains = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    class OfflineEmailRecognizer(EmailRecognizer):  # type: ignore[misc]
        def validate_result(self, pattern_text: str) -> bool:
            return bool(domains(pattern_text).fqdn)

    recognizers = (OfflineEmailRecognizer(), PhoneRecognizer(), IpRecognizer())

    def find(text: str) -> Iterator[tuple[str, int, int]]:
        results = [each for one in recognizers for each in one.analyze(text, list(KINDS), None) or ()]
        for result in sorted(EntityRecognizer.remove_duplicates(results), key=lambda each: (each.start, each.end)):
            yield result.entity_type, result.start, result.end

    return find
