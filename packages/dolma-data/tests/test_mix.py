"""Mixing: joining, filtering, replacing, and the account of it."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.config.mix import MixFilter, MixOutput, MixStream, SpanReplacement
from dolma_data.errors import UserError
from dolma_data.mix.rules import Funnel, Replacer, Rules, apply_rules, compile_rules, replace_spans
from dolma_data.select.jsonpath import compile_path

TEXT = "ab cd ef gh"


def document(identifier: str, text: str = TEXT, source: str = "s", **more: Any) -> dict[str, Any]:
    return {"id": identifier, "text": text, "source": source, **more}


def attributes(identifier: str | None, spans: dict[str, Any], source: str | None = "s", **more: Any) -> dict[str, Any]:
    return {"id": identifier, "attributes": spans, "source": source, **more}


@pytest.fixture
def write_attributes(tmp_path):
    def write(rows: list[Any], name: str = "t", file: str = "a.jsonl.gz", keys: list[str] | None = None) -> None:
        path = tmp_path / "corpus/attributes" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        path.write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines)))
        if keys is not None:
            manifest = {
                "artifact": "attributes",
                "format_version": 1,
                "name": name,
                "files": [],
                "taggers": [{"name": name, "keys": keys, "source": "test", "digest": None}],
                "counts": {},
            }
            (tmp_path / "corpus/attributes" / name / "manifest.json").write_text(json.dumps(manifest))

    return write


@pytest.fixture
def mix(dolma, tmp_path):
    """Mix ``corpus`` into ``out`` with the stream's settings given; returns the exit status."""

    def run(*options: object, streams: list[dict[str, Any]] | None = None, **stream: Any) -> int:
        whole = {"name": "m", "documents": [str(tmp_path / "corpus")], "output": {"path": str(tmp_path / "out")}}
        output = whole["output"] | stream.pop("output", {})
        config = {"streams": streams or [whole | stream | {"output": output}]}
        (tmp_path / "mix.yaml").write_text(yaml.safe_dump(config))
        return dolma("mix", "-c", tmp_path / "mix.yaml", *options)

    return run


def test_rules_drop_and_the_funnel_accounts_for_everything(
    mix, write_documents, write_attributes, read_jsonl, tmp_path
):
    rows = [
        document("1", metadata={"k": 1}),
        document("2"),
        document("3", source="t"),
        document("4", " \n"),
        document("5", "abc"),
        document("6", source="t", metadata=None),
    ]
    write_documents(rows)
    scores = {"1": 0.1, "2": 0.9, "3": 0.9, "4": 0.1, "5": 0.1, "6": 0.1}
    write_attributes(
        [attributes(key, {"q": [[0, 2, score]]} | ({"d": []} if key == "3" else {})) for key, score in scores.items()],
        keys=["q", "d"],
    )
    assert (
        mix(
            attributes=["t"],
            filter={
                "include": ["$.attributes[?(@.q)]"],
                "exclude": ["$.attributes[?(@.d)]", "$.attributes[?(@.q[0][2] > 0.5)]"],
            },
            output={"min_text_length": 4, "discard_fields": ["attributes"]},
        )
        == 0
    )
    assert read_jsonl(tmp_path / "out/documents/m-0000.jsonl.gz") == [
        document("1", metadata={"k": 1, "provenance": "a.jsonl.gz:1"}),
        document("6", source="t", metadata={"provenance": "a.jsonl.gz:6"}),
    ]
    assert json.loads((tmp_path / "out/funnel.json").read_bytes()) == {
        "format_version": 1,
        "read": {"s": 4, "t": 2},
        "kept": {"s": 1, "t": 1},
        "rules": [
            {"rule": "blank text", "stream": "m", "dropped": {"s": 1}, "matched": {"s": 1}},
            {"rule": "no include rule matches", "stream": "m", "dropped": {}, "matched": {}},
            {"rule": "$.attributes[?(@.d)]", "stream": "m", "dropped": {"t": 1}, "matched": {"t": 1}},
            {
                "rule": "$.attributes[?(@.q[0][2] > 0.5)]",
                "stream": "m",
                "dropped": {"s": 1},
                "matched": {"s": 1, "t": 1},
            },
            {"rule": "min_text_length 4", "stream": "m", "dropped": {"s": 1}, "matched": {"s": 1}},
        ],
        "replaced_spans": {},
        "text_bytes": {"read": {"s": 27, "t": 22}, "kept": {"s": 11, "t": 11}},
    }
    manifest = json.loads((tmp_path / "out/manifest.json").read_bytes())
    assert manifest["counts"] == {"read": 6, "kept": 2, "dropped": 4, "failed": 0}


def test_null_and_one_span_without_a_list_stand_beside_lists_of_spans(
    mix, write_documents, write_attributes, read_jsonl, tmp_path
):
    write_documents([document(str(k)) for k in range(4)])
    found = [None, [[0, 3, 1.0]], [0, 3, 1], []]
    write_attributes([attributes(str(k), {"e": spans, "other": k}) for k, spans in enumerate(found)], keys=["e"])
    assert mix(attributes=["t"], span_replacement=[{"span": "$.attributes.e", "min_score": 0.5}]) == 0
    rows = read_jsonl(tmp_path / "out/documents/m-0000.jsonl.gz")
    assert [row["text"] for row in rows] == [TEXT, TEXT[3:], TEXT[3:], TEXT]
    assert [row["attributes"] for row in rows] == [{"e": spans, "other": k} for k, spans in enumerate(found)]


def test_replacement_happens_after_the_filter_and_before_the_length_is_looked_at(
    mix, write_documents, write_attributes, read_jsonl, tmp_path
):
    write_documents([document("1"), document("2")])
    write_attributes(
        [
            attributes("1", {"e": [[3, 5, 1.0]], "p": [[4, 7, 0.9], [6, 8, 0.4]]}),
            attributes("2", {"e": [[0, 11, 1.0]], "p": []}),
        ],
        keys=["e", "p"],
    )
    status = mix(
        attributes=["t"],
        span_replacement=[
            {"span": "$.attributes.e", "replacement": "<{}>", "min_score": 0.5},
            {"span": "$.attributes.p", "max_score": 0.5},
        ],
        output={"discard_fields": ["attributes"], "min_text_length": 13},
    )
    assert status == 0
    (row,) = read_jsonl(tmp_path / "out/documents/m-0000.jsonl.gz")
    assert row["text"] == "<ab cd ef gh>"
    funnel = json.loads((tmp_path / "out/funnel.json").read_bytes())
    assert funnel["replaced_spans"] == {"$.attributes.e": 2, "$.attributes.p": 1}


@pytest.mark.parametrize(
    ("spans", "text"),
    [
        ([], TEXT),
        ([[0, 2, 1]], "[ab] cd ef gh"),
        ([[9, 11, 1], [0, 2, 1]], "[ab] cd ef [gh]"),
        ([[0, 5, 1], [3, 8, 1], [5, 6, 1]], "[ab cd][ ]ef gh"),
        ([[0, 2, 0.49], [3, 5, 0.5], [6, 8, 0.7]], "ab [cd] ef gh"),  # 0.5 ≤ score < 0.7
        ([[9, 12, 1]], "ab cd ef [gh]"),  # one past the end
        ([[3, 3, 1]], "ab []cd ef gh"),
    ],
)
def test_replaced_spans(spans, text):
    high = 0.7 if any(score == 0.7 for _, _, score in spans) else float("inf")
    replacer = Replacer(compile_path("$.attributes.k"), "[{}]", 0.5, high)
    assert replace_spans(document("1", attributes={"k": spans}), Rules((), (), (replacer,), (), 0), {}) == text


@given(st.text(), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))))
def test_replacing_spans_by_themselves_changes_nothing(text, pairs):
    spans = [[min(*pair, len(text)), min(max(pair), len(text)), 1.0] for pair in pairs]
    replacer = Replacer(compile_path("$.attributes.k"), "{}", 0.0, 2.0)
    assert replace_spans(document("1", text, attributes={"k": spans}), Rules((), (), (replacer,), (), 0), {}) == text


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", " ", "short", "a longer text"]),
            st.booleans(),
            st.integers(0, 3),
            st.sampled_from("st"),
        )
    )
)
def test_read_is_kept_plus_what_the_rules_dropped(rows):
    stream = MixStream(
        name="m",
        documents=(),
        output=MixOutput(path="x", min_text_length=6),
        filter=MixFilter(include=("$.metadata[?(@.yes == true)]",), exclude=("$[?(@.n > 1)]", "$[?(@.n > 2)]")),
    )
    funnel = Funnel()
    rules = compile_rules(stream)
    kept = 0
    for number, (text, yes, n, source) in enumerate(rows):
        row = document(str(number), text, source, metadata={"yes": yes}, n=n)
        dropped = apply_rules(rules, row, funnel)
        assert dropped is None or dropped in rules.names()
        assert (dropped is None) == (yes and n <= 1 and len(text) >= 6)
        kept += dropped is None
    for source in "st":
        gone = sum(counter.get(source, 0) for counter in funnel.dropped.values())
        assert funnel.read.get(source, 0) - gone == funnel.kept.get(source, 0)
    assert sum(funnel.kept.values()) == kept


class TestAttributesMustFit:
    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([attributes("1", {})], "line 2"),
            ([attributes("1", {}), attributes("2", {}), attributes("3", {})], "line 3"),
            ([attributes("1", {}), attributes("3", {})], "line 2"),
            ([attributes("1", {}), b"{"], "line 2"),
            ([attributes("1", {}), b'{"id": "2"}'], "line 2"),
            ([attributes("1", {"k": [[0, 1]]}), attributes("2", {})], "line 1"),
            ([attributes("1", {}), attributes(None, {}, None, quarantined="no text")], "line 2"),
            ([attributes("1", {"k": [[0, 99, 1.0]]}), attributes("2", {})], "outside the text"),
        ],
    )
    def test_rows_that_do_not_belong_fail_the_run(
        self, mix, write_documents, write_attributes, tmp_path, capsys, rows, message
    ):
        write_documents([document("1"), document("2")])
        write_attributes(rows, keys=["k"])
        status = mix(
            attributes=["t"],
            filter={"include": ["$.id"]},
            span_replacement=[{"span": "$.attributes.k", "min_score": 0}],
        )
        assert status == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_a_missing_file_fails_before_any_work(self, mix, write_documents, write_attributes, capsys):
        write_documents([document("1")])
        write_documents([document("1")], "b.jsonl.gz")
        write_attributes([attributes("1", {})])
        assert mix(attributes=["t"]) == 2
        assert "attributes/t/b.jsonl.gz" in capsys.readouterr().err

    def test_an_unknown_attribute_is_refused_with_the_nearest(self, mix, write_documents, write_attributes, capsys):
        write_documents([document("1")])
        write_attributes([attributes("1", {})], keys=["gopher__top_2grams"])
        assert mix(attributes=["t"], filter={"exclude": ["$.attributes[?(@.gopher__top_2gram[0][2] > 0.2)]"]}) == 2
        assert "did you mean gopher__top_2grams?" in capsys.readouterr().err
        assert mix(filter={"exclude": ["$.attributes[?(@.gopher__top_2grams)]"]}) == 2
        assert "attributes that are joined: none" in capsys.readouterr().err

    def test_without_a_manifest_a_key_may_still_come(self, mix, write_documents, write_attributes, caplog):
        write_documents([document("1")])
        write_attributes([attributes("1", {})])
        assert mix(attributes=["t"], filter={"exclude": ["$.attributes[?(@.duplicate)]"]}) == 0
        assert "no attribute 'duplicate' is known" in caplog.text


def test_a_bad_line_and_its_tombstone_are_one_failure(mix, write_documents, write_attributes, read_jsonl, tmp_path):
    write_documents([document("1"), b"{", document("3")])
    tombstone = attributes(None, {}, None, quarantined="not JSON")
    write_attributes([attributes("1", {}), tombstone, attributes("3", {})], keys=["k"])
    assert mix(attributes=["t"]) == 2
    assert mix("--max-failed", 1, attributes=["t"]) == 0
    assert [row["id"] for row in read_jsonl(tmp_path / "out/documents/m-0000.jsonl.gz")] == ["1", "3"]
    (failure,) = read_jsonl(tmp_path / "out/quarantine.jsonl")
    assert failure["line"] == 2
    assert failure["file"].endswith("a.jsonl.gz")
    write_attributes([attributes("1", {}), attributes("2", {}), attributes("3", {})], keys=["k"])
    assert mix("--max-failed", 1, attributes=["t"]) == 2  # a bad line must be a tombstone


def test_a_line_broken_where_another_tool_did_not_look_is_one_failure(mix, write_documents, write_attributes):
    write_documents([document("1"), b'{"id": "2", "text": "x", "source": "s", "metadata": "\xff"}'])
    write_attributes([attributes("1", {}), attributes("2", {})], keys=["k"])
    assert mix(attributes=["t"]) == 2
    assert mix("--max-failed", 1, attributes=["t"]) == 0


def test_a_pattern_among_the_attributes_joins_every_folder_that_it_matches(
    mix, write_documents, write_attributes, read_jsonl, tmp_path, capsys
):
    write_documents([document("1"), document("2")])
    write_attributes([attributes("1", {"a": [[0, 2, 1.0]]}), attributes("2", {"a": []})], "near_a")
    write_attributes([attributes("1", {"b": []}), attributes("2", {"b": [[0, 2, 1.0]]})], "near_b")
    write_attributes([attributes("1", {"c": []}), attributes("2", {"c": []})], "other")
    assert mix(attributes=["near_*"], filter={"exclude": ["$.attributes[?(@.b && @.b[0])]"]}) == 0
    (kept,) = read_jsonl(tmp_path / "out/documents/m-0000.jsonl.gz")
    assert kept["attributes"] == {"a": [[0, 2, 1.0]], "b": []}
    assert mix(attributes=["far_*"], filter={"include": ["$.id"]}) == 2
    assert "has no attributes 'far_*'" in capsys.readouterr().err


def test_attributes_of_the_document_are_kept_and_joined_ones_replace_equal_keys(
    mix, write_documents, write_attributes, read_jsonl, tmp_path
):
    write_documents([document("1", attributes={"own": [[0, 1, 1.0]], "k": [[0, 1, 0.0]]})])
    write_attributes([attributes("1", {"k": [[0, 2, 0.5]]})], keys=["k"])
    assert mix(attributes=["t"]) == 0
    (row,) = read_jsonl(tmp_path / "out/documents/m-0000.jsonl.gz")
    assert row["attributes"] == {"own": [[0, 1, 1.0]], "k": [[0, 2, 0.5]]}


def test_files_are_put_together_up_to_the_size_and_processes_do_not_matter(
    mix, write_documents, contents, read_jsonl, tmp_path
):
    for name in "abcde":
        write_documents([document(f"{name}{i}", f"{i * 7919}" * 10) for i in range(20)], f"{name}.jsonl.gz")
    size = (tmp_path / "corpus/documents/a.jsonl.gz").stat().st_size
    outputs = []
    for processes in (1, 2):
        assert mix("--processes", processes, output={"max_size_in_bytes": int(size * 2.5)}) == 0
        outputs.append(contents(tmp_path / "out"))
    assert outputs[0] == outputs[1]
    names = [name for name in outputs[0] if name.startswith("documents/")]
    assert names == [f"documents/m-{i:04d}.jsonl.gz" for i in range(3)]
    rows = [row for name in names for row in read_jsonl(tmp_path / "out" / name)]
    assert [row["id"] for row in rows] == [f"{name}{i}" for name in "abcde" for i in range(20)]
    assert rows[21]["metadata"] == {"provenance": "b.jsonl.gz:2"}


def test_streams_share_an_output_and_a_documents_folder_names_its_root(mix, write_documents, read_jsonl, tmp_path):
    write_documents([document("1")])
    stream = {"documents": [str(tmp_path / "corpus")], "output": {"path": str(tmp_path / "out/documents")}}
    streams = [{"name": name, "compression": {"output": "zst" if name == "b" else ""}, **stream} for name in "ab"]
    assert mix(streams=streams) == 0
    manifest = json.loads((tmp_path / "out/manifest.json").read_bytes())
    assert [file["path"] for file in manifest["files"]] == ["documents/a-0000.jsonl", "documents/b-0000.jsonl.zst"]
    assert manifest["counts"] == {"read": 2, "kept": 2, "dropped": 0, "failed": 0}
    assert mix(streams=[{"name": "a", **stream}] * 2) == 2


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ({"filter": {"include": ["$.id"], "syntax": "jq"}}, "is a JSONPath, but the syntax is jq"),
        ({"filter": {}}, "without include and exclude"),
        ({"filter": {"include": ["id"]}}, "a path begins with"),
        ({"filter": {"inclde": ["$.id"]}}, "include"),
        ({"span_replacement": [{"span": "$.attributes.k"}]}, "neither min_score nor max_score"),
        ({"span_replacement": [{"span": "$.k", "min_score": 0, "replacement": "$.x |"}]}, "expected a path"),
        ({"output": {"discard_fields": ["text"]}}, "which every document needs"),
        ({"compression": {"output": "bz2"}}, "bz2"),
        ({"documents": ["nowhere"]}, "no such file"),
    ],
)
def test_configurations_that_cannot_work_are_refused(mix, write_documents, tmp_path, capsys, stream, message):
    write_documents([document("1")])
    assert mix(**stream) == 2
    captured = capsys.readouterr().err
    assert message in captured
    assert "Traceback" not in captured
    assert not (tmp_path / "out").exists()


def test_a_replacement_without_bounds_is_refused_by_the_function_too():
    stream = MixStream(
        name="m", documents=(), output=MixOutput(path="x"), span_replacement=[SpanReplacement(span="$.a")]
    )
    with pytest.raises(UserError, match="neither"):
        compile_rules(stream)


def test_a_file_that_is_not_packed_as_it_is_called_is_one_failed_line(dolma, tmp_path, capsys):
    documents = tmp_path / "corpus" / "documents"
    documents.mkdir(parents=True)
    (documents / "a.jsonl.zst").write_bytes(b'{"id": "1", "text": "x", "source": "s"}\n')
    stream = {"name": "s", "documents": [str(documents / "*")], "filter": {"include": ["$.id"]}}
    stream["output"] = {"path": str(tmp_path / "out"), "max_size_in_bytes": 1000}
    (tmp_path / "mix.json").write_text(json.dumps({"streams": [stream]}))
    assert dolma("mix", "-c", tmp_path / "mix.json") == 2
    assert "1 records failed" in capsys.readouterr().err
