"""Mixing in another order, with Dolma's places and defects, in jq, and with what the lint says at start."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.config.mix import MixOutput, MixStream, SpanReplacement
from dolma_data.documents import Shard
from dolma_data.mix.finished import Data, Finished
from dolma_data.mix.rules import Funnel, compile_rules, replace_spans
from dolma_data.mix.shuffle import Spill, buckets_of, order_bucket


def document(identifier: Any, text: str = "some text", source: str = "s", **more: Any) -> dict[str, Any]:
    return {"id": identifier, "text": text, "source": source, **more}


@pytest.fixture
def write_attributes(tmp_path):
    def write(rows: list[dict[str, Any]], name: str = "t", file: str = "a.jsonl.gz") -> None:
        path = tmp_path / "corpus/attributes" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))

    return write


@pytest.fixture
def mix(dolma, tmp_path):
    """Mix ``corpus`` into ``out`` with these settings; returns the exit status."""

    def run(*options: object, settings: dict[str, Any] | None = None, **stream: Any) -> int:
        whole = {"name": "m", "documents": [str(tmp_path / "corpus/documents/*")]}
        output = {"path": str(tmp_path / "out")} | stream.pop("output", {})
        config = {"streams": [whole | stream | {"output": output}]} | (settings or {})
        (tmp_path / "mix.yaml").write_text(yaml.safe_dump(config))
        return dolma("mix", "-c", tmp_path / "mix.yaml", *options)

    return run


def plain(name: str, suffix: str = ".gz") -> Any:
    """Rows of a packed file."""
    data = Path(name).read_bytes()
    unpacked = (
        gzip.decompress(data) if suffix == ".gz" else zstandard.ZstdDecompressor().decompressobj().decompress(data)
    )
    return [json.loads(line) for line in unpacked.splitlines()]


class TestShuffle:
    def test_all_documents_come_once_in_an_order_of_the_seed_alone(self, mix, write_documents, contents, tmp_path):
        for name in "abc":
            write_documents([document(f"{name}{i}", f"{i * 7919}") for i in range(40)], f"{name}.jsonl.gz")
        size = (tmp_path / "corpus/documents/a.jsonl.gz").stat().st_size
        orders = []
        for seed, processes in ((0, 1), (0, 2), (1, 1)):
            settings = {"shuffle": True, "seed": seed}
            assert mix("--processes", processes, settings=settings, output={"max_size_in_bytes": size * 2}) == 0
            found = contents(tmp_path / "out")
            names = [name for name in found if name.startswith("documents/")]
            assert names == ["documents/m-0000.jsonl.gz", "documents/m-0001.jsonl.gz"]
            rows = [plain(tmp_path / "out" / name) for name in names]
            assert [len(part) for part in rows] == [60, 60]
            orders.append([row["id"] for part in rows for row in part])
            manifest = json.loads(found["manifest.json"])
            assert [file["documents"] for file in manifest["files"]] == [60, 60]
            assert manifest["sources"]["s"]["documents"] == 120
        assert orders[0] == orders[1]
        assert sorted(orders[0]) == sorted(orders[2]) == sorted(f"{name}{i}" for name in "abc" for i in range(40))
        assert len({tuple(orders[0]), tuple(orders[2]), tuple(sorted(orders[0]))}) == 3
        assert {row[0] for row in orders[0][:20]} == {"a", "b", "c"}  # over all files, not within each

    @given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 4), st.integers(0, 3))
    def test_buckets_hold_every_line_once_and_files_are_even(self, tmp_path_factory, sizes, files, seed):
        lines = [json.dumps({"text": "x" * size, "source": str(k)}).encode() + b"\n" for k, size in enumerate(sizes)]
        spilled = []
        for number, own in enumerate((lines[:10], lines[10:])):
            path = tmp_path_factory.mktemp("s") / "lines"
            with open(path, "wb") as stream:
                spill = Spill(Data(stream), 5, (seed, 0, number))
                for line in own:
                    spill.add([line])
                    spill.write()
            record = Finished("", {}, None, Shard(), Funnel(), spill.blocks, spill.documents)
            spilled.append((path, record))
        pieces = [p for bucket in buckets_of(spilled, files, (seed, 0), "", 0) for p in order_bucket(bucket)]
        assert sorted(b"".join(piece.packed for piece in pieces).splitlines(keepends=True)) == sorted(lines)
        assert [piece.number for piece in pieces] == sorted(piece.number for piece in pieces)
        packed = [b"".join(piece.packed for piece in pieces if piece.number == k) for k in range(files)]
        counts = [part.count(b"\n") for part in packed]
        assert max(counts) - min(counts) <= 1
        assert sum(size for piece in pieces for _, size in piece.shard.sources.values()) == sum(sizes)
        for begin in range(files + 1):  # files before it are there already
            rest = [p for bucket in buckets_of(spilled, files, (seed, 0), "", begin) for p in order_bucket(bucket)]
            assert rest == [piece for piece in pieces if piece.number >= begin]

    def test_false_gives_one_output_for_every_input(self, mix, write_documents, tmp_path):
        write_documents([document("1"), document("2", "x")], "deep/a.jsonl.gz")
        write_documents([document("3", "y")], "b.jsonl.gz")
        stream = {"documents": [str(tmp_path / "corpus")], "output": {"min_text_length": 2}}
        assert mix("--no-shuffle", **stream) == 0
        assert [row["id"] for row in plain(tmp_path / "out/documents/deep/a.jsonl.gz")] == ["1"]
        assert plain(tmp_path / "out/documents/b.jsonl.gz") == []
        assert mix("--no-shuffle", compression={"output": "zst"}, **stream) == 0
        assert [row["id"] for row in plain(tmp_path / "out/documents/deep/a.jsonl.zst", ".zst")] == ["1"]

    def test_a_file_gives_the_same_bytes_whole_and_in_pieces(
        self, mix, write_documents, contents, tmp_path, monkeypatch
    ):
        write_documents([document(str(k), f"text {k} " * k) for k in range(60)])
        monkeypatch.setattr("dolma_data.mix.reading.CHUNK_BYTES", 1000)
        assert mix(filter={"exclude": ["$[?(@.id == '7')]"]}) == 0
        expected = contents(tmp_path / "out")
        monkeypatch.setattr("dolma_data.mix.output_files.SMALL_FILE_BYTES", 0)
        assert mix("--processes", 2, filter={"exclude": ["$[?(@.id == '7')]"]}) == 0
        assert contents(tmp_path / "out") == expected
        assert expected["documents/m-0000.jsonl.gz"].count(b"\x1f\x8b\x08\x00") > 5

    def test_a_configuration_that_says_nothing_keeps_the_order(self, mix, write_documents, tmp_path):
        write_documents([document(str(i)) for i in range(50)])
        assert mix() == 0
        assert [row["id"] for row in plain(tmp_path / "out/documents/m-0000.jsonl.gz")] == list(map(str, range(50)))


class TestCompat:
    """Defects of Dolma's mixer that configurations may count on."""

    def test_files_lie_where_dolma_writes_them_and_the_last_is_called_json(self, mix, write_documents, tmp_path):
        for name in "ab":
            write_documents([document(name, " ")], f"{name}.jsonl.gz")
        (tmp_path / "out").mkdir()
        (tmp_path / "out/other.txt").write_text("stays")
        settings = {"compat": "dolma", "shuffle": True}
        assert mix(settings=settings, output={"max_size_in_bytes": 1}) == 0
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == ["m-0000.jsonl.gz", "m-0001.json.gz", "other.txt"]
        assert plain(tmp_path / "out/m-0001.json.gz") == [document("b", " ", metadata={"provenance": "b.jsonl.gz:1"})]
        (tmp_path / "out/m-0000.jsonl.gz").write_bytes(b"made before")
        assert mix(settings=settings, output={"max_size_in_bytes": 1}) == 0
        assert (tmp_path / "out/m-0000.jsonl.gz").read_bytes() == b"made before"

    def test_the_integer_1_is_not_1_0(self, mix, write_documents, write_attributes, tmp_path, capsys, caplog):
        write_documents([document("1"), document("2"), document("3")])
        write_attributes([{"id": str(i), "attributes": {"k": [[0, 9, i / 2 if i < 2 else i // 2]]}} for i in (1, 2, 3)])
        rule = {"exclude": ["$.attributes[?(@.k && @.k[0][2] >= 1.0)]"]}
        assert mix(attributes=["t"], filter=rule) == 0
        assert [row["id"] for row in plain(tmp_path / "out/documents/m-0000.jsonl.gz")] == ["1"]
        assert "is not >= 1.0" in caplog.text
        assert "here it does" in caplog.text
        assert mix("--compat", "dolma", attributes=["t"], filter=rule) == 0
        assert [row["id"] for row in plain(tmp_path / "out/m-0000.json.gz")] == ["1", "2", "3"]

    def test_missing_and_short_attributes_let_documents_pass(self, mix, write_documents, write_attributes, tmp_path):
        write_documents([document("1"), document("2")])
        write_attributes([{"id": "1", "attributes": {"k": [[0, 1, 0.9]]}}], "short")
        write_attributes([{"id": "1", "attributes": {}}, {"id": "2", "attributes": {"k": [[0, 1, 0.9]]}}], "late")
        rule = {"exclude": ["$.attributes.k"]}
        for names in (["none"], ["short"], ["short", "late"]):
            assert mix(attributes=names, filter=rule) == 2
        assert mix("--compat", "dolma", attributes=["none", "short", "late"], filter=rule) == 0
        assert plain(tmp_path / "out/m-0000.json.gz") == [
            document("2", attributes={}, metadata={"provenance": "a.jsonl.gz:2"})
        ]

    def test_numbers_may_be_ids_and_a_damaged_file_ends_where_it_is_damaged(self, mix, write_documents, tmp_path):
        root = write_documents([document(i, str(i) * 1000) for i in range(200)])
        path = root / "documents/a.jsonl.gz"
        path.write_bytes(path.read_bytes()[:-20])
        assert mix(filter={"include": ["$.id"]}) == 2
        assert mix("--compat", "dolma", filter={"include": ["$.id"]}) == 0
        ids = [row["id"] for row in plain(tmp_path / "out/m-0000.json.gz")]
        assert ids == list(range(len(ids)))
        assert 0 < len(ids) <= 200

    @pytest.mark.parametrize(
        ("spans", "text"),
        [
            ([[1, 3, 1]], "a<bc>de"),
            ([[1, 1, 1]], "a<>cde<bcde>"),  # swallows a character, and comes again at the end
            ([[1, 1, 1], [3, 4, 1]], "a<>cde<bcde>"),  # stops what comes later
            ([[7, 9, 1]], "abcde<abcde>"),
            ([[3, 9, 1]], "abc<de>"),
            ([[5, 5, 1]], "abcde<abcde>"),
            ([[4, 2, 1]], "ab<ab>cd<e>"),
        ],
    )
    def test_odd_spans(self, spans, text):
        stream = MixStream(
            name="m",
            documents=(),
            output=MixOutput(path="x"),
            span_replacement=[SpanReplacement(span="$.attributes.k", replacement="<{}>", min_score=0)],
        )
        row = document("1", "abcde", attributes={"k": spans})
        assert replace_spans(row, compile_rules(stream, "dolma"), {}) == text


def test_both_languages_and_programs_as_replacements(mix, write_documents, write_attributes, tmp_path):
    write_documents([document("1", "ab cd"), document("2", "ab cd"), document("3", "ab cd")])
    scores = {"1": [[0, 2, 0.9]], "2": [[0, 2, 0.2], [3, 5, 0.7]], "3": []}
    write_attributes([{"id": key, "attributes": {"k": spans}} for key, spans in scores.items()])
    status = mix(
        attributes=["t"],
        filter={"include": [".attributes.k | length > 0"], "exclude": [".attributes.k[0][2] > 0.8"], "syntax": "jq"},
        span_replacement=[
            {
                "span": ".attributes.k[] | select(.[0] > 0)",
                "syntax": "jq",
                "min_score": 0,
                "replacement": "$.source + .id",
            },
            {"span": "$.attributes.k[0]", "max_score": 0.5, "replacement": "{}{}"},
        ],
        output={"discard_fields": ["attributes"]},
    )
    assert status == 0
    (row,) = plain(tmp_path / "out/documents/m-0000.jsonl.gz")
    assert row["text"] == "abab s2"


def test_a_program_that_fails_names_the_line(mix, write_documents, capsys):
    write_documents([document("1", metadata={"n": 1}), document("2")])
    assert mix(filter={"include": [".metadata.n == 1"], "syntax": "jq"}) == 2
    assert "cannot index null with" in (message := capsys.readouterr().err)
    assert "a.jsonl.gz, line 2" in message


def test_lines_that_cannot_be_held_keep_their_place(mix, write_documents, write_attributes, tmp_path, monkeypatch):
    monkeypatch.setattr("dolma_data.reading.MAX_LINE_BYTES", 1000)
    monkeypatch.setattr("dolma_data.reading.PIECE_BYTES", 100)
    write_documents([document("1"), document("2", "x" * 2000), document("3")])
    write_attributes([{"id": name, "attributes": {}} for name in ("1", None, "3")])
    assert mix("--max-failed", 1, attributes=["t"]) == 0
    assert [row["id"] for row in plain(tmp_path / "out/documents/m-0000.jsonl.gz")] == ["1", "3"]
    assert json.loads((tmp_path / "out/quarantine.jsonl").read_bytes())["line"] == 2


def test_input_packing_is_taken_as_given(mix, write_documents, tmp_path):
    root = write_documents([document("1")])
    path = root / "documents/a.jsonl.gz"
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert mix(compression={"input": "", "output": ""}) == 0
    assert json.loads((tmp_path / "out/documents/m-0000.jsonl").read_bytes())["id"] == "1"


def test_fields_that_nothing_touches_come_out_as_they_went_in(mix, write_documents, tmp_path):
    line = b'{"id":"1","n":1.50e+2,"text":"a","source":"s","metadata": {"big":12345678901234567890123,"x": [ ] } }'
    write_documents([line, line.replace(b'"x": [ ]', b'"provenance":"old"'), line.replace(b'"big"', b'"b\\u0069g"')])
    assert mix(compression={"output": ""}) == 0
    lines = (tmp_path / "out/documents/m-0000.jsonl").read_bytes().splitlines()
    assert lines[0].startswith(b'{"id":"1","n":1.50e+2,"text":"a","source":"s","metadata":')
    assert b'"big":12345678901234567890123,' in lines[0]
    assert [json.loads(line)["metadata"]["provenance"] for line in lines] == [f"a.jsonl.gz:{k}" for k in (1, 2, 3)]


class TestLint:
    @pytest.mark.parametrize(
        ("rule", "note"),
        [
            ("$.attributes[?(@.g__fraction_of_x[0][2] > 1)]", "lies between 0 and 1"),
            ("$.attributes[?(@.word_cont[0][2] > 5)]", "did you mean word_count?"),
            ("$.attributes.other__x__y", "in the attributes other, which the stream does not load"),
            ("$.attributes[?(@.whole[0][2] == 1.0)]", "is not == 1.0"),
            ("$.attributes.whole[?(@[2] > 5 && @[0] > 3)]", "are put to what is in it"),
            ("$[?(@.n in [3])]", "an index into @"),
            ("$[?(!(@.attributes.whole.length() > 1))]", "gives nothing inside a test"),
        ],
    )
    def test_rules_that_cannot_do_what_they_say(self, mix, write_documents, write_attributes, caplog, rule, note):
        write_documents([document("1")])
        spans = {"g__fraction_of_x": [[0, 1, 0.5]], "word_count": [[0, 1, 7.0]], "whole": [[0, 1, 1]]}
        write_attributes([{"id": "1", "attributes": spans}])
        write_attributes([{"id": "1", "attributes": {}}], "other")
        assert mix(attributes=["t"], filter={"exclude": [rule]}) == 0
        assert note in caplog.text

    def test_a_logarithm_is_no_probability(self, mix, write_documents, write_attributes, caplog):
        write_documents([document("1")])
        write_attributes([{"id": "1", "attributes": {"d__dclm_oh_eli5_log__score": [[0, 1, -5.5]]}}])
        assert (
            mix(attributes=["t"], filter={"exclude": ["$.attributes[?(@.d__dclm_oh_eli5_log__score[0][2] < -6)]"]}) == 0
        )
        assert "warning" not in caplog.text

    def test_bounds_that_leave_no_score_and_names_given_twice(self, mix, write_documents, write_attributes, caplog):
        write_documents([document("1")])
        write_attributes([{"id": "1", "attributes": {"k": [[0, 1, 0.5]], "x_frac": [[0, 1, 0.5]]}}])
        spans = [
            {"span": "$.attributes.k", "min_score": 1, "max_score": 0.5},
            {"span": "$.attributes.x_frac", "min_score": 2},
        ]
        assert mix(attributes=["t", "t"], span_replacement=spans, settings={"shuffle": True}) == 0
        for note in ("no score is 1.0 or more", "lie between 0 and 1", "are named twice", "here it shuffles"):
            assert note in caplog.text

    def test_sound_rules_have_no_notes(self, mix, write_documents, write_attributes, caplog):
        write_documents([document("1")])
        write_attributes([{"id": "1", "attributes": {"k": [[0, 1, 0.5]], "x_frac": [[0, 1, 0.5]]}}])
        rules = {"exclude": ["$.attributes[?(@.k[0][2] >= 1.0 || @.x_frac[0][2] > 0.4)]"]}
        assert mix(attributes=["t"], filter=rules) == 0
        assert "warning" not in caplog.text
