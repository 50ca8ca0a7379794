"""fastText classifiers: loaded once per process, applied to all pieces of a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..batch import Floats
from ..files import digest_file
from ..pieces import PART_PIECES, Pieces
from .fasttext_file import END_OF_LINE, LABEL_PREFIX, Bytes, FastTextModel, read_fasttext


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
    kept: Any
    """Of kernels.fasttext.make_kept_tokens: written to, without any effect on scores."""

    def scores(self, buffer: Bytes, pieces: Pieces, *, lower: bool = False) -> Floats:
        """Probability of every label for every piece, [P, L], as the library gives it.

        ``buffer`` is the batch's, or one of the same length. The library adds 0.00001 to each probability, so that they
        reach 1.00001. They are 0 where it names no such label: below 0.00001 with a hierarchical softmax, and
        everywhere in a piece in which nothing is known to the model. With ``lower`` the text is read as
        ``str.lower()`` gives it.
        """
        from ..kernels import fasttext as kernels

        hidden, rows = self._embed(buffer, pieces, lower)
        if self.loss == "hs":
            scores = kernels.score_hierarchical(hidden, rows, self.outputs, self.tree)
        elif self.loss == "softmax":
            scores = kernels.score_softmax(hidden, rows, self.outputs)
        else:
            scores = kernels.score_independent(hidden, rows, self.outputs)
        return np.asarray(scores, dtype=np.float64)

    def scores_of(self, label: str, buffer: Bytes, pieces: Pieces, *, lower: bool = False) -> Floats:
        """One column of :meth:`scores`, [P]; quicker than all of them where the model has a tree."""
        from ..kernels import fasttext as kernels

        at = self.labels.index(label)
        scores = np.empty(len(pieces))
        for begin in range(0, len(pieces), PART_PIECES):
            part = pieces.part(begin, begin + PART_PIECES)
            if self.loss == "hs":
                embedded = self._embed(buffer, part, lower)
                found = kernels.score_hierarchical_label(*embedded, self.outputs, self.tree, at)
            else:
                found = self.scores(buffer, part, lower=lower)[:, at]
            scores[begin : begin + PART_PIECES] = found
        return scores

    def _embed(self, buffer: Bytes, pieces: Pieces, lower: bool) -> tuple[Any, Any]:
        from ..kernels.fasttext import embed_units
        from ..kernels.lowercase import lowercase_tables

        case = (lower, *lowercase_tables())
        ranges = (pieces.byte_starts, pieces.byte_ends)
        model = (self.dictionary, self.inputs, self.pruned, self.settings, self.kept)
        hidden, rows = embed_units(buffer, *ranges, case, *model)
        return hidden, rows


def prepare_classifier(model: FastTextModel, digest: str) -> Classifier:
    """Make the look-up table of words and, for a hierarchical softmax, its tree."""
    from ..kernels import fasttext as kernels

    labels = [label.encode() for label in model.labels]
    offsets = np.concatenate([model.word_offsets, model.word_offsets[-1] + np.cumsum([len(label) for label in labels])])
    entries = np.concatenate([model.words, np.frombuffer(b"".join(labels), dtype=np.uint8)])
    table = np.zeros(1 << max(4, (2 * len(offsets)).bit_length()), dtype=np.int32)
    kernels.fill_table(entries, offsets, table)
    dictionary = (entries, offsets, table)
    stop = np.frombuffer(END_OF_LINE, dtype=np.uint8)
    hashed = np.uint32(kernels.hash_token(stop, 0, len(stop)))
    stop_number = kernels.find_token(*dictionary, stop, 0, len(stop), hashed)
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
        kept=kernels.make_kept_tokens(settings.dimension),
    )


def load_classifier(path: Path) -> Classifier:
    """The model of a file, loaded once per process and again when it changes; a file that is none is a UserError."""
    state = path.stat() if path.is_file() else None
    return _load(path, None if state is None else (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=16)
def _load(path: Path, state: object) -> Classifier:
    return prepare_classifier(read_fasttext(path), digest_file(path))
