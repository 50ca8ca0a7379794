"""Settings of ``dedupe``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from cyclopts import Parameter

from .kinds import Count, Place, Several


@dataclass(frozen=True, kw_only=True)
class DocumentKey:
    """Whole documents are the unit."""

    attribute_name: str
    """Key of the attributes."""

    key: str = "$.text"
    """What makes two documents the same: a field, such as $.text, $.id or $.metadata.url. Documents without a text
    there are compared with nothing, and counted."""


@dataclass(frozen=True, kw_only=True)
class NgramKey:
    """Paragraphs are compared by their n-grams of words (Unicode Standard Annex 29, white space left out)."""

    ngram_length: int = 0
    """Words of an n-gram; 0 compares whole paragraphs."""

    stride: int = 0
    """Words from one n-gram to the next; 0 and 1 take every one."""

    overlap_threshold: float = 1.0
    """Share of a paragraph's n-grams that occurred before, from which on it is marked; the share is the score."""

    skip_short_paragraphs: bool = False
    """Leave paragraphs of fewer than two n-grams alone, instead of comparing them whole."""


@dataclass(frozen=True, kw_only=True)
class ParagraphKey:
    """Paragraphs are the unit."""

    attribute_name: str
    """Key of the attributes."""

    paragraph_separator: Annotated[str, Parameter(show_default=repr)] = "\n"
    """What stands between two paragraphs; it belongs to the span of the one before."""

    by_ngram: NgramKey | None = None
    """Compare paragraphs by overlap of n-grams instead of whole."""


@dataclass(frozen=True, kw_only=True)
class MinHashRule:
    """Near duplicates of whole documents by MinHash and locality-sensitive hashing (Broder 1997)."""

    bands: int = 14
    """Groups of permutations; two documents are compared where all values of one group are equal."""

    rows: int = 8
    """Permutations of a band; bands x rows permutations are computed."""

    shingle: Literal["words", "characters"] = "words"
    """What a shingle is made of, lower-cased: words (a character of a script without spaces is one) or characters."""

    shingle_length: int = 5
    """Words or characters of a shingle; a shorter text is one shingle."""

    min_similarity: float = 0.0
    """Pairs of a smaller Jaccard similarity of their shingles are no duplicates; 0 takes every pair that is found."""

    verify: bool = False
    """Compute the similarity from the shingles themselves; otherwise it is estimated from the permutations."""

    seed: int = 1
    """Seed of the permutations."""


@dataclass(frozen=True, kw_only=True)
class SubstringRule:
    """Repeated substrings by a suffix array over all documents in memory (Lee et al. 2022, arXiv 2107.06499)."""

    min_length: int = 100
    """Shorter substrings are left alone."""

    unit: Literal["bytes", "characters", "words"] = "characters"
    """What min_length counts; words are separated by white space and count where they are whole."""


@dataclass(frozen=True, kw_only=True)
class DedupeRule:
    """What is repeated where; exactly one of documents and paragraphs."""

    name: str | None = None
    """Folder of the attributes; default: the attribute name."""

    documents: DocumentKey | None = None
    """Find repeated documents."""

    paragraphs: ParagraphKey | None = None
    """Find repeated paragraphs."""

    method: Literal["exact", "bloom", "minhash", "substring"] | None = None
    """exact: hashes of 128 bits, no errors. bloom: a filter that several runs can share. minhash: near duplicates of
    documents. substring: repeated pieces of the text of documents. Default: bloom with a bloom_filter, else exact."""

    minhash: MinHashRule = MinHashRule()
    """Settings of the method minhash."""

    substring: SubstringRule = SubstringRule()
    """Settings of the method substring."""

    against: Annotated[tuple[str, ...], Several, Place.DOCUMENTS] = ()
    """Documents that come before all others and are never marked: an old corpus."""

    verify: bool = False
    """After a bloom run compare exactly: name what each unit repeats, count and unmark false positives."""

    min_length: int = 0
    """Units of fewer characters (code points) are left alone."""

    min_words: int = 0
    """Units of fewer words (those of Unicode Standard Annex 29 that hold a letter or digit) are left alone."""

    skip_empty: bool = False
    """Units that are blank are left alone."""

    num_partitions: int = 1
    """Number of parts the units are divided into by their hash; each part has attributes of its own."""

    partition_index: int = 0
    """The part to be done, from 0; folder and key of the attributes end in _INDEX where there are several."""

    file_partition: bool = False
    """Divide files, not units: those of the other parts are left out."""

    document_dir: str = "documents"
    """Name of the folder of documents; attributes go beside it."""


@dataclass(frozen=True, kw_only=True)
class BloomFilterConfig:
    """A filter that remembers units over several runs; it errs at a known rate."""

    file: Annotated[str, Place.KEPT]
    """Where the filter lies; it is read where it exists, and written at the end unless read_only."""

    read_only: bool = False
    """Look units up but add none: what repeats within the documents is not found."""

    size_in_bytes: int = 0
    """Size of a new filter; with estimated_doc_count the number of probes is chosen for that many units."""

    estimated_doc_count: int = 0
    """Units that a new filter is to hold."""

    desired_false_positive_rate: float = 0.0
    """Share of new units that may be taken for known ones when estimated_doc_count of them are held."""


@dataclass(frozen=True, kw_only=True)
class CompressionConfig:
    """Compression of files; default: what their names say."""

    input: str | None = None
    """gz, zst or an empty text for none, as the names of the documents say."""

    output: str | None = None
    """gz, zst or an empty text for none, as the names of the documents say: attributes have the same names."""


@dataclass(frozen=True, kw_only=True)
class DedupeConfig:
    """Settings of ``dedupe``."""

    documents: Annotated[tuple[str, ...], Several, Place.DOCUMENTS]
    """Folders with documents/ in them, files or patterns; attributes go to attributes/ beside documents/."""

    dedupe: DedupeRule = field(default_factory=DedupeRule)
    """What is repeated where."""

    bloom_filter: BloomFilterConfig | None = None
    """The filter of the method bloom."""

    compression: CompressionConfig = CompressionConfig()
    """Compression of files."""

    compat: Literal["dolma"] | None = None
    """Reproduce the defects of allenai/dolma that docs/dolma-differences.md lists."""

    max_failed: Count = 0
    """Lines that may be unreadable (they keep their place in the attributes) before the command fails."""

    processes: int = 1
    """Worker processes; the output does not depend on them."""

    dry_run: bool = False
    """Print the plan as YAML and stop."""
