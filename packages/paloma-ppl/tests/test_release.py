"""Paloma's published layout, read unchanged."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paloma_ppl.errors import UserError
from paloma_ppl.metrics import DocumentScore, summarize
from paloma_ppl.paloma import CODE, EARLIER, FRINGE, OLMO, RELEASE
from paloma_ppl.suite import index_suite, open_suite, read_held_out, read_split


@pytest.fixture
def release(tmp_path: Path, write_rows: Callable[..., Any]) -> Path:
    root = tmp_path / "paloma"
    plain = {"text": "an English page", "id": 17, "added": "2023-08-31", "source": "c4", "metadata": {"url": "u"}}
    sub = {"text": "häuser", "id": "a", "source": "m2d2", "subdomain": "Art", "metadata": '{"split": "val"}'}
    for split in ("val", "test"):
        write_rows(root / "c4_en" / split / f"{split}-00000000.jsonl.gz", [plain])
        write_rows(root / "c4_en" / split / f"{split}-00000001.jsonl.gz", [{**plain, "id": 18, "text": "more"}])
        rows = [sub, {**sub, "id": "b", "subdomain": "Philosophy"}]
        write_rows(root / "m2d2_wikipedia_unsplit" / split / f"{split}-00000000.jsonl.gz", rows)
    return root


def test_release_is_read_and_indexed_once_and_checked_after(release: Path, write_rows: Callable[..., Any]) -> None:
    before = list(read_split(open_suite(release), "val"))
    assert [(d.source, d.domain, d.id) for d in before] == [
        ("c4_en", "c4_en", "17"),
        ("c4_en", "c4_en", "18"),
        ("m2d2_wikipedia_unsplit", "Art", "a"),
        ("m2d2_wikipedia_unsplit", "Philosophy", "b"),
    ]
    sources = index_suite(release)["sources"]
    assert sources["m2d2_wikipedia_unsplit"]["val"]["domains"]["Art"] == {"documents": 1, "bytes": 7}
    suite = open_suite(release)
    assert list(read_split(suite, "val")) == before
    assert list(read_held_out(suite)) == []
    with pytest.raises(UserError, match=r"has its suite\.json"):
        index_suite(release)
    write_rows(release / "c4_en" / "val" / "val-00000001.jsonl.gz", [{"text": "x", "id": 1, "source": "c4"}])
    with pytest.raises(UserError, match="digest differs"):
        open_suite(release)


def test_an_index_and_a_readme_leave_the_digest_as_it_was(release: Path, write_rows: Callable[..., Any]) -> None:
    before = open_suite(release).digest
    (release / "README.md").write_text("about the release")
    assert open_suite(release).digest == before
    index_suite(release)
    assert open_suite(release).digest == before
    (release / "suite.json").unlink()
    write_rows(release / "c4_en" / "val" / "val-00000001.jsonl.gz", [{"text": "x", "id": 1, "source": "c4"}])
    assert open_suite(release).digest != before


def test_repeated_ids_and_missing_subdomains_are_counted_once(
    release: Path, write_rows: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"text": "x", "id": "a", "subdomain": "Art"}] * 3 + [{"text": "y", "id": "b"}]
    write_rows(release / "m2d2_wikipedia_unsplit" / "val" / "val-00000000.jsonl.gz", rows)
    source = "m2d2_wikipedia_unsplit"
    told = [
        f"{source}/val: 2 of 4 documents have the id of an earlier one; all of them count",
        f"{source}/val: 1 of 4 documents name no subdomain, or the source; they are the domain {source}",
    ]
    suite = open_suite(release)
    for _ in range(2):
        assert len(list(read_split(suite, "val", 100))) == 6
    assert caplog.messages == told
    index_suite(release)
    assert caplog.messages == told * 2
    list(read_split(open_suite(release), "val"))
    assert caplog.messages == told * 3


def test_a_release_that_cannot_be_read_is_not_indexed(release: Path, write_rows: Callable[..., Any]) -> None:
    write_rows(release / "ptb" / "val" / "val-00000000.jsonl.gz", [{"text": "", "id": 1}])
    with pytest.raises(UserError, match=r"empty.*ptb"):
        index_suite(release)
    assert not (release / "suite.json").exists()


def score(source: str, domain: str, value: float, identity: str = "1") -> DocumentScore:
    return DocumentScore(identity, source, domain, 10, 40, 40, 8, -value)


def aggregates(scores: list[DocumentScore]) -> dict[str, Any]:
    return {row["name"]: row for row in summarize(scores, 0.95)["aggregates"]}


def test_published_aggregates_take_the_published_sources() -> None:
    scores = [score(source, source, 10.0 + number) for number, source in enumerate(sorted(RELEASE))]
    found = aggregates(scores)
    assert list(found) == ["micro", "macro", "paloma_micro", "paloma_macro", "olmo_micro", "olmo_macro"]
    assert [found[f"{name}micro"]["documents"] for name in ("", "paloma_", "olmo_")] == [16, 12, 11]
    kept = [s for s in scores if s.source not in FRINGE | CODE]
    assert found["paloma_micro"]["log_probability"] == pytest.approx(sum(s.log_probability for s in kept))
    assert found["olmo_macro"]["sources"] == sorted(OLMO)
    fewer = aggregates([s for s in scores if s.source != "ptb"])
    assert "paloma_micro" in fewer
    assert "olmo_micro" not in fewer
    assert list(aggregates([score("c4_en", "a", 1.0), score("mine", "b", 2.0)])) == ["micro", "macro"]


@pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set")
def test_names_are_those_of_the_published_task_sets() -> None:
    suites = json.loads((Path(os.environ["DATA_DIR"]) / "paloma" / "suites.json").read_text())["suites"]
    assert set(suites["paloma_hf_release_val"]) == RELEASE
    assert set(suites["eval_suite_ppl_val_v3"]) == EARLIER - CODE
