"""Files of the fastText library (facebookresearch/fastText): ``.bin`` and ``.ftz`` are read, ``.bin`` is written.

Joulin et al. 2016, arXiv 1607.01759 (classifiers) and 1612.03651 (compressed files). No code of the library is needed,
so that nothing fights over the import name ``fasttext``.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import UserError

MAGIC = 793712314
VERSION = 12
LABEL_PREFIX = "__label__"
END_OF_LINE = b"</s>"
SUPERVISED = 3
LOSSES = {1: "hs", 2: "ns", 3: "softmax", 4: "ova"}
CENTROIDS = 256
SETTINGS = struct.Struct("<12id")
COUNTS = struct.Struct("<3i2q")

Matrix = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FastTextSettings:
    """What of the library's settings matters after training; the names are the library's, written out."""

    dimension: int
    word_ngrams: int
    loss: str
    """One of hs, ns, softmax, ova."""
    buckets: int
    min_characters: int
    max_characters: int
    """Longest character n-gram; 0 for none."""
    epochs: int = 0
    min_count: int = 1


@dataclass(frozen=True)
class FastTextModel:
    """A supervised model: V words and L labels, D dimensions.

    ``words`` are the UTF-8 bytes of all words one after the other, word w at ``word_offsets[w]:word_offsets[w + 1]``;
    ``labels`` keep their prefix. ``inputs`` [rows, D] holds the words and behind them the buckets of n-grams,
    ``outputs`` [L, D]. ``pruned`` maps a bucket to its row behind the words, -1 where the row was pruned away; empty
    where nothing was.
    """

    settings: FastTextSettings
    words: Bytes
    word_offsets: Integers
    labels: tuple[str, ...]
    label_counts: Integers
    inputs: Matrix
    outputs: Matrix
    pruned: npt.NDArray[np.int32]


class _Reader:
    def __init__(self, content: memoryview, path: Path) -> None:
        self.content = content
        self.at = 0
        self.path = path

    def damaged(self, what: str) -> UserError:
        return UserError(f"not a whole fastText model: {what}", where=self.path, fix="fetch or make the file again")

    def take(self, size: int) -> memoryview:
        if size < 0 or self.at + size > len(self.content):
            raise self.damaged(f"it ends at byte {len(self.content):,} inside its data")
        self.at += size
        return self.content[self.at - size : self.at]

    def unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def array(self, dtype: str, count: int) -> npt.NDArray[Any]:
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype=dtype)


def read_fasttext(path: str | Path) -> FastTextModel:
    """Read a supervised ``.bin`` or ``.ftz``; quantised matrices are unpacked to float32.

    A file that is cut off, of another version or of word vectors is a UserError.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError("no such file", where=file, fix="check the path")
    if not file.stat().st_size:
        raise UserError("not a fastText model: the file is empty", where=file, fix="fetch or make the file again")
    with open(file, "rb") as stream:
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    reader = _Reader(memoryview(content), file)
    if len(content) < 8 or reader.unpack("<i")[0] != MAGIC:
        raise UserError("not a fastText model", where=file, fix="name a .bin or .ftz of the fastText library")
    (version,) = reader.unpack("<i")
    if version not in (11, VERSION):
        raise UserError(f"a fastText model of version {version}", where=file, fix="versions 11 and 12 are read")
    settings = _read_settings(reader, version)
    words, labels, label_counts, word_count, pairs = _read_dictionary(reader)
    (quantised,) = reader.unpack("<?")
    inputs = _read_quantised(reader) if quantised else _read_dense(reader)
    (output_quantised,) = reader.unpack("<?")
    outputs = _read_quantised(reader) if quantised and output_quantised else _read_dense(reader)
    if outputs.shape != (len(labels), settings.dimension) or inputs.shape[1] != settings.dimension:
        raise reader.damaged("the shapes of its matrices do not fit its settings")
    pruned = np.zeros(0, dtype=np.int32)
    if pairs is not None:
        pruned = np.full(settings.buckets, -1, dtype=np.int32)
        inside = (pairs[:, 0] >= 0) & (pairs[:, 0] < settings.buckets)
        inside &= (pairs[:, 1] >= 0) & (word_count + pairs[:, 1] < len(inputs))
        if not inside.all():
            raise reader.damaged("a pruned n-gram lies outside its matrix")
        pruned[pairs[:, 0]] = pairs[:, 1]
    elif len(inputs) < word_count + settings.buckets * bool(settings.max_characters or settings.word_ngrams > 1):
        raise reader.damaged("its matrix has too few rows")
    offsets = np.zeros(word_count + 1, dtype=np.int64)
    np.cumsum([len(word) for word in words], out=offsets[1:])
    return FastTextModel(
        settings=settings,
        words=np.frombuffer(b"".join(words), dtype=np.uint8),
        word_offsets=offsets,
        labels=labels,
        label_counts=label_counts,
        inputs=np.ascontiguousarray(inputs),
        outputs=np.ascontiguousarray(outputs),
        pruned=pruned,
    )


def _read_settings(reader: _Reader, version: int) -> FastTextSettings:
    values = SETTINGS.unpack(reader.take(SETTINGS.size))
    dimension, _, epochs, min_count, _, word_ngrams, loss, kind, buckets, shortest, longest, _, _ = values
    if kind != SUPERVISED:
        raise UserError("word vectors, not a classifier", where=reader.path, fix="name a supervised fastText model")
    if loss not in LOSSES or dimension < 1 or buckets < 0:
        raise reader.damaged("its settings make no sense")
    if version == 11:  # that version did not use them in classifiers, whatever the file says
        longest = 0
    return FastTextSettings(dimension, word_ngrams, LOSSES[loss], buckets, shortest, longest, epochs, min_count)


def _read_dictionary(
    reader: _Reader,
) -> tuple[list[bytes], tuple[str, ...], Integers, int, npt.NDArray[np.int32] | None]:
    size, word_count, label_count, _, pruned_count = COUNTS.unpack(reader.take(COUNTS.size))
    if size != word_count + label_count or word_count < 0 or label_count < 1:
        raise reader.damaged("its dictionary makes no sense")
    names: list[bytes] = []
    counts: list[int] = []
    content = bytes(reader.content[reader.at : reader.at + _dictionary_bytes(reader, size)])
    at = 0
    for _ in range(size):
        end = content.find(b"\0", at)
        if end < 0 or end + 10 > len(content):
            raise reader.damaged("it ends inside its dictionary")
        names.append(content[at:end])
        counts.append(int.from_bytes(content[end + 1 : end + 9], "little", signed=True))
        at = end + 10
    reader.at += at
    pairs = reader.array("<i4", 2 * pruned_count).reshape(-1, 2) if pruned_count >= 0 else None
    labels = tuple(name.decode("utf-8", "replace") for name in names[word_count:])
    return names[:word_count], labels, np.array(counts[word_count:], dtype=np.int64), word_count, pairs


def _dictionary_bytes(reader: _Reader, size: int) -> int:
    """Bytes to look at for ``size`` entries: to the end of the file, or 4,096 for each entry."""
    return min(len(reader.content) - reader.at, size * 4096 + 4096)


def _read_dense(reader: _Reader) -> Matrix:
    rows, columns = reader.unpack("<2q")
    if rows < 0 or columns < 1:
        raise reader.damaged("a matrix of negative size")
    return reader.array("<f4", rows * columns).reshape(rows, columns)


def _read_quantised(reader: _Reader) -> Matrix:
    """Unpack product quantisation (Jégou et al. 2011): each row is put together from centroids of its pieces."""
    normalised, rows, columns, code_count = reader.unpack("<?2qi")
    codes = reader.array("u1", code_count)
    centroids, pieces, width, last_width = _read_quantiser(reader)
    if code_count != rows * pieces or (pieces - 1) * width + last_width != columns:
        raise reader.damaged("the codes of a compressed matrix do not fit its size")
    matrix = np.empty((rows, columns), dtype=np.float32)
    table = codes.reshape(rows, pieces)
    for piece in range(pieces):
        wide = last_width if piece == pieces - 1 else width
        first = piece * CENTROIDS * width
        choices = centroids[first : first + CENTROIDS * wide].reshape(CENTROIDS, wide)
        matrix[:, piece * width : piece * width + wide] = choices[table[:, piece]]
    if normalised:
        norm_codes = reader.array("u1", rows)
        norms, _, _, _ = _read_quantiser(reader)
        matrix *= norms[norm_codes][:, np.newaxis]
    return matrix


def _read_quantiser(reader: _Reader) -> tuple[Matrix, int, int, int]:
    columns, pieces, width, last_width = reader.unpack("<4i")
    if columns < 1 or pieces < 1 or width < 1 or last_width < 1:
        raise reader.damaged("a compressed matrix of negative size")
    return reader.array("<f4", columns * CENTROIDS), pieces, width, last_width


def write_fasttext(stream: BinaryIO, model: FastTextModel, word_counts: Iterable[int]) -> None:
    """Write an unpruned model as a ``.bin`` that the fastText library loads; ``word_counts`` belong to the words."""
    if model.pruned.size:
        raise ValueError("a pruned model is written nowhere: its words would lose their rows")
    settings = model.settings
    codes = {name: code for code, name in LOSSES.items()}
    stream.write(struct.pack("<2i", MAGIC, VERSION))
    values = (settings.dimension, 5, settings.epochs, settings.min_count, 5, settings.word_ngrams, codes[settings.loss])
    characters = (settings.min_characters, settings.max_characters)
    stream.write(SETTINGS.pack(*values, SUPERVISED, settings.buckets, *characters, 100, 1e-4))
    counts = list(word_counts)
    offsets = model.word_offsets.tolist()
    content = model.words.tobytes()
    words = [content[start:end] for start, end in pairwise(offsets)]
    stream.write(COUNTS.pack(len(words) + len(model.labels), len(words), len(model.labels), sum(counts), -1))
    for word, count in zip(words, counts, strict=True):
        stream.write(word + struct.pack("<xqb", count, 0))
    for label, count in zip(model.labels, model.label_counts.tolist(), strict=True):
        stream.write(label.encode() + struct.pack("<xqb", count, 1))
    for matrix in (model.inputs, model.outputs):
        stream.write(struct.pack("<?2q", False, *matrix.shape))
        stream.write(np.ascontiguousarray(matrix, dtype="<f4").tobytes())
