"""The tokens artifact: reading it, cutting it into instances, finding documents in it."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .document_table import rows_at
from .errors import UserError
from .files import DAMAGE, digest_file, open_read, read_json
from .pieces import CACHE_BYTES, Pieces
from .places import is_url
from .remote import RemoteFile
from .token_files import LocalFile, NumberFile

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FORMAT_VERSION = 1
LARGEST_SHORT_VOCABULARY = 65_536
REMAKE = "make it again with `dolma-data tokens`"
FILE_BITS, OFFSET_BITS = 24, 40  # of a place in the index as one number
INDEX_RECORD = np.dtype([("hash", "<u8"), ("file", "<u4"), ("row", "<u4"), ("offset", "<u8")])


@dataclass(frozen=True)
class Document:
    """A document as the artifact lists it; ``start`` and ``end`` are token offsets in its file, end exclusive."""

    file: int
    row: int
    start: int
    end: int
    id: str
    src: str
    loc: int


class Tokens:
    """An opened and verified tokens artifact; of its files nothing but their ends is read until it is asked for."""

    bos_token_id: int | None = None
    max_token_id: int | None = None  # the largest in any file, where it is known
    text_field = "text"  # key of the text in the documents, dots lead into objects
    cache_bytes = CACHE_BYTES  # of memory for what is behind URLs
    stripped = False  # whether what was encoded is the text without white space at both ends

    def __init__(self, folder: str | Path) -> None:
        """Verify the manifest against the files; every disagreement is a UserError that names the mend."""
        if is_url(folder):
            raise UserError(
                "a tokens artifact has to lie on this machine",
                where=folder,
                fix="fetch its folder; of data.files, token files alone, ranges are read from URLs",
            )
        self.folder = Path(folder)
        place = self.folder / "manifest.json"
        if not place.is_file():
            raise UserError("no tokens artifact: manifest.json is missing", where=self.folder, fix="check data.tokens")
        manifest = read_json(place)
        if not isinstance(manifest, dict):
            raise UserError("the manifest is no JSON object", where=place, fix=REMAKE)
        if manifest.get("artifact") != "tokens":
            raise UserError(
                f"this is a {manifest.get('artifact')!r} artifact, not tokens", where=place, fix="check data.tokens"
            )
        if manifest.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"format version {manifest.get('format_version')} is unknown; this package reads {FORMAT_VERSION}",
                where=place,
                fix=REMAKE,
            )
        try:
            self.dtype_name: str = manifest["dtype"]
            self.vocab_size: int = manifest["vocab_size"]
            self.eos_token_id: int = manifest["eos_token_id"]
            self.pad_token_id: int = manifest["pad_token_id"]
            self.tokenizer_digest: str = manifest["tokenizer_digest"]
            self.fingerprint: str = manifest["fingerprint"]
            self.paths: list[str] = [row["path"] for row in manifest["files"]]
            self.lengths: list[int] = [row["tokens"] for row in manifest["files"]]
            self.documents: list[int] = [row["documents"] for row in manifest["files"]]
            self.bos_token_id = manifest.get("bos_token_id")
            self.max_token_id = manifest.get("max_token_id")
            self.text_field = manifest.get("fields", {}).get("text", "text")
            self.stripped = manifest.get("compat") == "dolma"
        except KeyError as error:
            raise UserError(f"the manifest lacks {error}", where=place, fix=REMAKE) from error
        except (TypeError, AttributeError) as error:
            raise UserError("files is no list of objects, or fields no object", where=place, fix=REMAKE) from error
        counts = (self.vocab_size, self.eos_token_id, self.pad_token_id, *self.lengths, *self.documents)
        counts += tuple(value for value in (self.bos_token_id, self.max_token_id) if value is not None)
        names = (self.dtype_name, self.tokenizer_digest, self.fingerprint, self.text_field, *self.paths)
        if not all(type(count) is int and count >= 0 for count in counts) or not all(
            isinstance(name, str) for name in names
        ):
            raise UserError("the manifest holds a value of a wrong kind", where=place, fix=REMAKE)
        expected = "uint16" if self.vocab_size <= LARGEST_SHORT_VOCABULARY else "uint32"
        if self.dtype_name != expected:
            raise UserError(
                f"dtype is {self.dtype_name}, but {self.vocab_size} ids are stored as {expected}",
                where=place,
                fix=REMAKE,
            )
        for name, value in (("eos_token_id", self.eos_token_id), ("pad_token_id", self.pad_token_id)):
            if not 0 <= value < self.vocab_size:
                raise UserError(f"{name} {value} is not below vocab_size {self.vocab_size}", where=place, fix=REMAKE)
        self.dtype = np.dtype("<u2" if expected == "uint16" else "<u4")
        self._check_tokenizer()
        self.files: list[NumberFile] = [
            self._open(path, length) for path, length in zip(self.paths, self.lengths, strict=True)
        ]
        self._index: npt.NDArray[np.void] | None = None
        self._places: npt.NDArray[np.uint64] | None = None

    @property
    def tokenizer_file(self) -> Path:
        return self.folder / "tokenizer.json"

    @property
    def remote(self) -> dict[str, str]:
        """Size and version of every object behind a URL."""
        return {file.name: file.version for file in self.files if isinstance(file, RemoteFile)}

    @property
    def parts(self) -> list[Tokens]:
        """The artifacts that these tokens are put together of: themselves."""
        return [self]

    @property
    def description(self) -> Path:
        """The file that stands for the tokens in records of provenance."""
        return self.folder / "manifest.json"

    def _check_tokenizer(self) -> None:
        if not self.tokenizer_file.is_file():
            raise UserError("the tokenizer is missing", where=self.tokenizer_file, fix=REMAKE)
        if digest_file(self.tokenizer_file) != self.tokenizer_digest:
            raise UserError("the tokenizer is not the one in the manifest", where=self.tokenizer_file, fix=REMAKE)

    def _open(self, path: str, length: int) -> LocalFile:
        file = self.folder / path
        if not file.is_file():
            raise UserError("a file of the tokens artifact is missing", where=file, fix=REMAKE)
        found = LocalFile(file, self.dtype)
        if found.size != length * self.dtype.itemsize:
            raise UserError(
                f"the file has {found.size} bytes, not {length} tokens of {self.dtype_name} "
                f"({length * self.dtype.itemsize})",
                where=file,
                fix=REMAKE,
            )
        last = found.read(length - 1, length).tolist() if length else [self.eos_token_id]
        if last != [self.eos_token_id]:
            raise UserError(
                f"the file ends in id {last[0]}, not in the end of a document ({self.eos_token_id})",
                where=file,
                fix=REMAKE,
            )
        return found

    def ids(self, file: int, start: int, end: int) -> npt.NDArray[Any]:
        """The ids of a file from ``start`` to ``end``, read without what lies around them."""
        return self.files[file].read(start, end)

    def index(self) -> npt.NDArray[np.void]:
        """``documents.idx``: records ``hash, file, row, offset``, sorted by hash."""
        if self._index is None:
            file = self.folder / "documents.idx"
            if not file.is_file():
                raise UserError("the index of documents is missing", where=file, fix=REMAKE)
            size, documents = file.stat().st_size, sum(self.documents)
            if size != INDEX_RECORD.itemsize * documents:
                raise UserError(
                    f"the index has {size} bytes, not {INDEX_RECORD.itemsize} for each of {documents} documents",
                    where=file,
                    fix=REMAKE,
                )
            self._index = np.memmap(file, dtype=INDEX_RECORD, mode="r") if size else np.empty(0, dtype=INDEX_RECORD)
        return self._index

    def find(self, document_id: str) -> list[Document]:
        """All documents with this id (one for each source that has it); found by hash, confirmed by name."""
        name = document_id.encode(errors="surrogatepass")  # a command line may hold what no id does
        wanted = int.from_bytes(hashlib.sha256(name).digest()[:8], "little")
        index = self.index()
        first = int(np.searchsorted(index["hash"], np.uint64(wanted), side="left"))
        last = int(np.searchsorted(index["hash"], np.uint64(wanted), side="right"))
        found = []
        for record in index[first:last]:
            file, row = int(record["file"]), int(record["row"])
            if file >= len(self.paths):
                raise UserError(
                    f"the index names file {file} of {len(self.paths)}", where=self.folder / "documents.idx", fix=REMAKE
                )
            offset = int(record["offset"])
            found += [document for document in self.rows(file, [row], [offset]) if document.id == document_id]
        return sorted(found, key=lambda document: (document.file, document.row))

    def starts(self, file: int) -> npt.NDArray[np.uint64]:
        """Where each document of a file begins, rising; documents follow each other without gaps."""
        if self._places is None:
            index = self.index()
            if len(index) and (index["file"].max() >> FILE_BITS or index["offset"].max() >> np.uint64(OFFSET_BITS)):
                raise UserError("no such places can be", where=self.folder / "documents.idx", fix=REMAKE)
            places = index["file"].astype(np.uint64) << np.uint64(OFFSET_BITS) | index["offset"]
            places.sort()
            self._places = places
        first, last = np.searchsorted(
            self._places, np.array([file, file + 1], dtype=np.uint64) << np.uint64(OFFSET_BITS)
        )
        found: npt.NDArray[np.uint64] = self._places[first:last] & np.uint64((1 << OFFSET_BITS) - 1)
        return found

    def overlapping(self, file: int, spans: Sequence[tuple[int, int]]) -> list[list[Document]]:
        """Documents that share tokens with each span ``(start, end)`` of a file, in order."""
        starts = self.starts(file)
        bounds = np.array(spans, dtype=np.uint64).reshape(-1, 2)
        firsts = np.searchsorted(starts, bounds[:, 0], side="right") - 1
        lasts = np.searchsorted(starts, bounds[:, 1], side="left")
        ranges = [range(first, last) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]
        numbers = sorted({row for rows in ranges for row in rows})
        documents = {row.row: row for row in self.rows(file, numbers, [int(starts[number]) for number in numbers])}
        return [[documents[row] for row in rows] for rows in ranges]

    def rows(self, file: int, numbers: Sequence[int], starts: Sequence[int] | None = None) -> list[Document]:
        """The rows ``numbers`` (rising) of the list of documents of a file; it need not be read from its start where
        the ``starts`` of these documents are known."""
        path = (self.folder / self.paths[file]).with_suffix(".csv.gz")
        if not path.is_file():
            raise UserError("the list of documents is missing", where=path, fix=REMAKE)
        known = None if starts is None else rows_at(path, starts)
        if known is not None:
            return [self._document(file, number, row, path) for number, row in zip(numbers, known, strict=True)]
        found: list[Document] = []
        wanted = iter(numbers)
        current = next(wanted, None)
        with open_read(path) as raw:
            reader = csv.reader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
            try:
                for number, row in enumerate(reader):
                    if current is None:
                        break
                    if number == current:
                        found.append(self._document(file, number, row, path, reader.line_num))
                        current = next(wanted, None)
            except DAMAGE as error:
                raise UserError(
                    f"the compressed file is damaged or cut off: {error}",
                    where=path,
                    line=reader.line_num + 1,
                    fix=REMAKE,
                ) from error
            except (UnicodeDecodeError, csv.Error) as error:
                raise UserError(f"not CSV: {error}", where=path, line=reader.line_num + 1, fix=REMAKE) from error
        if current is not None:
            raise UserError(f"row {current} is in documents.idx but not here", where=path, fix=REMAKE)
        return found

    def _document(
        self, file: int, number: int, row: Sequence[str], path: Path | str, line: int | None = None
    ) -> Document:
        try:
            start, end, name, src, loc = row
            document = Document(file, number, int(start), int(end), name, src, int(loc))
        except ValueError as error:
            raise UserError("not a row of start,end,id,src,loc", where=path, line=line, fix=REMAKE) from error
        if not 0 <= document.start < document.end <= self.lengths[file]:
            raise UserError(
                f"tokens {start} to {end} do not lie in the file's {self.lengths[file]}",
                where=path,
                line=line,
                fix=REMAKE,
            )
        return document


def load_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json``; what is none is a UserError."""
    from tokenizers import Tokenizer

    if not file.is_file():
        raise UserError("the tokenizer is missing", where=file, fix="put the model's tokenizer.json there")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"not a tokenizer: {error}", where=file, fix="put the model's tokenizer.json there") from error


class Instances:
    """The training instances: chunks of ``sequence_length`` tokens of each file, its tail dropped."""

    def __init__(self, tokens: Tokens, sequence_length: int) -> None:
        self.tokens = tokens
        self.sequence_length = sequence_length
        counts = np.array([length // sequence_length for length in tokens.lengths], dtype=np.int64)
        self.ends = np.cumsum(counts)  # instances up to and with each file

    @cached_property
    def pieces(self) -> Pieces:
        """The instances as pieces of the files."""
        return Pieces(self.tokens.files, self.sequence_length, self.tokens.cache_bytes)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def first_of(self, file: int) -> int:
        """Number of the first instance of a file."""
        return int(self.ends[file - 1]) if file else 0

    def place(self, instance: int) -> tuple[int, int]:
        """File number and first token of an instance, by binary search over the files."""
        if not 0 <= instance < len(self):
            raise IndexError(f"instance {instance} of {len(self)}")
        file = int(np.searchsorted(self.ends, instance, side="right"))
        return file, (instance - self.first_of(file)) * self.sequence_length

    def places(self, instances: npt.NDArray[np.uint32]) -> list[tuple[int, int]]:
        """File number and first token of several instances."""
        return [self.place(int(instance)) for instance in instances]

    def covering(self, document: Document) -> range:
        """Instances that hold tokens of a document; none where it lies in the dropped tail of its file."""
        first = self.first_of(document.file)
        last = min((document.end - 1) // self.sequence_length + 1, int(self.ends[document.file]) - first)
        return range(first + document.start // self.sequence_length, first + last)

    def batch(self, instances: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """Ids of several instances, [B, T]. An id outside the vocabulary is a UserError."""
        out = np.empty((len(instances), self.sequence_length), dtype=np.int64)
        places = self.places(instances)
        for row, ((file, start), ids) in enumerate(zip(places, self.pieces.read(places), strict=True)):
            out[row] = ids
            if out[row].max() >= self.tokens.vocab_size:
                raise UserError(
                    f"id {out[row].max()} near token {start} is not below vocab_size {self.tokens.vocab_size}",
                    where=self.tokens.files[file].name,
                    fix=REMAKE,
                )
        return out
