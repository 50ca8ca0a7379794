"""Files of bare token ids, as OLMo's own trainer reads them: no manifest, no header, and often no list of documents."""

from __future__ import annotations

import csv
import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .config.data import DataSettings
from .config.model import ModelSettings
from .errors import UserError
from .files import digest_file
from .mixture import open_sources
from .presets import find_preset
from .tokens import REMAKE, Document, Tokens

HEADER = b"\x93NUMPY"
SAMPLE = 1 << 16  # bytes at both ends of a file that its fingerprint holds


def open_tokens(data: DataSettings, model: ModelSettings) -> Tokens:
    """The tokens artifact, or the sources or bare files, that the settings name."""
    if data.sources:
        return open_sources(data)
    return RawTokens(data, model) if data.files else Tokens(data.tokens)


class RawTokens(Tokens):
    """Bare files of ids with the facts that a manifest would tell taken from the settings.

    The fingerprint is that of names, sizes and both ends of every file. Documents are those of the ``.csv.gz`` that
    dolma writes beside a file, else what lies between two ids that end a document; such a document's id is
    ``FILE:FIRST-TOKEN``.
    """

    def __init__(self, data: DataSettings, model: ModelSettings) -> None:
        assert data.tokenizer is not None
        find_preset(model.preset)
        facts = (model.vocab_size, model.eos_token_id, model.pad_token_id)
        if None in facts:
            raise UserError(
                "data.files say nothing of their vocabulary",
                where="configuration",
                fix="give model.vocab_size, model.eos_token_id and model.pad_token_id",
            )
        self.folder = Path(data.tokens)
        self.dtype_name = data.dtype or "uint16"
        self.dtype = np.dtype(self.dtype_name).newbyteorder("<")
        self.vocab_size, self.eos_token_id, self.pad_token_id = (int(fact or 0) for fact in facts)
        if self.vocab_size - 1 > np.iinfo(self.dtype).max:
            raise UserError(
                f"{self.vocab_size} ids do not fit into {self.dtype_name}",
                where="data.dtype",
                fix="give the type the files were written in (data.memmap_dtype in OLMo's configuration)",
            )
        self.tokenizer_path = Path(data.tokenizer)
        if not self.tokenizer_path.is_file():
            raise UserError(
                f"the tokenizer {data.tokenizer} is missing",
                where="data.tokenizer",
                fix="give the path of its tokenizer.json (tokenizer.identifier in OLMo's configuration)",
            )
        self.tokenizer_digest = digest_file(self.tokenizer_path)
        self.paths = list(data.files)
        self.arrays = [self._bare(path) for path in self.paths]
        self.lengths = [len(array) for array in self.arrays]
        self.documents = [0] * len(self.paths)  # not known without reading all of it
        self.fingerprint = self._fingerprint()
        self._listed: dict[int, list[Document]] = {}
        self._index = None

    @property
    def tokenizer_file(self) -> Path:
        return self.tokenizer_path

    @property
    def description(self) -> Path:
        return self.folder / self.paths[0]

    def _bare(self, path: str) -> npt.NDArray[Any]:
        file = self.folder / path
        if not file.is_file():
            raise UserError("the file of token ids is missing", where=file, fix="check data.paths or data.files")
        size = file.stat().st_size
        if size == 0 or size % self.dtype.itemsize:
            raise UserError(
                f"the file has {size} bytes, no whole number of {self.dtype_name} ids",
                where=file,
                fix="check the file and data.dtype (data.memmap_dtype in OLMo's configuration)",
            )
        with open(file, "rb") as stream:
            if stream.read(len(HEADER)) == HEADER:
                raise UserError(
                    "the file has NumPy's header, which would be read as ids", where=file, fix="write the bare ids"
                )
        return np.memmap(file, dtype=self.dtype, mode="r")

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for path, length in zip(self.paths, self.lengths, strict=True):
            digest.update(f"{path}\0{self.dtype_name}\0{length}\n".encode())
            with open(self.folder / path, "rb") as stream:
                digest.update(stream.read(SAMPLE))
                stream.seek(max(0, length * self.dtype.itemsize - SAMPLE))
                digest.update(stream.read(SAMPLE))
        return "sha256:" + digest.hexdigest()

    def documents_of(self, file: int) -> list[Document]:
        """Every document of a file, in order."""
        if file not in self._listed:
            listed = (self.folder / self.paths[file]).with_suffix(".csv.gz")
            self._listed[file] = self._from_list(file, listed) if listed.is_file() else self._from_ends(file)
        return self._listed[file]

    def _from_list(self, file: int, path: Path) -> list[Document]:
        try:
            with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
                rows = list(csv.reader(stream))
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"the list of documents is damaged: {error}", where=path, fix=REMAKE) from error
        return [self._document(file, number, row, path, number + 1) for number, row in enumerate(rows)]

    def _from_ends(self, file: int) -> list[Document]:
        array, path = self.arrays[file], self.paths[file]
        ends = (np.flatnonzero(array == self.eos_token_id) + 1).tolist()
        if not ends or ends[-1] != len(array):
            ends.append(len(array))
        starts = [0, *ends[:-1]]
        return [
            Document(file, row, start, end, f"{path}:{start}", path, row + 1)
            for row, (start, end) in enumerate(zip(starts, ends, strict=True))
        ]

    def find(self, document_id: str) -> list[Document]:
        """All documents with this id, by a look at every list."""
        return [
            document
            for file in range(len(self.paths))
            for document in self.documents_of(file)
            if document.id == document_id
        ]

    def overlapping(self, file: int, spans: Any) -> list[list[Document]]:
        """Documents that share tokens with each span of a file, in order."""
        documents = self.documents_of(file)
        starts = np.array([document.start for document in documents])
        return [
            documents[
                max(0, int(np.searchsorted(starts, start, side="right")) - 1) : int(
                    np.searchsorted(starts, end, side="left")
                )
            ]
            for start, end in spans
        ]
