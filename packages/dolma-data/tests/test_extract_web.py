"""HTML and web archives."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tracemalloc
from pathlib import Path

import brotli
import pytest
import zstandard
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from dolma_data.extract import files, web
from dolma_data.extract.linearizers import linearizer
from dolma_data.extract.web import WebRecord, clean_text, decode_html, main_text, read_captures, with_text

SENTENCE = "Ein Satz über Füchse, der lang genug ist, um als Inhalt der Seite zu gelten und nicht als Menü."
PARAGRAPHS = "".join(f"<p>{SENTENCE} {i}</p>" for i in range(4))
PAGE = f"<html><body><nav><a href='/'>Home</a></nav><article>{PARAGRAPHS}</article></body></html>"


@pytest.mark.parametrize(
    ("page", "charset", "text"),
    [
        ("über".encode(), None, "über"),
        ("über".encode(), "latin-1", "über"),  # valid UTF-8 is UTF-8
        ("über".encode("utf-8-sig"), None, "über"),
        ("über".encode("utf-16"), None, "über"),
        ("über".encode("latin-1"), "iso-8859-1", "über"),
        ("„über“".encode("cp1252"), "iso-8859-1", "„über“"),
        ("пример".encode("koi8-r"), "koi8-r", "пример"),
        (b'<META charset="cp1251">' + "пример".encode("cp1251"), None, '<META charset="cp1251">пример'),
        (b"<meta content='text/html; charset=cp1251'>\xef", None, "<meta content='text/html; charset=cp1251'>п"),
        (b"\xff one bad byte", "utf-8", "\ufffd one bad byte"),
        (b"\xff\x01 no word on it", None, b"\xff\x01 no word on it"),
        (b"\xff unknown name", "x-nonsense", b"\xff unknown name"),
    ],
)
def test_pages_are_decoded_as_they_say(page, charset, text):
    assert decode_html(page, charset) == text


def test_what_is_no_text_is_replaced():
    assert clean_text("a\0b\ud800c") == "a\ufffdb\ufffdc"


def test_an_extraction_library_that_cannot_be_loaded_is_no_fault_of_the_pages(dolma, tmp_path, monkeypatch, capsys):
    (tmp_path / "page.html").write_text(PAGE)
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    status = dolma("extract", str(tmp_path / "page.html"), "--output", str(tmp_path / "out"))
    assert status == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert "trafilatura cannot be loaded" in message
    assert "pip install" in message
    assert not (tmp_path / "out").exists()


def test_main_text_leaves_the_menu_out():
    text = main_text(PAGE)
    assert text.count(SENTENCE) == 4
    assert "Home" not in text


def read_archive(path: Path) -> list[WebRecord]:
    records = read_captures(path)
    return [record if record.page is None else with_text(record, main_text) for record in records]


def write_warc(path: Path, *, packed: bool) -> list[int]:
    """Five records; returns the places where they begin."""
    places = []
    with open(path, "wb") as stream:
        writer = WARCWriter(stream, gzip=packed)

        def add(kind: str, url: str, body: bytes, http: list[tuple[str, str]] | None, status: str = "200 OK") -> None:
            headers = StatusAndHeaders(status, http, protocol="HTTP/1.1") if http is not None else None
            places.append(stream.tell())
            writer.write_record(
                writer.create_warc_record(
                    url,
                    kind,
                    payload=io.BytesIO(body),
                    http_headers=headers,
                    warc_headers_dict={"WARC-Date": "2024-01-02T03:04:05Z"},
                )
            )

        html = [("Content-Type", "text/html; charset=ISO-8859-1")]
        add("request", "http://a/", b"", [("Host", "a")], "GET / HTTP/1.1")
        add("response", "http://a/", PAGE.encode("latin-1"), html)
        add("response", "http://a/gone", PAGE.encode("latin-1"), html, "404 Not Found")
        add("response", "http://a/x.gif", b"GIF", [("Content-Type", "image/gif")])
        add("conversion", "http://b/", "Text schon fertig ä".encode(), None)
    return places


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "whole.warc.gz"])
def test_every_record_of_an_archive_is_kept_or_dropped_with_its_reason(tmp_path, name):
    path = tmp_path / name
    write_warc(path, packed=name == "a.warc.gz")
    if name == "whole.warc.gz":  # one gzip member around all records, as plain gzip makes it
        path.write_bytes(gzip.compress(path.read_bytes()))
    records = read_archive(path)
    assert [record.failed for record in records] == [None] * 5
    assert [record.dropped for record in records] == [
        "a request record",
        None,
        "HTTP status 404",
        "not HTML but image/gif",
        None,
    ]
    page, conversion = records[1], records[4]
    assert page.text.count(SENTENCE) == 4
    assert page.metadata["url"] == "http://a/"
    assert page.metadata["content_type"] == "text/html"
    assert page.created == page.metadata["warc_date"] == "2024-01-02T03:04:05Z"
    assert conversion.text == "Text schon fertig ä"
    assert len({record.id for record in (page, conversion)}) == 2


def test_ids_do_not_depend_on_compression(tmp_path):
    write_warc(tmp_path / "a.warc", packed=False)
    write_warc(tmp_path / "b.warc.gz", packed=True)
    one, two = ([r.id for r in read_archive(tmp_path / name)] for name in ("a.warc", "b.warc.gz"))
    assert one == two


def test_an_archive_cut_anywhere_gives_the_whole_records_and_one_failure_with_its_offset(tmp_path):
    path = tmp_path / "a.warc"
    places = write_warc(path, packed=False)
    whole = path.read_bytes()
    for cut in range(places[2] + 1, places[3] - 4, 3):
        path.write_bytes(whole[:cut])
        records = read_archive(path)
        assert [record.failed is None for record in records] == [True, True, False], cut
        assert f"byte {places[2]} " in (records[2].failed or "")


@pytest.mark.parametrize("length", [5, 30, 100, 300])
def test_a_cut_gzip_archive_gives_the_whole_records_and_one_failure(tmp_path, length):
    path = tmp_path / "a.warc.gz"
    places = write_warc(path, packed=True)
    path.write_bytes(path.read_bytes()[: places[2] + length])
    records = read_archive(path)
    assert [record.failed is None for record in records] == [True, True, False]


def packed_body(coding: str | None, body: bytes) -> bytes:
    return {"gzip": gzip.compress, "br": brotli.compress}.get(coding or "", bytes)(body)


@pytest.mark.parametrize("coding", [None, "gzip", "br"])
def test_a_body_that_unpacks_to_more_than_a_page_is_not_held(tmp_path, coding, monkeypatch):
    monkeypatch.setattr(web, "MAX_PAGE_BYTES", 1 << 20)
    path = tmp_path / "a.warc"
    bomb = packed_body(coding, b"<p>" + b" " * (1 << 27))
    html = [("Content-Type", "text/html"), *([("Content-Encoding", coding)] if coding else [])]
    with open(path, "wb") as stream:
        writer = WARCWriter(stream, gzip=False)
        for body, kind in ((bomb, "text/html"), (packed_body(coding, PAGE.encode()), "text/html"), (bomb, "image/gif")):
            headers = StatusAndHeaders("200 OK", [("Content-Type", kind), *html[1:]], protocol="HTTP/1.1")
            payload = io.BytesIO(body)
            writer.write_record(writer.create_warc_record("http://a/", "response", payload, http_headers=headers))
    del bomb, body, payload
    tracemalloc.start()
    try:
        records = list(read_captures(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20  # 16 KiB of gzip can stand for 16 MiB, of which the reader makes copies
    assert "has more than 1 MiB, unpacked" in (records[0].failed or "")
    assert SENTENCE in str(records[1].page)
    assert records[2].dropped == "not HTML but image/gif"
    assert len(records) == 3


def test_a_header_without_an_end_is_one_failure_that_is_not_held(tmp_path, monkeypatch):
    path = tmp_path / "a.warc.gz"
    write_warc(path, packed=True)
    path.write_bytes(path.read_bytes() + gzip.compress(b"WARC/1.0\r\nWARC-Type: " + b"a" * (1 << 26)))
    tracemalloc.start()
    try:
        records = list(read_captures(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20
    assert [record.failed is None for record in records] == [True] * 5 + [False]


@pytest.mark.parametrize("name", ["a.html.gz", "a.txt.gz", "a.txt.zst"])
def test_a_file_that_unpacks_to_more_than_a_document_is_not_held(dolma, tmp_path, name, monkeypatch, read_jsonl):
    monkeypatch.setattr(files, "MAX_PAGE_BYTES", 1 << 20)
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 1 << 20)
    bomb = b"a " * (1 << 25)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(zstandard.compress(bomb) if name.endswith("zst") else gzip.compress(bomb))
    (folder / "b.txt").write_text("a text of its own")
    del bomb
    tracemalloc.start()
    try:
        status = dolma("extract", folder, "--output", tmp_path / "out", "--max-failed", 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert status == 0
    assert peak < 40 << 20
    (failed,) = read_jsonl(tmp_path / "out" / "quarantine.jsonl")
    assert (failed["file"], failed["reason"]) == (str(folder / name), "more than 1 MiB, unpacked")


def test_what_is_no_archive_is_one_failure(tmp_path):
    (tmp_path / "a.warc").write_text("hello\n" * 50)
    (record,) = read_archive(tmp_path / "a.warc")
    assert "damaged at byte 0" in (record.failed or "")


class TestRealArchives:
    def counts(self, dolma, tmp_path: Path, path: Path, *options: object) -> dict[str, int]:
        assert dolma("extract", path, "--output", tmp_path / "out", *options) == 0
        return json.loads((tmp_path / "out/manifest.json").read_bytes())["counts"]

    def test_a_crawl(self, dolma, tmp_path, data_dir):
        path = data_dir / "corpora/web/warc/commoncrawl-whirlwind"
        for name in ("whirlwind.warc", "whirlwind.warc.gz"):
            assert self.counts(dolma, tmp_path, path / name) == {"read": 4, "kept": 1, "dropped": 3, "failed": 0}
        for name in ("whirlwind.warc.wet", "whirlwind.warc.wet.gz"):
            assert self.counts(dolma, tmp_path, path / name) == {"read": 2, "kept": 1, "dropped": 1, "failed": 0}

    def test_arc_files(self, dolma, tmp_path, data_dir):
        for name in ("example.arc", "example.arc.gz"):
            path = data_dir / "corpora/web/warc/warcio" / name
            assert self.counts(dolma, tmp_path, path) == {"read": 2, "kept": 1, "dropped": 1, "failed": 0}

    @pytest.mark.parametrize("name", ["warcio/example-trunc.warc", "archive-org-crawl/badexample.arc.gz"])
    def test_broken_files_fail_with_their_place(self, dolma, tmp_path, data_dir, capsys, name):
        path = data_dir / "corpora/web/warc" / name
        assert dolma("extract", path, "--output", tmp_path / "out") == 2
        assert "of the uncompressed file" in capsys.readouterr().err
        assert self.counts(dolma, tmp_path, path, "--max-failed", 5)["failed"] >= 1


@pytest.mark.parametrize(("name", "most_boilerplate"), [("trafilatura", 0.1), ("resiliparse", 0.35)])
def test_body_is_kept_and_boilerplate_removed_of_annotated_pages(data_dir, name, most_boilerplate):
    """Line breaks are layout, so that white space is compared as one space. With -s the figures are printed."""
    folder = data_dir / "corpora/web/html-cc"
    kept = {"body_segments": [], "boilerplate_segments": []}
    for line in (folder / "index.jsonl").read_text().splitlines():
        row = json.loads(line)
        page = decode_html(gzip.decompress((folder / row["file"]).read_bytes()))
        text = " ".join(linearizer(name)(page).split())
        for kind, found in kept.items():
            found += [" ".join(segment.split()) in text for segment in row[kind]]
    for kind, found in kept.items():
        print(f"{name}: {sum(found)} of {len(found)} {kind} kept, {sum(found) / len(found):.1%}")
    body, boilerplate = kept.values()
    assert (len(body), len(boilerplate)) == (133, 130)
    assert sum(body) / len(body) >= 0.95
    assert sum(boilerplate) / len(boilerplate) <= most_boilerplate
