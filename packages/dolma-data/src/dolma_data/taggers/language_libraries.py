"""Languages of documents and paragraphs by the libraries CLD2, langdetect and lingua, each an optional dependency."""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import regex  # type: ignore[import-untyped]

from ..batch import Batch, RowSizes, Spans
from ..errors import UserError
from ..pieces import PART_PIECES, Pieces, paragraphs, whole_texts
from .language import ENGLISH, document_scores
from .registry import PreparedTagger, Tagger, TaggerOptions, add, first_line, refuse

CLD2_NAMES = "cld2-names-for-codes"
CLD2_GIANTS = "cld2-giant-texts"
LINGUA_GIANTS = "lingua-giant-texts"
LONGEST_TEXT = 4 << 20  # code points that are looked at
CONTROL = regex.compile(r"[\p{Cc}\p{Cs}]+")
UNKNOWN = "un"  # CLD2's code where it finds no further language
WORTH_NOTING = 0.01

Guesses = list[tuple[str, float]]
Guess = Callable[[str], Guesses]
SOURCES = {
    "cld2": "CLD2 (CLD2Owners/cld2), by the package pycld2",
    "langdetect": "langdetect (Shuyo 2010), seed 0",
    "lingua": "lingua (pemistahl/lingua-py), all languages",
}


def _import(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        fix = f"run pip install 'dolma-data[{extra}]'"
        raise UserError(f"the package {module}, which guesses languages, is not installed", fix=fix) from error


def cld2_guess(options: TaggerOptions) -> Guess:
    """Up to three languages with their share of the text; none where CLD2 finds its guess not reliable.

    Text that CLD2 refuses is tried again transliterated to ASCII, then without control characters. Of a giant text it
    looks at the beginning, since each try makes a copy.
    """
    cld2, anyascii = _import("pycld2", "cld2"), _import("anyascii", "cld2").anyascii
    names = options.reproduces(CLD2_NAMES)
    longest = None if options.reproduces(CLD2_GIANTS) else LONGEST_TEXT

    def guess(text: str) -> Guesses:
        text = text[:longest]
        for attempt in (lambda text: text, anyascii, lambda text: CONTROL.sub("", text)):
            try:
                reliable, _, found = cld2.detect(attempt(text))
            except cld2.error:
                continue
            if not reliable:
                return []
            if names:
                return [(name[:2].lower(), percent / 100.0) for name, _, percent, _ in found]
            return [(code, percent / 100.0) for _, code, percent, _ in found if code != UNKNOWN]
        return []

    return guess


def langdetect_guess(options: TaggerOptions) -> Guess:
    """Languages with their probabilities; the same text gives the same ones."""
    factory = _langdetect_factory()
    failure = _import("langdetect", "langdetect").LangDetectException

    def guess(text: str) -> Guesses:
        detector = factory.create()
        try:
            detector.append(text)
            return [(found.lang.strip().lower(), float(found.prob)) for found in detector.get_probabilities()]
        except failure:
            return []

    return guess


@cache
def _langdetect_factory() -> Any:
    langdetect = _import("langdetect", "langdetect")
    factory = langdetect.DetectorFactory()
    factory.load_profile(langdetect.PROFILES_DIRECTORY)
    factory.set_seed(0)
    return factory


def lingua_guess(options: TaggerOptions) -> Guess:
    """Every language that lingua knows, by its code of two letters, with its confidence.

    Of a giant text it looks at the beginning: it takes up to 40 bytes of memory for a character.
    """
    detector = _lingua_detector()
    longest = None if options.reproduces(LINGUA_GIANTS) else LONGEST_TEXT

    def guess(text: str) -> Guesses:
        values = detector.compute_language_confidence_values(text[:longest])
        return [(found.language.iso_code_639_1.name.lower(), float(found.value)) for found in values]

    return guess


@cache
def _lingua_detector() -> Any:
    lingua = _import("lingua", "lingua")
    return lingua.LanguageDetectorBuilder.from_all_languages().build()


def _texts(batch: Batch, pieces: Pieces) -> Iterable[str]:
    places = zip(pieces.documents.tolist(), pieces.starts.tolist(), pieces.ends.tolist(), strict=True)
    return (batch.texts[document][start:end] for document, start, end in places)


def _languages(batch: Batch, pieces: Pieces, guess: Guess, digits: int | None = None) -> Iterator[Spans]:
    where: dict[str, array[int]] = {}
    scores: dict[str, array[float]] = {}
    sizes = RowSizes(len(batch))
    for begin in range(0, len(pieces), PART_PIECES):
        part = pieces.part(begin, begin + PART_PIECES)
        counts = np.zeros(len(part), dtype=np.int64)
        for at, text in enumerate(_texts(batch, part)):
            for language, score in guess(text):
                if digits is None or score > WORTH_NOTING:
                    where.setdefault(language, array("q")).append(begin + at)
                    scores.setdefault(language, array("d")).append(score if digits is None else round(score, digits))
                    counts[at] += 1
        sizes.add(*(np.repeat(column, counts) for column in (part.documents, part.starts, part.ends)))
    for language in sorted(where):
        yield pieces.spans(language, np.array(scores[language]), np.array(where[language], dtype=np.int64))


def _english(batch: Batch, pieces: Pieces, guess: Guess) -> Any:
    return np.array([dict(guess(text)).get("en", 0.0) for text in _texts(batch, pieces)], dtype=np.float64)


def _score_documents(batch: Batch, guess: Guess) -> Iterator[Spans]:
    """Languages of a document with their scores, one type a language."""
    return _languages(batch, whole_texts(batch), guess)


def _score_documents_rounded(batch: Batch, guess: Guess) -> Iterator[Spans]:
    """Languages of a document with scores above 0.01, rounded to two digits."""
    return _languages(batch, whole_texts(batch), guess, digits=2)


def _score_paragraphs(batch: Batch, guess: Guess) -> Iterator[Spans]:
    """Languages of each paragraph that is not blank."""
    return _languages(batch, paragraphs(batch), guess)


def _score_english(batch: Batch, guess: Guess) -> Iterator[Spans]:
    """Score of English (en) and what it leaves to 1 (not_en) of a document."""
    return _both(whole_texts(batch), batch, guess)


def _score_english_paragraphs(batch: Batch, guess: Guess) -> Iterator[Spans]:
    """Score of English (en) and what it leaves to 1 (not_en) of each paragraph."""
    return _both(paragraphs(batch), batch, guess)


def _score_english_only(batch: Batch, guess: Guess) -> Iterator[Spans]:
    """Score of English of a document."""
    pieces = whole_texts(batch)
    yield pieces.spans("en", _english(batch, pieces, guess))


def _score_english_with_document(batch: Batch, guess: Guess) -> Iterator[Spans]:
    """Score of English of each paragraph, and their mean over all characters of the document."""
    pieces = paragraphs(batch)
    scores = _english(batch, pieces, guess)
    yield pieces.spans("en", scores)
    yield pieces.spans("not_en", 1.0 - scores)
    yield from document_scores(batch, pieces, scores)


def _both(pieces: Pieces, batch: Batch, guess: Guess) -> Iterator[Spans]:
    scores = _english(batch, pieces, guess)
    yield pieces.spans("en", scores)
    yield pieces.spans("not_en", 1.0 - scores)


def _enter(
    name: str,
    types: tuple[str, ...],
    score: Callable[[Batch, Guess], Iterator[Spans]],
    make: Callable[[TaggerOptions], Guess],
    *differences: str,
) -> None:
    library = make.__name__.removesuffix("_guess")

    def prepare(options: TaggerOptions) -> PreparedTagger:
        guess = make(options)
        return PreparedTagger(name, types, SOURCES[library], lambda batch: score(batch, guess))

    about = first_line(score.__doc__)
    add(Tagger(name, types, SOURCES[library], prepare, about, extra=library, differences=differences))


ANY = ("*",)
WITH_DOCUMENT = (*ENGLISH, "doc_en", "doc_not_en")
_enter("cld2_doc_v2", ANY, _score_documents, cld2_guess, CLD2_NAMES, CLD2_GIANTS)
_enter("cld2_paragraph_v2", ANY, _score_paragraphs, cld2_guess, CLD2_NAMES, CLD2_GIANTS)
_enter("cld2_en_doc_v2", ENGLISH, _score_english, cld2_guess, CLD2_GIANTS)
_enter("cld2_en_paragraph_v2", ENGLISH, _score_english_paragraphs, cld2_guess, CLD2_GIANTS)
_enter("cld2_en_paragraph_with_doc_score_v2", WITH_DOCUMENT, _score_english_with_document, cld2_guess, CLD2_GIANTS)
_enter("langdetect_doc_v1", ANY, _score_documents, langdetect_guess)
_enter("langdetect_paragraph_v1", ANY, _score_paragraphs, langdetect_guess)
_enter("langdetect_doc_en_v1", ENGLISH, _score_english, langdetect_guess)
_enter("langdetect_en_paragraph_v1", ENGLISH, _score_english_paragraphs, langdetect_guess)
_enter("lingua_doc_v1", ANY, _score_documents, lingua_guess, LINGUA_GIANTS)
_enter("lingua_1e2", ANY, _score_documents_rounded, lingua_guess, LINGUA_GIANTS)
_enter("lingua_par_v1", ANY, _score_paragraphs, lingua_guess, LINGUA_GIANTS)
_enter("lingua_doc_en_v1", ENGLISH, _score_english, lingua_guess, LINGUA_GIANTS)
_enter("lingua_en_par_v1", ENGLISH, _score_english_paragraphs, lingua_guess, LINGUA_GIANTS)
_enter("lingua_en_only_v1", ("en",), _score_english_only, lingua_guess, LINGUA_GIANTS)

for _name in ("cld3_en_doc_v2", "cld3_en_paragraph_v2", "cld3_en_paragraph_with_doc_score_v2"):
    refuse(_name, "CLD3 has no package that installs without a compiler; ft_lang_id_* and lingua_* tell languages too")
