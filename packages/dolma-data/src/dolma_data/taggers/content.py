"""Toxicity, obscenity, quality and code by fastText models: the named ones of allenai/dolma, and any model of yours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..batch import Batch, Floats, Integers, Spans, whole_documents
from ..classifiers.catalogue import MODELS, check_digest, installed_model
from ..classifiers.fasttext_file import LABEL_PREFIX, Bytes
from ..classifiers.folder import find_classifier
from ..classifiers.models import Classifier, load_classifier
from ..errors import UserError
from ..pieces import Pieces, broken_lines, label_spans, paragraphs, sentences, whole_texts
from .registry import Need, PreparedTagger, Tagger, TaggerOptions, add, add_kind, first_line, tagger_names

PROBABILITY_ABOVE_ONE = "fasttext-probability-above-one"
BLANK_SENTENCE = "sentence-of-blank-text"
ASCII_SEPARATORS = "\x1c\x1d\x1e\x1f"  # white space for Python, not for Unicode
SHORT_LINE = 3  # characters, up to which a line is not looked at
PROSE_AND_CODE = ("code", "prose")


@dataclass(frozen=True)
class ContentModel:
    """A classifier with the options that bear on its scores."""

    classifier: Classifier
    options: TaggerOptions
    lower: bool = False

    def scores(self, buffer: Bytes, pieces: Pieces) -> Floats:
        """Probability of every label, [P, L]."""
        scores = self.classifier.scores(buffer, pieces, lower=self.lower)
        return scores if self.options.reproduces(PROBABILITY_ABOVE_ONE) else np.minimum(scores, 1.0)


def _all_labels(batch: Batch, model: ContentModel) -> Iterator[Spans]:
    return _labels(batch, whole_texts(batch), model, LABEL_PREFIX)


def _labels(batch: Batch, pieces: Pieces, model: ContentModel, prefix: str = "") -> Iterator[Spans]:
    return label_spans(pieces, model.classifier.labels, lambda part: model.scores(batch.buffer, part), prefix)


def _labels_of_sentences(batch: Batch, model: ContentModel) -> Iterator[Spans]:
    pieces = sentences(batch)
    if model.options.reproduces(BLANK_SENTENCE):
        pieces = with_blank_sentences(batch, pieces)
    return _labels(batch, pieces, model, LABEL_PREFIX)


def with_blank_sentences(batch: Batch, pieces: Pieces) -> Pieces:
    """As allenai/dolma has it: a blank text is one sentence, to its second character or, beyond ASCII, to its end."""
    blank = [at for at, text in enumerate(batch.texts) if text.isspace()]
    documents = np.array(blank, dtype=np.int64)
    ends = [1 if batch.texts[at][0].isascii() else len(batch.texts[at]) for at in blank]
    starts = np.zeros_like(documents)
    bytes_at = batch.offsets[documents]
    columns = (
        (pieces.documents, documents),
        (pieces.starts, starts),
        (pieces.ends, np.array(ends, dtype=np.int64)),
        (pieces.byte_starts, bytes_at),
        (pieces.byte_ends, bytes_at),
    )
    order = np.argsort(np.concatenate(columns[0]), kind="stable")
    return Pieces(*(np.concatenate(column)[order] for column in columns))


def jigsaw_hatespeech_document_v2(batch: Batch, model: ContentModel) -> Iterator[Spans]:
    """Probability of both labels of a model of toxic comments, over the whole text."""
    return _all_labels(batch, model)


def jigsaw_hatespeech_sentence_v2(batch: Batch, model: ContentModel) -> Iterator[Spans]:
    """Probability of both labels of a model of toxic comments, for each sentence."""
    return _labels_of_sentences(batch, model)


def jigsaw_nsfw_document_v1(batch: Batch, model: ContentModel) -> Iterator[Spans]:
    """Probability of both labels of a model of obscene comments, over the whole text."""
    return _all_labels(batch, model)


def jigsaw_nsfw_sencence_v2(batch: Batch, model: ContentModel) -> Iterator[Spans]:
    """Probability of both labels of a model of obscene comments, for each sentence (the name is allenai/dolma's)."""
    return _labels_of_sentences(batch, model)


def dclm_oh_eli5(batch: Batch, model: ContentModel) -> Iterator[Spans]:
    """Probability that a text is of high quality, its lines read as one."""
    from ..kernels.characters import LINE_BREAK, character_classes
    from ..kernels.pieces import blank_characters

    pieces = whole_texts(batch)
    breaks = (character_classes() & LINE_BREAK) != 0
    scores = model.scores(blank_characters(batch.buffer, breaks), pieces)
    labels = model.classifier.labels
    low, high = scores[:, labels.index("cc")], scores[:, labels.index("hq")]
    # The better label decides, as in allenai/dolma: the 0.00001 that the library adds makes them differ from 1.
    yield whole_documents(batch, "score", np.where(low > high, 1.0 - low, high), where=low + high > 0)


def dolma17_quality(batch: Batch, model: ContentModel) -> Iterator[Spans]:
    """Probability of high (hq) and low (lq) quality of words between white space; blank texts have none."""
    from ..kernels.characters import SPACE, character_classes
    from ..kernels.pieces import blank_characters

    spaces = (character_classes() & SPACE) != 0
    spaces[[ord(character) for character in ASCII_SEPARATORS]] = False
    buffer = blank_characters(batch.buffer, spaces)

    def score(part: Pieces) -> Floats:
        scores = model.scores(buffer, part)
        scores[part.byte_starts == part.byte_ends] = 0.0
        return scores

    return label_spans(whole_texts(batch), model.classifier.labels, score)


def code_composition(batch: Batch, model: ContentModel) -> Iterator[Spans]:
    """Lines of code and prose: changes from one to the other; for each label its share, count and mean entropy.

    Lines are trimmed; blank ones are left out and those of up to three characters are "other", with entropy 0.
    """
    pieces, lengths = broken_lines(batch)
    scores = model.scores(batch.buffer, pieces)
    names = [*model.classifier.labels]
    if "other" not in names:
        names.append("other")
    short = lengths <= SHORT_LINE
    kinds = np.where(short, names.index("other"), scores.argmax(axis=1) if scores.size else 0)
    logarithms = np.log2(np.where(scores > 0, scores, 1.0))
    entropies = np.where(short, 0.0, -(scores * logarithms).sum(axis=1))
    yield whole_documents(batch, "boundaries", _boundaries(pieces.documents, kinds, names, len(batch)))
    totals = np.maximum(np.bincount(pieces.documents, minlength=len(batch)), 1)
    for at in np.argsort(np.array(names), kind="stable").tolist():
        of_kind = kinds == at
        counts = np.bincount(pieces.documents[of_kind], minlength=len(batch))
        entropy = np.bincount(pieces.documents[of_kind], entropies[of_kind], minlength=len(batch))
        occurs = counts > 0
        # Python's rounding, where 0.225 is below the middle between its neighbours, and not NumPy's.
        shares = [round(share, 2) for share in (counts / totals).tolist()]
        yield whole_documents(batch, f"{names[at]}_pct", shares, where=occurs)
        yield whole_documents(batch, names[at], counts, where=occurs)
        yield whole_documents(batch, f"{names[at]}_entropy", entropy / np.maximum(counts, 1), where=occurs)


def _boundaries(documents: Integers, kinds: Integers, names: list[str], count: int) -> Integers:
    """How often a line of code follows one of prose, or the other way round, without any other line between."""
    either = np.isin(kinds, [at for at, name in enumerate(names) if name in PROSE_AND_CODE])
    changes = (documents[1:] == documents[:-1]) & either[1:] & either[:-1] & (kinds[1:] != kinds[:-1])
    return np.bincount(documents[1:][changes], minlength=count)


def _enter(
    name: str,
    model_name: str,
    types: tuple[str, ...],
    score: Callable[[Batch, ContentModel], Iterator[Spans]],
    *differences: str,
) -> None:
    entry = MODELS[model_name]
    need = Need(
        f"the fastText model {model_name}",
        default=partial(installed_model, model_name),
        otherwise=f"fetch it with dolma-data models get {model_name} --download",
    )

    def prepare(options: TaggerOptions) -> PreparedTagger:
        path = next(iter(options.files(name)), None) or installed_model(model_name)
        if path is None:
            raise UserError(f"{name} needs {need.what}", fix=need.otherwise)
        classifier = load_classifier(path)
        check_digest(path, classifier.digest)
        missing = [label for label in entry.labels if label not in classifier.labels]
        if missing:
            raise UserError(f"not {model_name}: it has no label {missing[0]!r}", where=path, fix="name another model")
        model = ContentModel(classifier, options)
        return PreparedTagger(name, types, entry.origin, lambda batch: score(batch, model), classifier.digest)

    extra = "sentences" if score in (jigsaw_hatespeech_sentence_v2, jigsaw_nsfw_sencence_v2) else None
    about = first_line(score.__doc__)
    add(Tagger(name, types, entry.origin, prepare, about, need, extra, (PROBABILITY_ABOVE_ONE, *differences)))


ANY = ("*",)
_enter("jigsaw_hatespeech_document_v2", "jigsaw-hatespeech", ANY, jigsaw_hatespeech_document_v2)
_enter("jigsaw_hatespeech_sentence_v2", "jigsaw-hatespeech", ANY, jigsaw_hatespeech_sentence_v2, BLANK_SENTENCE)
_enter("jigsaw_nsfw_document_v1", "jigsaw-nsfw", ANY, jigsaw_nsfw_document_v1)
_enter("jigsaw_nsfw_sencence_v2", "jigsaw-nsfw", ANY, jigsaw_nsfw_sencence_v2, BLANK_SENTENCE)
_enter("dclm-oh-eli5", "dclm-oh-eli5", ("score",), dclm_oh_eli5)
_enter("dolma17-quality", "dolma17-quality", ("hq", "lq"), dolma17_quality)
_enter("code_composition", "code-composition", ("boundaries", "*"), code_composition)

UNITS: dict[str, Callable[[Batch], Pieces]] = {
    "fasttext": whole_texts,
    "fasttext_paragraphs": paragraphs,
    "fasttext_sentences": sentences,
}


def make_tagger(kind: str, setting: str) -> Tagger:
    """The tagger ``KIND:PATH`` or ``KIND:NAME=PATH``: every label of a model of the user's, one type a label."""
    name, equals, place = setting.partition("=")
    path = Path(place if equals else setting)
    if not str(path).strip(".") or (equals and not name):
        raise UserError(f"the tagger {kind}:{setting} names no model", fix=f"write {kind}:NAME=FILE or {kind}:FOLDER")
    file, stated, lower = find_classifier(path)
    name = name if equals else stated
    if name in tagger_names():
        fix = f"give it another with {kind}:NAME={path}"
        raise UserError(f"there is a tagger called {name!r}, the name of the model", where=path, fix=fix)

    def prepare(options: TaggerOptions) -> PreparedTagger:
        model = ContentModel(load_classifier(file), TaggerOptions(), lower)

        def score(batch: Batch) -> Iterator[Spans]:
            return _labels(batch, UNITS[kind](batch), model)

        return PreparedTagger(name, ANY, f"fastText model {file.name}", score, model.classifier.digest)

    extra = "sentences" if kind == "fasttext_sentences" else None
    return Tagger(name, ANY, f"fastText model {file.name}", prepare, extra=extra)


for _kind in UNITS:
    add_kind(_kind, partial(make_tagger, _kind))
