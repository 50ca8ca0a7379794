"""Web pages: the main text of HTML, and the records of WARC, WET and ARC files.

Main text is taken by adbar/trafilatura (Barbaresi 2021, ACL demo), archives are read by webrecorder/warcio.
"""

from __future__ import annotations

import base64
import codecs
import contextlib
import hashlib
import io
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import brotli

from ..errors import UserError
from ..reading import DAMAGE, MAX_LINE_BYTES, open_read

HTML_TYPES = ("text/html", "application/xhtml+xml")
NO_TEXT = "no main text"
TEXT_BEARING = ("response", "resource", "conversion")
KINDS = frozenset(
    ("warcinfo", "response", "resource", "request", "metadata", "revisit", "conversion", "continuation", "arc_header")
)
MAX_PAGE_BYTES = 16 << 20  # of HTML, unpacked, of which parsers make many times as much; Common Crawl keeps 5 MiB
SKIPPED_BYTES = 1 << 16
MAX_HEADER_BYTES = 1 << 20  # between the bodies of two records
_DECLARED = re.compile(rb"<meta[^>]{0,256}charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class WebRecord:
    """One record of an archive: a ``text`` or a ``page`` to take it from, or why it is ``dropped`` or ``failed``."""

    number: int  # from 1
    text: str = ""
    page: str | bytes | None = None
    dropped: str | None = None
    failed: str | None = None
    id: str = ""
    payload_id: str = ""  # the digest alone, by which the same page has the same id
    created: str | None = None
    sent: str | None = None  # time by the server, as it stands in the HTTP header
    metadata: dict[str, Any] = field(default_factory=dict)


def clean_text(text: str) -> str:
    """Replace what is no text, NUL and lone surrogates, by U+FFFD, so that the output is valid UTF-8."""
    return _NOT_TEXT.sub("\ufffd", text)


def decode_html(page: bytes, charset: str | None = None) -> str | bytes:
    """Decode by byte order mark, as UTF-8, by the ``charset`` of the HTTP header or the page's own declaration.

    Bytes that declare nothing come back as they are, for the extraction library to guess. ISO-8859-1 means
    windows-1252, as in the WHATWG encoding standard.
    """
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if page.startswith(mark):
            return page.decode(name, "replace")
    try:
        return page.decode()
    except UnicodeDecodeError:
        pass
    declared = _DECLARED.search(page, 0, 8192)
    for label in (charset, declared[1].decode("ascii", "replace") if declared else None):
        try:
            known = codecs.lookup(label or "none").name
        except LookupError:
            continue
        return page.decode("cp1252" if known in ("iso8859-1", "ascii") else known, "replace")
    return page


def main_text(page: str | bytes) -> str:
    """Return the main text of an HTML page, without menus, comments and notices; empty where there is none."""
    try:
        from trafilatura import extract
    except ImportError as error:  # an installation that lacks a part of it
        raise UserError(f"trafilatura cannot be loaded: {error}", fix="run pip install -U dolma-data") from error
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # what it cannot read is counted by the caller
    return clean_text(extract(page, include_comments=False) or "")


class _Source:
    """A stream that ends where the file is damaged and remembers why; warcio takes an EOFError for the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.damage: Exception | None = None
        self.at = 0
        self.header_bytes: int | None = None  # that may still be read where a header must end; None: inside of a body

    def tell(self) -> int:
        return self.at

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self.stream.read1(size)  # type: ignore[attr-defined]  # all that is whole before the damage
        except DAMAGE as error:
            self.damage = error
            return b""
        self.at += len(data)
        if self.header_bytes is not None:
            self.header_bytes -= len(data)
            if self.header_bytes < 0:
                self.damage = ValueError(f"no header ends within {MAX_HEADER_BYTES >> 20} MiB")
                return b""
        return data


class _Brotli:
    """For warcio, whose own gives all that a block of packed bytes stands for, which may be many GB."""

    unused_data = None

    def __init__(self) -> None:
        self._decoder = brotli.Decompressor()
        self._left = MAX_PAGE_BYTES + 1

    def decompress(self, data: bytes) -> bytes:
        if self._left <= 0:
            return b""
        page: bytes = self._decoder.process(data, output_buffer_limit=self._left)
        self._left -= len(page)
        return page

    def flush(self) -> bytes:
        return b""


def with_text(record: WebRecord, linearize: Callable[[str | bytes], str]) -> WebRecord:
    """The record with the text that ``linearize`` finds in its page."""
    assert record.page is not None
    try:
        text = linearize(record.page)
    except UserError:
        raise
    except Exception as error:  # the extraction library may raise anything on an odd page
        offset = record.metadata["uncompressed_offset"]
        problem = f"no text from the record at byte {offset}: {type(error).__name__}: {error}"
        return WebRecord(record.number, failed=problem)
    return replace(record, text=text, page=None, dropped=None if text.strip() else NO_TEXT)


def read_captures(path: str | Path, any_type: bool = False) -> Iterator[WebRecord]:
    """Yield a :class:`WebRecord` for every record of a WARC, WET or ARC file, compressed as a whole or by record.

    Successful responses of HTML have a ``page``, conversions (WET) a ``text``; all else is dropped, with its reason.
    ``any_type``: every response and resource whose bytes are text has a page, whatever its type and status, if its
    digest is stated.

    A damaged record is yielded as failed, with the offset of its first byte in the uncompressed file; where the
    file cannot be read on, that is the last one. A page of more than ``MAX_PAGE_BYTES`` fails too, and is not held.
    """
    from warcio.archiveiterator import ArchiveIterator
    from warcio.bufferedreaders import BufferedReader

    BufferedReader.DECOMPRESSORS["br"] = _Brotli
    with open_read(path) as stream:
        source = _Source(stream)
        archive = ArchiveIterator(source, arc2warc=True)
        number = faults = failed_at = 0
        while True:
            number += 1
            try:
                with contextlib.redirect_stderr(io.StringIO()):  # warcio prints what it complains of
                    source.header_bytes = MAX_HEADER_BYTES
                    record = next(archive, None)
                    source.header_bytes = None
                    if record is None:
                        break
                    most = MAX_LINE_BYTES if record.rec_type == "conversion" else MAX_PAGE_BYTES
                    body = record.content_stream().read(most + 1) if record.rec_type in TEXT_BEARING else b""
                    if len(body) > most or record.rec_type not in TEXT_BEARING:
                        while record.raw_stream.read(SKIPPED_BYTES):
                            pass
                    missing = getattr(record.raw_stream, "limit", 0)
                    offset = archive.get_record_offset()
            except Exception as error:  # warcio raises errors of many kinds on damaged files
                reason = " ".join(str(error).split())[:200]
                yield WebRecord(number, failed=f"damaged at byte {archive.offset} of the uncompressed file: {reason}")
                return
            problem = None
            length = record.rec_headers.get_header("Content-Length") or ""
            if record.rec_type not in KINDS or not length.isdecimal():
                problem = "its header is cut off or no WARC header"
            elif missing:
                problem = f"{missing} bytes are missing"
            elif archive.err_count > faults:
                problem = "its length is wrong"
            faults = archive.err_count
            if problem is None:
                yield _capture(record, number, offset, body, any_type, most)
            else:
                failed_at = number
                yield WebRecord(number, failed=f"damaged record at byte {offset} of the uncompressed file: {problem}")
        if archive.offset < source.at or (source.damage is not None and failed_at != number - 1):
            reason = str(source.damage or "the archive ends inside a record")
            yield WebRecord(number, failed=f"damaged at byte {archive.offset} of the uncompressed file: {reason}")


def _capture(record: Any, number: int, offset: int, body: bytes, any_type: bool, most: int) -> WebRecord:
    kind = record.rec_type
    headers, http = record.rec_headers, record.http_headers
    if kind == "warcinfo":
        stated = {
            "warcinfo_id": headers.get_header("WARC-Record-ID"),
            "warcinfo_date": headers.get_header("WARC-Date"),
            "warc_filename": headers.get_header("WARC-Filename"),
        }
        return WebRecord(number, dropped="a warcinfo record", metadata=stated)
    if kind not in TEXT_BEARING:
        return WebRecord(number, dropped=f"a {kind} record")
    described = http if http is not None else headers
    content_type, _, parameters = (described.get_header("Content-Type") or "").partition(";")
    content_type = content_type.strip().lower()
    status = http.get_statuscode() if http is not None else "200"
    if kind != "conversion" and not any_type:
        if not status.startswith("2"):
            return WebRecord(number, dropped=f"HTTP status {status or 'missing'}")
        if content_type not in HTML_TYPES:
            return WebRecord(number, dropped=f"not HTML but {content_type or 'of no stated type'}")
    if len(body) > most:
        problem = f"the record at byte {offset} has more than {most >> 20} MiB, unpacked"
        return WebRecord(number, failed=problem)
    text, page = "", None
    try:
        if kind == "conversion":
            text = clean_text(body.decode())
        else:
            charset = re.search(r"charset\s*=\s*\"?([\w.:-]+)", parameters, re.IGNORECASE)
            page = decode_html(body, charset[1] if charset else None)
    except UnicodeDecodeError as error:
        return WebRecord(number, failed=f"no text from the record at byte {offset}: {error}")
    if any_type and (page is None or isinstance(page, bytes) or not page.strip()):
        return WebRecord(number, dropped="not text")
    url = headers.get_header("WARC-Target-URI") or ""
    date = headers.get_header("WARC-Date") or ""
    if any_type and not (url and headers.get_header("WARC-Payload-Digest")):
        return WebRecord(number, dropped="no address or no digest")
    digest = headers.get_header("WARC-Payload-Digest") or headers.get_header("WARC-Block-Digest")
    if not digest:
        digest = "sha1:" + base64.b32encode(hashlib.sha1(body).digest()).decode()
    payload_id = digest.rpartition(":")[2].lower()
    # The same page is often captured at several addresses and times; an id must be unique.
    capture = hashlib.sha256(f"{url}\0{date}".encode("utf-8", "replace")).hexdigest()[:8]
    return WebRecord(
        number,
        text=text,
        page=page,
        dropped=NO_TEXT if page is None and not text.strip() else None,
        id=f"{payload_id}-{capture}",
        payload_id=payload_id,
        created=date or None,
        sent=http.get_header("Date") if http is not None else None,
        metadata={
            "url": clean_text(url),
            "warc_date": date,
            "content_type": content_type,
            "uncompressed_offset": offset,
        },
    )
