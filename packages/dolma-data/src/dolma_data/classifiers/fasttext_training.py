"""Examples to a fastText classifier: words, features, first weights, training; one thread, the same bytes each time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..config.train_classifier import ClassifierSettings
from ..errors import UserError
from .fasttext_file import END_OF_LINE, LABEL_PREFIX, Bytes, FastTextModel, FastTextSettings, Integers

log = logging.getLogger(__name__)
SEPARATORS = bytes.maketrans(b"\t\n\v\f\r\0", b"      ")  # where the library splits, beside the space


@dataclass(frozen=True)
class Tokens:
    """Different tokens [T] as bytes, and the examples [E] as numbers of tokens, each closed by ``</s>``."""

    content: Bytes
    offsets: Integers  # [T + 1]
    starts: Integers  # [E + 1]
    numbers: Integers
    counts: Integers  # [T]
    names: tuple[bytes, ...]


def tokenise(texts: Sequence[str], *, lower: bool) -> Tokens:
    """Split as the library does; what spells a label or the end of a line in the text is left out."""
    vocabulary: dict[bytes, int] = {END_OF_LINE: 0}
    numbers: list[int] = []
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    prefix = LABEL_PREFIX.encode()
    for at, text in enumerate(texts):
        content = (text.lower() if lower else text).strip().encode()
        for token in content.translate(SEPARATORS).split(b" "):
            if token and token != END_OF_LINE and not token.startswith(prefix):
                numbers.append(vocabulary.setdefault(token, len(vocabulary)))
        numbers.append(0)
        starts[at + 1] = len(numbers)
    names = tuple(vocabulary)
    offsets = np.zeros(len(names) + 1, dtype=np.int64)
    np.cumsum([len(name) for name in names], out=offsets[1:])
    listed = np.array(numbers, dtype=np.int64)
    content_of_all = np.frombuffer(b"".join(names), dtype=np.uint8)
    return Tokens(content_of_all, offsets, starts, listed, np.bincount(listed, minlength=len(names)), names)


def train_fasttext(
    texts: Sequence[str], targets: Sequence[str], settings: ClassifierSettings, *, lower: bool, seed: int
) -> tuple[FastTextModel, list[int]]:
    """A model of the labels in ``targets``, the most frequent first, and the counts of its words.

    Rows of buckets that no example uses are zero, so that what was never seen adds nothing but its number.
    """
    from ..kernels import fasttext_training as kernels

    tokens = tokenise(texts, lower=lower)
    words = sorted(
        (number for number, count in enumerate(tokens.counts.tolist()) if count >= settings.min_count),
        key=lambda number: (-int(tokens.counts[number]), tokens.names[number]),
    )
    word_rows = np.full(len(tokens.names), -1, dtype=np.int32)
    word_rows[words] = np.arange(len(words), dtype=np.int32)
    frequency = Counter(targets)
    labels = sorted(frequency, key=lambda label: (-frequency[label], label))
    places = {label: at for at, label in enumerate(labels)}
    targets_of = np.array([places[label] for label in targets], dtype=np.int64)
    shortest, longest, buckets = settings.min_characters, settings.max_characters, settings.buckets
    features = kernels.index_features(
        tokens.content, tokens.offsets, word_rows, len(words), 0, buckets, shortest, longest
    )
    hashes = kernels.hash_tokens(tokens.content, tokens.offsets)
    sequences = (tokens.starts, tokens.numbers)
    shape = (settings.word_ngrams, len(words), buckets)
    generator = np.random.Generator(np.random.PCG64(seed))
    seen = np.zeros(len(words) + buckets, dtype=np.bool_)
    kernels.mark_rows(sequences, features, hashes, *shape, seen)
    bound = 1.0 / settings.dimension
    inputs = generator.uniform(-bound, bound, size=(len(seen), settings.dimension)).astype(np.float32)
    inputs[~seen] = 0.0
    outputs = np.zeros((len(labels), settings.dimension), dtype=np.float32)
    orders = np.stack([generator.permutation(len(texts)) for _ in range(settings.epochs)])
    weights = (inputs, outputs)
    independent = settings.loss == "ova"
    loss = kernels.train(
        sequences, features, hashes, targets_of, orders, weights, shape, settings.learning_rate, independent
    )
    if not np.isfinite(loss):
        fix = f"give a lower learning rate than {settings.learning_rate:g}"
        raise UserError(f"training diverged: the loss is {loss}", where="settings.learning_rate", fix=fix)
    log.info("train-classifier: loss %.4f in the last of %d passes", loss, settings.epochs)
    model = FastTextModel(
        settings=FastTextSettings(
            dimension=settings.dimension,
            word_ngrams=settings.word_ngrams,
            loss=settings.loss,
            buckets=buckets,
            min_characters=shortest if longest else 0,
            max_characters=longest,
            epochs=settings.epochs,
            min_count=settings.min_count,
        ),
        words=np.frombuffer(b"".join(tokens.names[number] for number in words), dtype=np.uint8),
        word_offsets=np.concatenate(
            [[0], np.cumsum([len(tokens.names[number]) for number in words], dtype=np.int64)]
        ).astype(np.int64),
        labels=tuple(LABEL_PREFIX + label for label in labels),
        label_counts=np.bincount(targets_of, minlength=len(labels)).astype(np.int64),
        inputs=inputs,
        outputs=outputs,
        pruned=np.zeros(0, dtype=np.int32),
    )
    return model, [int(tokens.counts[number]) for number in words]
