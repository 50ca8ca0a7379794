from __future__ import annotations

import gzip
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catwalk_eval.cloze import make_cloze, shares
from catwalk_eval.config import MakeClozeConfig
from catwalk_eval.errors import UserError
from catwalk_eval.files import digest, digest_file
from catwalk_eval.requests import load_task


def code(name: str, lines: int) -> str:
    return "\n".join(f"def {name}_{k}(value):\n    return value + {k}  # {name} number {k}" for k in range(lines))


def write_documents(root: Path, rows: list[dict[str, Any]]) -> None:
    path = root / "documents" / "part.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))


def documents() -> list[dict[str, Any]]:
    rows = [
        {"id": f"{source}{k}", "source": source, "text": code(f"{source}{k}", 30)}
        for source in ("alpha", "beta")
        for k in range(5)
    ]
    rows.append({"id": "lonely", "source": "one", "text": code("lonely", 40)})
    rows.append({"id": "tiny", "source": "tiny", "text": "too short to cut"})
    return rows


@pytest.fixture
def config(tmp_path: Path) -> MakeClozeConfig:
    write_documents(tmp_path / "d", documents())
    return MakeClozeConfig(
        documents=tmp_path / "d", output=tmp_path / "data", context_words=20, continuation_words=5, items=12
    )


def read(config: MakeClozeConfig) -> list[dict[str, Any]]:
    path = config.output / config.name / "source" / "validation.jsonl.gz"
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_items_are_cut_verbatim_and_wrong_choices_come_from_the_same_domain(config: MakeClozeConfig) -> None:
    assert make_cloze(config) == {"items": 12, "domains": 3, "domains_skipped": 1, "documents": 10}
    texts = {row["id"]: row["text"] for row in documents()}
    for record in read(config):
        text = texts[record["document"]]
        truth = record["choices"][record["gold"]]
        assert text.count(record["context"] + truth) == 1
        assert len(record["context"].split()) == 20
        assert [len(choice.split()) for choice in record["choices"]] == [5] * 4
        assert len(set(record["choices"])) == 4
        joins = {choice[: len(choice) - len(choice.lstrip())] for choice in record["choices"]}
        assert len(joins) == 1
        assert joins != {""}
        for choice in record["choices"]:
            owners = [
                name for name, body in texts.items() if choice.strip() in body and name.startswith(record["domain"][:3])
            ]
            assert owners or record["domain"] == "one"
            if choice != truth and record["domain"] != "one":
                assert choice.strip() not in text


def test_a_domain_of_one_document_takes_pieces_from_outside_the_item(config: MakeClozeConfig) -> None:
    make_cloze(config)
    text = code("lonely", 40)
    lonely = [record for record in read(config) if record["domain"] == "one"]
    assert lonely
    for record in lonely:
        window = record["context"] + record["choices"][record["gold"]]
        for k, choice in enumerate(record["choices"]):
            assert choice.strip() in text
            assert k == record["gold"] or choice.strip() not in window


def test_at_most_so_many_items_come_from_a_document_and_they_do_not_overlap(config: MakeClozeConfig) -> None:
    make_cloze(replace(config, items=1000, items_per_document=4))
    texts = {row["id"]: row["text"] for row in documents()}
    spans: dict[str, list[tuple[int, int]]] = {}
    for record in read(config):
        piece = record["context"] + record["choices"][record["gold"]]
        start = texts[record["document"]].index(piece)
        spans.setdefault(record["document"], []).append((start, start + len(piece)))
    assert max(map(len, spans.values())) == 4
    for taken in spans.values():
        ordered = sorted(taken)
        assert all(end < start for (_, end), (start, _) in pairwise(ordered))


def test_the_same_seed_gives_the_same_bytes_in_any_order_of_documents(config: MakeClozeConfig, tmp_path: Path) -> None:
    make_cloze(config)
    first = digest(config.output / "cloze")
    make_cloze(config)
    assert digest(config.output / "cloze") == first
    write_documents(tmp_path / "turned", documents()[::-1])
    make_cloze(replace(config, documents=tmp_path / "turned"))
    assert digest(config.output / "cloze") == first
    make_cloze(replace(config, seed=43))
    assert digest(config.output / "cloze") != first


def test_small_domains_are_named_and_skipped(config: MakeClozeConfig, caplog: pytest.LogCaptureFixture) -> None:
    make_cloze(config)
    assert "domain tiny of tiny is too small, skipped: 1 documents, 0 of 25 words or more" in caplog.text
    assert "beta" not in caplog.text
    with pytest.raises(UserError, match="no domain has text"):
        make_cloze(replace(config, context_words=100_000))


def test_the_task_loads_with_its_line_breaks_and_domains(config: MakeClozeConfig) -> None:
    make_cloze(config)
    task = load_task("cloze", config.output, "olmo-inloop", None)
    assert task.primary_metric == "acc_uncond"
    for instance, record in zip(task.instances, read(config), strict=True):
        assert list(instance.continuations) == record["choices"]
        assert (instance.domain, instance.native_id) == (record["domain"], record["id"])
    assert any(instance.continuations[0].startswith("\n    ") for instance in task.instances)


def test_a_suite_gives_its_split_and_must_be_what_its_manifest_says(config: MakeClozeConfig, tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    sources: dict[str, Any] = {"code": {}}
    for split, name in (("val", "v"), ("test", "t")):
        path = suite / "code" / split / f"{split}-00000000.jsonl.gz"
        path.parent.mkdir(parents=True)
        rows = [
            {"id": f"{name}{k}", "source": "code", "subdomain": "d", "text": code(f"{name}{k}", 20)} for k in range(4)
        ]
        path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))
        entry = {"path": path.relative_to(suite).as_posix(), "documents": 4, "bytes": 1, "digest": digest_file(path)}
        sources["code"][split] = {"files": [entry]}
    (suite / "suite.json").write_text(json.dumps({"artifact": "suite", "format_version": 1, "sources": sources}))
    make_cloze(replace(config, documents=suite))
    assert {record["document"][0] for record in read(config)} == {"t"}
    assert {record["domain"] for record in read(config)} == {"d"}
    make_cloze(replace(config, documents=suite, split="val"))
    assert {record["document"][0] for record in read(config)} == {"v"}
    (suite / "code" / "val" / "val-00000000.jsonl.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"not the one that suite\.json names"):
        make_cloze(replace(config, documents=suite, split="val"))


def test_mistakes_are_named(config: MakeClozeConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no splits"):
        make_cloze(replace(config, split="test"))
    with pytest.raises(UserError, match=r"'metadata\.kind'.*line 1"):
        make_cloze(replace(config, domain_field="metadata.kind"))
    with pytest.raises(UserError, match="neither a suite"):
        make_cloze(replace(config, documents=tmp_path))
    with pytest.raises(UserError, match="items is 0"):
        make_cloze(replace(config, items=0))
    with pytest.raises(UserError, match="cannot name a folder"):
        make_cloze(replace(config, name="../x"))
    write_documents(tmp_path / "d", [*documents(), documents()[0]])
    with pytest.raises(UserError, match="two documents of one source have the id 'alpha0'"):
        make_cloze(config)
    (tmp_path / "data" / "cloze").mkdir(parents=True)
    (tmp_path / "data" / "cloze" / "notes.txt").write_text("mine")
    write_documents(tmp_path / "d", documents())
    with pytest.raises(UserError, match="not a task artifact"):
        make_cloze(config)


@given(st.dictionaries(st.tuples(st.just("s"), st.text(max_size=2)), st.integers(0, 9), max_size=6), st.integers(0, 40))
def test_items_are_shared_out_evenly(capacities: dict[tuple[str, str], int], items: int) -> None:
    quota = shares(capacities, items)
    assert sum(quota.values()) == min(items, sum(capacities.values()))
    assert all(quota[domain] <= capacities[domain] for domain in capacities)
    open_ones = [quota[domain] for domain in capacities if quota[domain] < capacities[domain]]
    assert not open_ones or max(quota.values()) - min(open_ones) <= 1
