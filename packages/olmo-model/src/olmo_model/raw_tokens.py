"""Files of bare token ids, as OLMo's own trainer reads them: no manifest, no header, and often no list of documents."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np

from .config.data import DataSettings
from .config.model import ModelSettings
from .errors import UserError
from .files import digest_file
from .mixture import open_sources
from .pieces import open_files
from .places import is_url, join
from .presets import find_preset
from .remote import RemoteFile, open_all, read_whole
from .token_files import NumberFile
from .tokens import REMAKE, Document, Tokens

HEADER = b"\x93NUMPY"
log = logging.getLogger(__name__)
SAMPLE = 1 << 16  # bytes at both ends of a file that its fingerprint holds
WIDE = 64  # ids that are enough to tell a wider type by
SCANNED = 1 << 22  # ids looked through at once


def open_tokens(data: DataSettings, model: ModelSettings) -> Tokens:
    """The tokens artifact, or the sources or bare files, that the settings name."""
    if data.sources:
        return open_sources(data)
    return RawTokens(data, model) if data.files else Tokens(data.tokens)


def _content(place: str) -> bytes | None:
    """Content of a file or an object; None where there is none."""
    if is_url(place):
        return read_whole(place)
    return Path(place).read_bytes() if Path(place).is_file() else None


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
        self.place = data.tokens  # a path, or a URL
        self.folder = Path(data.tokens)
        self.cache_bytes = data.remote_cache
        self.check_eos = data.check_eos
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
        self.files = open_files([join(self.place, path) for path in self.paths], self.dtype)
        self._check_sizes()
        self.lengths = [len(file) for file in self.files]
        self.documents = [0] * len(self.paths)  # not known without reading all of it
        self.last_ids: list[int] = []
        self.fingerprint = self._fingerprint()
        self._listed: dict[int, list[Document]] = {}
        self._index = None

    @property
    def tokenizer_file(self) -> Path:
        return self.tokenizer_path

    @property
    def description(self) -> Path:
        return self.folder / self.paths[0]

    def _check_sizes(self) -> None:
        for file in self.files:
            if file.size == 0 or file.size % self.dtype.itemsize:
                raise UserError(
                    f"the file has {file.size} bytes, no whole number of {self.dtype_name} ids",
                    where=file.name,
                    fix="check the file and data.dtype (data.memmap_dtype in OLMo's configuration)",
                )

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        ends = open_all(self._ends, self.files) if self.remote else map(self._ends, self.files)
        for path, file, (first, last) in zip(self.paths, self.files, ends, strict=True):
            if first.startswith(HEADER):
                raise UserError(
                    "the file has NumPy's header, which would be read as ids", where=file.name, fix="write the bare ids"
                )
            ids = np.frombuffer(first, dtype=self.dtype)
            if self.dtype.itemsize == 2 and len(ids) >= WIDE and ids[::2].any() and not ids[1::2].any():
                raise UserError(
                    "every second id is 0: these are ids of uint32",
                    where=file.name,
                    fix="set data.dtype to uint32 (data.memmap_dtype in OLMo's configuration)",
                )
            self.last_ids.append(int(np.frombuffer(last, dtype=self.dtype)[-1]))
            digest.update(f"{path}\0{self.dtype_name}\0{len(file)}\n".encode() + first + last)
        return "sha256:" + digest.hexdigest()

    def _ends(self, file: NumberFile) -> tuple[bytes, bytes]:
        count = min(len(file), SAMPLE // self.dtype.itemsize)
        first = file.read(0, count).tobytes()
        return first, first if count == len(file) else file.read(len(file) - count, len(file)).tobytes()

    def documents_of(self, file: int) -> list[Document]:
        """Every document of a file, in order."""
        if file not in self._listed:
            name = self.files[file].name
            list_name = name.removesuffix(Path(name).suffix) + ".csv.gz"
            listed = _content(list_name)
            self._listed[file] = self._from_ends(file) if listed is None else self._from_list(file, listed, list_name)
        return self._listed[file]

    def _from_list(self, file: int, content: bytes, path: str) -> list[Document]:
        try:
            with gzip.open(io.BytesIO(content), "rt", encoding="utf-8", newline="") as stream:
                rows = list(csv.reader(stream))
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"the list of documents is damaged: {error}", where=path, fix=REMAKE) from error
        return [self._document(file, number, row, path, number + 1) for number, row in enumerate(rows)]

    def _from_ends(self, file: int) -> list[Document]:
        path, numbers = self.paths[file], self.files[file]
        if isinstance(numbers, RemoteFile):
            log.info("reading all of %s, for beside it there is no list of its documents", numbers.name)
        parts = [range(start, min(start + SCANNED, len(numbers))) for start in range(0, len(numbers), SCANNED)]
        found = open_all(lambda part: self._ends_in(file, part), parts)
        ends = [end for part in found for end in part]
        if not ends or ends[-1] != len(numbers):
            ends.append(len(numbers))
        starts = [0, *ends[:-1]]
        return [
            Document(file, row, start, end, f"{path}:{start}", path, row + 1)
            for row, (start, end) in enumerate(zip(starts, ends, strict=True))
        ]

    def _ends_in(self, file: int, part: range) -> list[int]:
        ids = self.files[file].read(part.start, part.stop)
        return (np.flatnonzero(ids == self.eos_token_id) + part.start + 1).tolist()

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
