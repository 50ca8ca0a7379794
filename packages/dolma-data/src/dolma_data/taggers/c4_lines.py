"""Rules of C4 that allenai/dolma's taggers leave out: lines on JavaScript and policies, and numbers of sentences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import regex  # type: ignore[import-untyped]

from ..batch import Batch, Spans, listed_spans, whole_documents
from .registry import tagger

LEAST_WORDS = 3  # of a line
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
ENDINGS = (".", "?", "!", '"')
LINE = regex.compile(r"[^\n]+")
SENTENCE_END = regex.compile(r"[.?!]+[\"'”’)\]]*(?=\s|$)")
TYPES = ("lines_with_javascript", "lines_with_policy_notice", "sentence_count", "sentence_count_of_punctuated_lines")
SOURCE = "Raffel et al. 2020 (arXiv 1910.10683), section 2.2; policies as in tensorflow/datasets, text/c4_utils.py"


@tagger("c4_lines_v1", types=TYPES, source=SOURCE)
def c4_lines_v1(batch: Batch) -> Iterator[Spans]:
    """Lines that name JavaScript or a policy on use or cookies, without case; sentences in the lines that are left.

    Lines are those of ``c4_v2``. Left are lines of three words or more without such a name;
    ``sentence_count_of_punctuated_lines`` takes of these the ones whose last character that is no space is ``.``,
    ``?``, ``!`` or ``"``. A line has a sentence for each run of ``.?!`` (and closing quotes and brackets) before white
    space or its end, and at least one; so "Mr. Smith" counts as two.
    """
    javascript, policies = [], []
    counts = np.zeros((len(batch), 2))
    for document, text in enumerate(batch.texts):
        for found in LINE.finditer(text):
            line, start = found.group(), found.start()
            end = min(found.end() + 1, len(text))
            lower = line.lower()
            if "javascript" in lower:
                javascript.append((document, start, end, 1.0))
            elif any(policy in lower for policy in POLICIES):
                policies.append((document, start, end, 1.0))
            elif len(line.split(maxsplit=LEAST_WORDS)) >= LEAST_WORDS:
                line = line.rstrip()
                sentences = max(1, len(SENTENCE_END.findall(line)))
                counts[document] += sentences, sentences * line.endswith(ENDINGS)
    yield listed_spans(TYPES[0], javascript)
    yield listed_spans(TYPES[1], policies)
    yield whole_documents(batch, TYPES[2], counts[:, 0])
    yield whole_documents(batch, TYPES[3], counts[:, 1])
