from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from dolma_data.extract import warc as archives
from dolma_data.extract.linearizers import normalise_address, resiliparse_text
from dolma_data.extract.warc import output_name, sent_time

SENTENCE = "A sentence about foxes that is long enough to count as content of the page, and not as a menu."
PARAGRAPHS = "".join(f"<p>{SENTENCE} {i}</p>" for i in range(4))
LICENSED = "<a rel='license' href='https://creativecommons.org/licenses/by/4.0/'>CC BY</a>"
PAGES = {
    "http://www.one.example/a/": f"<html><body><article>{PARAGRAPHS}{LICENSED}</article></body></html>",
    "http://two.example/b?x=2&a=1": f"<html><body><article>{PARAGRAPHS}</article></body></html>",
    "http://empty.example/": "<html><body></body></html>",
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A warcinfo record, three pages, an image."""
    path = tmp_path / "crawl" / "deep" / "one.warc.gz"
    path.parent.mkdir(parents=True)
    with open(path, "wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        writer.write_record(writer.create_warcinfo_record("original-name.warc.gz", {"software": "test"}))
        for url, body, kind in [
            *((url, page.encode(), "text/html; charset=utf-8") for url, page in PAGES.items()),
            ("http://one.example/i.png", b"\x89PNG", "image/png"),
        ]:
            headers = [("Content-Type", kind), ("Date", "Tue, 01 Nov 2022 12:30:00 GMT")]
            http = StatusAndHeaders("200 OK", headers, protocol="HTTP/1.1")
            record = writer.create_warc_record(
                url, "response", payload=io.BytesIO(body), http_headers=http,
                warc_headers_dict={"WARC-Date": "2022-11-02T00:00:00Z"},
            )  # fmt: skip
            writer.write_record(record)
    return path


def run(dolma: Any, archive: Path, target: Path, *more: object) -> int:
    crawl = archive.parents[1]
    arguments = ("--documents", crawl, "--destination", target, "--source-name", "crawl", *more)
    return int(dolma("warc", *arguments))


def test_pages_become_documents(dolma: Any, archive: Path, tmp_path: Path, read_jsonl: Any) -> None:
    assert run(dolma, archive, tmp_path / "out" / "documents") == 0
    one, two = read_jsonl(tmp_path / "out" / "documents" / "deep" / "one.jsonl.gz")
    assert one["source"] == "crawl"
    assert one["created"] == "2022-11-01T12:30:00.000Z"
    assert one["text"].count(SENTENCE) == 4
    assert one["metadata"]["url"] == "one.example/a"
    assert one["metadata"]["warc_url"] == "http://www.one.example/a/"
    assert one["metadata"]["warc_date"] == "2022-11-02T00:00:00Z"
    assert one["metadata"]["warc_filename"] == "original-name.warc.gz"
    assert "html" not in one["metadata"]
    assert "attributes" not in one
    assert two["metadata"]["url"] == "two.example/b?a=1&x=2"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["counts"] == {"read": 5, "kept": 2, "dropped": 3, "failed": 0}


def test_taggers_score_the_page_before_and_the_text_after(
    dolma: Any, archive: Path, tmp_path: Path, read_jsonl: Any
) -> None:
    module = tmp_path / "mine.py"
    module.write_text(
        "import numpy as np\n"
        "from dolma_data.batch import whole_documents\n"
        "from dolma_data.taggers import tagger\n"
        "@tagger('licence', types=('cc',), source='a test')\n"
        "def licence(batch):\n"
        "    found = np.array(['creativecommons' in row['metadata']['html'] for row in batch.documents])\n"
        "    yield whole_documents(batch, 'cc', 1.0, where=found)\n"
    )
    taggers = ("--pre.taggers", "licence", "--tagger-modules", module, "--post.taggers", "char_length_v1")
    assert run(dolma, archive, tmp_path / "all", *taggers, "--store-html-in-metadata") == 0
    one, two = read_jsonl(tmp_path / "all" / "documents" / "deep" / "one.jsonl.gz")
    length = len(one["text"])
    assert one["attributes"] == {
        "licence__licence__cc": [[0, 0, 1.0]],
        "char_length_v1__char_length_v1__length": [[0, length, float(length)]],
    }
    assert list(two["attributes"]) == ["char_length_v1__char_length_v1__length"]
    assert two["metadata"]["html"] == PAGES["http://two.example/b?x=2&a=1"]
    assert run(dolma, archive, tmp_path / "some", *taggers, "--pre.skip") == 0
    (only,) = read_jsonl(tmp_path / "some" / "documents" / "deep" / "one.jsonl.gz")
    assert only["id"] == one["id"]
    counts = json.loads((tmp_path / "some" / "manifest.json").read_text())["counts"]
    assert counts == {"read": 5, "kept": 1, "dropped": 4, "failed": 0}


@pytest.mark.parametrize("when", ["pre", "post"])
def test_a_page_of_too_many_spans_is_quarantined(
    when: str, dolma: Any, archive: Path, tmp_path: Path, read_jsonl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tag", "batch"):
        monkeypatch.setattr(f"dolma_data.{name}.MOST_SPANS", 3)
    module = tmp_path / "mine.py"
    module.write_text(
        "from dolma_data.batch import listed_spans\n"
        "from dolma_data.taggers import tagger\n"
        f"@tagger('many_{when}', types=('all',), source='a test')\n"
        "def many(batch):\n"
        "    counts = [4 if 'two.' in row['metadata']['url'] else 2 for row in batch.documents]\n"
        "    yield listed_spans('all', [(k, 0, 0, 1.0) for k, count in enumerate(counts) for _ in range(count)])\n"
    )
    taggers = ("--tagger-modules", module, f"--{when}.taggers", f"many_{when}", "--max-failed", "1")
    assert run(dolma, archive, tmp_path / "out", *taggers) == 0
    (only,) = read_jsonl(tmp_path / "out" / "documents" / "deep" / "one.jsonl.gz")
    assert only["metadata"]["url"] == "one.example/a"
    assert only["attributes"] == {f"many_{when}__many_{when}__all": [[0, 0, 1.0]] * 2}
    (failed,) = read_jsonl(tmp_path / "out" / "quarantine.jsonl")
    before = "before extraction: " if when == "pre" else ""
    assert (failed["line"], failed["reason"]) == (3, f"{before}more than 3 spans of one type")
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]
    assert counts == {"read": 5, "kept": 1, "dropped": 3, "failed": 1}


def test_a_page_of_more_than_a_line_can_hold_is_quarantined(
    dolma: Any, archive: Path, tmp_path: Path, read_jsonl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dolma_data.shard_writing.MAX_LINE_BYTES", 100)
    assert run(dolma, archive, tmp_path / "out", "--max-failed", "2") == 0
    failed = read_jsonl(tmp_path / "out" / "quarantine.jsonl")
    assert [(row["line"], row["reason"]) for row in failed] == [
        (k, "its line would have more than 0 MiB") for k in (2, 3)
    ]


def test_compat_takes_every_record_and_puts_files_where_dolma_does(
    dolma: Any, archive: Path, tmp_path: Path, read_jsonl: Any
) -> None:
    assert run(dolma, archive, tmp_path / "out", "--compat", "dolma") == 0
    rows = read_jsonl(tmp_path / "out" / "deep" / "one.jsonl.gz")
    assert len(rows) == 3  # the bytes of the image are no text
    assert rows[2]["text"] == ""
    assert rows[0]["metadata"]["warc_filename"].startswith("<urn:uuid:")
    assert run(dolma, archive, tmp_path / "ours") == 0
    one, two = read_jsonl(tmp_path / "ours" / "documents" / "deep" / "one.jsonl.gz")
    assert [row["id"][:-9] for row in (one, two)] == [row["id"] for row in rows[:2]]  # and address and time
    assert one["metadata"]["warc_date"] != rows[0]["metadata"]["warc_date"]
    assert all(row["attributes"] == {} for row in rows)


def test_a_damaged_archive_is_counted_and_its_whole_records_kept(
    dolma: Any, archive: Path, tmp_path: Path, capsys: Any
) -> None:
    data = archive.read_bytes()
    archive.write_bytes(data[:-30])
    assert run(dolma, archive, tmp_path / "out") == 2
    assert "1 records failed" in capsys.readouterr().err
    assert run(dolma, archive, tmp_path / "out", "--max-failed", "1") == 0
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]
    assert (counts["kept"], counts["failed"]) == (2, 1)


def test_the_number_of_processes_changes_nothing(dolma: Any, archive: Path, tmp_path: Path) -> None:
    (archive.parent / "two.warc.gz").write_bytes(archive.read_bytes())
    for processes in ("1", "2"):
        assert run(dolma, archive, tmp_path / processes, "--processes", processes) == 0
    for name in ("one", "two"):
        tree = Path("documents") / "deep" / f"{name}.jsonl.gz"
        assert (tmp_path / "1" / tree).read_bytes() == (tmp_path / "2" / tree).read_bytes()


def test_one_archive_is_work_for_all_processes(dolma: Any, archive: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("dolma_data.extract.spread.PIECE_BYTES", 100)
    shared: list[int] = []
    map_ordered = archives.map_ordered
    monkeypatch.setattr(archives, "map_ordered", lambda *given: shared.append(given[-1]) or map_ordered(*given))
    for processes in ("1", "3"):
        assert run(dolma, archive, tmp_path / processes, "--processes", processes) == 0
    assert shared == [1, 3]
    tree = Path("documents") / "deep" / "one.jsonl.gz"
    assert (tmp_path / "1" / tree).read_bytes() == (tmp_path / "3" / tree).read_bytes()


def test_patterns_keep_the_tree_below_their_fixed_part(dolma: Any, archive: Path, tmp_path: Path) -> None:
    pattern = f"{archive.parents[1]}/*/*.warc.gz"
    status = dolma("warc", "--documents", pattern, "--destination", tmp_path / "out", "--source-name", "s")
    assert status == 0
    assert (tmp_path / "out" / "documents" / "deep" / "one.jsonl.gz").is_file()


def test_an_archive_beside_its_unpacked_form_keeps_its_whole_name(dolma: Any, archive: Path, tmp_path: Path) -> None:
    packed = archive.read_bytes()
    folder = tmp_path / "both"
    folder.mkdir()
    (folder / "x.warc.gz").write_bytes(packed)
    (folder / "x.warc").write_bytes(gzip.decompress(packed))
    (folder / "y.warc.gz").write_bytes(packed)
    line = ("warc", "--documents", folder, "--destination", tmp_path / "out", "--source-name", "s")
    assert dolma(*line) == 0
    written = sorted(path.name for path in (tmp_path / "out" / "documents").iterdir())
    assert written == ["x.warc.gz.jsonl.gz", "x.warc.jsonl.gz", "y.jsonl.gz"]
    assert dolma(*line, "--compat", "dolma") == 2  # where the one would take the other's place


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pre.skip",), "pre.skip without taggers"),
        (("--post.taggers", "gopher_v3"), "did you mean"),
        (("--linearizer", "lynx"), "lynx"),
        (("--destination", "a", "b"), "destinations for 1 documents"),
    ],
)
def test_mistakes_are_one_line(
    dolma: Any, archive: Path, tmp_path: Path, capsys: Any, arguments: tuple[str, ...], message: str
) -> None:
    base = ["--documents", archive, "--source-name", "s"]
    if "--destination" not in arguments:
        base += ["--destination", tmp_path / "out"]
    assert dolma("warc", *base, *arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize(
    ("archive_name", "written"),
    [
        ("a.warc.gz", "a.jsonl.gz"),
        ("deep/a.b.warc", "deep/a.b.jsonl.gz"),
        ("a.warc.wet.gz", "a.wet.jsonl.gz"),
        ("a.arc.gz", "a.arc.jsonl.gz"),
    ],
)
def test_names_of_outputs(archive_name: str, written: str) -> None:
    assert output_name(archive_name) == written


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        ("http://www.Example.org/A/", "example.org/A"),
        ("<https://www2.example.org/?b=2&a=1>", "example.org/?a=1&b=2"),
        ("dns:example.org", "dns:example.org"),
        ("", ""),
    ],
)
def test_addresses_in_one_spelling(address: str, normal: str) -> None:
    assert normalise_address(address) == normal


@pytest.mark.parametrize("stated", [None, "", "yesterday", "Tue, 99 Nov 2022 12:30:00 GMT"])
def test_a_date_that_makes_no_sense_is_none(stated: str | None) -> None:
    assert sent_time(stated) is None


def test_resiliparse_reads_bytes_of_unknown_encoding() -> None:
    text = "Füchse laufen über die Straße, " * 20
    assert "Füchse" in resiliparse_text(f"<html><body><p>{text}</p></body></html>".encode("latin-1"))


@pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set")
def test_every_real_archive_gives_documents_or_a_count_of_what_is_broken(dolma: Any, tmp_path: Path) -> None:
    kept = failed = 0
    for path in sorted((Path(os.environ["DATA_DIR"]) / "corpora" / "web" / "warc").rglob("*")):
        if not path.name.endswith((".warc", ".arc", ".wet", ".warc.gz", ".arc.gz", ".wet.gz")):
            continue
        output = tmp_path / path.name
        arguments = ("--documents", path, "--destination", output, "--source-name", "web")
        assert dolma("warc", *arguments, "--max-failed", "100") == 0
        counts = json.loads((output / "manifest.json").read_text())["counts"]
        assert counts["kept"] + counts["dropped"] + counts["failed"] == counts["read"]
        assert counts["read"] > 0
        kept += counts["kept"]
        failed += counts["failed"]
    assert kept > 100
    assert failed > 0
