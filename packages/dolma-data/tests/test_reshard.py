"""Mixing folders of tokens: copies, shares, order, files."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def sources(dolma, write_documents, tmp_path) -> Path:
    """Tokens of two corpora, ``one`` of 10 documents and ``two`` of 40, by one tokenizer."""
    roots = {}
    for name, number in (("one", 10), ("two", 40)):
        rows = [
            {"id": f"{name}{k}", "text": f"{name} text {'word ' * (k % 5)}{k}", "source": name} for k in range(number)
        ]
        roots[name] = write_documents(rows, root=name)
    tokenizer = tmp_path / "tok"
    assert dolma("train-tokenizer", "--documents", roots["two"], "--vocab-size", 270, "--output", tokenizer) == 0
    for name, root in roots.items():
        out = tmp_path / f"tokens-{name}"
        arguments = ("--destination", out, "--tokenizer.name-or-path", tokenizer, "--max-size", 150)
        assert dolma("tokens", "--documents", root, *arguments) == 0
    return tmp_path


@pytest.fixture
def reshard(dolma, sources):
    """Run ``reshard`` with rates for the two sources; returns the exit status."""

    def run(rates: dict[str, float], out: str = "mixed", **more: Any) -> int:
        prefixes = [{"prefix": str(sources / name), "sample_rate": rate} for name, rate in rates.items()]
        settings = {"source_prefixes": prefixes, "destination_prefix": str(sources / out), **more}
        (sources / "reshard.json").write_text(json.dumps(settings))
        return dolma("reshard", "-c", sources / "reshard.json")

    return run


def documents(folder: Path) -> list[tuple[str, str, str, tuple[int, ...]]]:
    """Id, source path, line and ids of every document in the order of the folder."""
    found = []
    for path in sorted(folder.glob("*.npy")):
        ids = np.fromfile(path, dtype="<u2")
        with gzip.open(path.with_suffix(".csv.gz"), "rt", newline="", encoding="utf-8") as table:
            for start, end, name, source, line in csv.reader(table):
                found.append((name, source, line, tuple(ids[int(start) : int(end)].tolist())))
    return found


def test_whole_copies_and_a_share_by_chance(reshard, sources):
    assert reshard({"tokens-one": 2, "tokens-two": 1.5}, max_size_bytes=400) == 0
    one, two = documents(sources / "tokens-one"), documents(sources / "tokens-two")
    mixed = Counter(documents(sources / "mixed"))
    assert {document: mixed[document] for document in one} == dict.fromkeys(one, 2)
    assert set(mixed) == {*one, *two}
    assert {mixed[document] for document in two} == {1, 2}
    again = sum(mixed[document] == 2 for document in two)
    assert 10 < again < 30
    manifest = json.loads((sources / "mixed/manifest.json").read_bytes())
    assert manifest["counts"] == {"read": 100, "kept": 60 + again, "dropped": 40 - again, "failed": 0}
    assert manifest["tokens"] == sum(len(document[3]) * times for document, times in mixed.items())
    assert all(file["tokens"] <= 200 for file in manifest["files"])


def test_the_order_mixes_sources_and_depends_on_the_seed_alone(reshard, sources, contents):
    rates = {"tokens-one": 1, "tokens-two": 1}
    assert reshard(rates, "a", max_num_files=3) == 0
    assert reshard(rates, "b", max_num_files=3, max_workers=2) == 0
    assert reshard(rates, "c", max_num_files=3, random_seed=1, local_tempdir=str(sources / "temporary")) == 0
    assert contents(sources / "a") == contents(sources / "b")
    a, c = documents(sources / "a"), documents(sources / "c")
    assert a != c
    assert sorted(a) == sorted(c) == sorted(documents(sources / "tokens-one") + documents(sources / "tokens-two"))
    assert len(list((sources / "a").glob("*.npy"))) == 3
    first = [document[0][:3] for document in a[:25]]
    assert {"one", "two"} == set(first)
    assert list((sources / "temporary").iterdir()) == []


def test_folders_without_a_manifest_need_a_tokenizer(reshard, sources, capsys):
    (sources / "tokens-one/manifest.json").unlink()
    assert reshard({"tokens-one": 1}, max_num_files=1) == 2
    assert "give the tokenizer" in capsys.readouterr().err
    assert reshard({"tokens-one": 1}, max_num_files=1, tokenizer_name_or_path=str(sources / "tok")) == 0
    assert sorted(documents(sources / "mixed")) == sorted(documents(sources / "tokens-one"))


def test_a_dry_run_lists_files_or_what_is_missing(reshard, sources, capsys):
    assert reshard({"tokens-one": 1}, max_num_files=1, dryrun=True) == 0
    assert "tokens-one/part-0-00000.npy" in capsys.readouterr().out
    assert reshard({"tokens-one": 1, "nowhere": 1}, max_num_files=1, dryrun=True) == 0
    assert f"missing:\n- {sources}/nowhere" in capsys.readouterr().out
    assert not (sources / "mixed").exists()


@pytest.mark.parametrize(
    ("rates", "more", "message"),
    [
        ({"tokens-one": 1}, {}, "one of them"),
        ({"tokens-one": 1}, {"max_size_bytes": 9, "max_num_files": 1}, "one of them"),
        ({"tokens-one": 0}, {"max_num_files": 1}, "give more than 0"),
        ({"tokens-one": 1e300}, {"max_num_files": 1}, "give more than 0, at most 10,000"),
        ({"tok": 1}, {"max_num_files": 1}, "no token files"),
        ({"tokens-one": 1e-9}, {"max_num_files": 1}, "no document is taken"),
        ({"tokens-one": 1}, {"max_num_files": 1, "tokenizer_name_or_path": "OTHER"}, "of another tokenizer"),
    ],
)
def test_what_cannot_be_mixed_is_refused(reshard, sources, capsys, rates, more, message):
    text = (sources / "tok/tokenizer.json").read_text()
    (sources / "other.json").write_text(text + "\n")
    more = {key: str(sources / "other.json") if value == "OTHER" else value for key, value in more.items()}
    assert reshard(rates, **more) == 2
    assert message in capsys.readouterr().err
    assert not (sources / "mixed").exists()


def test_the_largest_id_is_known_and_one_beyond_the_tokenizer_refused(reshard, sources, capsys):
    assert reshard({"tokens-one": 1, "tokens-two": 1}, max_size_bytes=400) == 0
    manifest = json.loads((sources / "mixed/manifest.json").read_bytes())
    assert manifest["max_token_id"] == max(max(ids) for *_, ids in documents(sources / "mixed"))
    file = next((sources / "tokens-one").glob("*.npy"))
    ids = np.fromfile(file, dtype="<u2")
    ids[0] = 9999
    ids.tofile(file)
    assert reshard({"tokens-one": 1}, out="new", max_size_bytes=400) == 2
    assert "the sources hold id 9999, and the tokenizer has 270" in capsys.readouterr().err
    assert not (sources / "new").exists()


@pytest.mark.parametrize("content", ["[]", "{}", '{"dtype": "int7"}', "null"])
def test_a_damaged_manifest_is_named(reshard, sources, capsys, content):
    (sources / "tokens-one/manifest.json").write_text(content)
    assert reshard({"tokens-one": 1}, max_num_files=1) == 2
    assert f"not a manifest of tokens ({sources}/tokens-one/manifest.json)" in capsys.readouterr().err


def test_a_manifest_with_a_wrong_type_is_named(reshard, sources, capsys):
    path = sources / "tokens-one/manifest.json"
    manifest = json.loads(path.read_text())
    for name, value in (("vocab_size", "x"), ("eos_token_id", [])):
        path.write_text(json.dumps(manifest | {name: value}))
        assert reshard({"tokens-one": 1}, max_num_files=1) == 2
        assert "not a manifest of tokens" in capsys.readouterr().err


@pytest.mark.parametrize("row", [b"0,1,a,b,99999999999999999999", b"0,1,a,b", b'"0,1,a,b,1', b"\xff,1,a,b,1"])
def test_an_odd_row_of_a_table_is_named(reshard, sources, capsys, row):
    table = next((sources / "tokens-one").glob("*.csv.gz"))
    table.write_bytes(gzip.compress(row + b"\r\n"))
    assert reshard({"tokens-one": 1}, max_num_files=1) == 2
    assert f"{table.name}, line 1" in capsys.readouterr().err


def test_ids_of_any_length_are_read(reshard, sources):
    table = next((sources / "tokens-one").glob("*.csv.gz"))
    first, *others = gzip.decompress(table.read_bytes()).splitlines(keepends=True)
    start, end, _, *more = first.split(b",")
    table.write_bytes(gzip.compress(b",".join([start, end, b"i" * 200_000, *more]) + b"".join(others)))
    assert reshard({"tokens-one": 1}, max_num_files=1) == 0


def test_a_damaged_table_names_file_and_line(reshard, sources, capsys):
    table = next((sources / "tokens-one").glob("*.csv.gz"))
    rows = gzip.decompress(table.read_bytes()).splitlines(keepends=True)
    table.write_bytes(gzip.compress(rows[0] + b"1,2,x\r\n"))
    assert reshard({"tokens-one": 1}, max_num_files=1) == 2
    assert f"{table.name}, line 2" in capsys.readouterr().err
    table.write_bytes(gzip.compress(rows[0] + b"".join(rows[2:])))
    assert reshard({"tokens-one": 1}, max_num_files=1) == 2
    assert "does not go on" in capsys.readouterr().err


def test_one_source_named_twice_stays_what_it_is(reshard, sources):
    settings = {"prefix": str(sources / "tokens-one"), "sample_rate": 1}
    assert reshard({"tokens-two": 1}, max_num_files=1, source_prefixes=[settings, settings]) == 0
    assert "compat" not in json.loads((sources / "mixed/manifest.json").read_bytes())


def test_sources_that_were_cut_otherwise_are_refused(dolma, reshard, sources, capsys):
    arguments = ("--tokenizer.name-or-path", sources / "tok", "--tokenizer.segment-before-tokenization")
    assert dolma("tokens", "--documents", sources / "two", "--destination", sources / "cut", *arguments) == 0
    assert json.loads((sources / "cut/manifest.json").read_bytes())["segment_before_tokenization"] is True
    assert reshard({"tokens-one": 1, "cut": 1}, max_num_files=1) == 2
    assert "the sources differ in segment_before_tokenization" in capsys.readouterr().err
