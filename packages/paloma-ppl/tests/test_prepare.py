import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paloma_ppl.config import PrepareConfig
from paloma_ppl.errors import UserError
from paloma_ppl.files import digest
from paloma_ppl.prepare import folder_name, prepare
from paloma_ppl.suite import open_suite, read_held_out, read_split


def modules(folder: Path, split: str) -> dict[str, set[str]]:
    """Module numbers in the suite by source."""
    found: dict[str, set[str]] = {}
    for document in read_split(open_suite(folder), split):
        found.setdefault(document.source, set()).add(document.id.split("-")[1])
    return found


def test_a_held_out_module_is_held_out_of_all_sources(suite_folder: Path) -> None:
    val, test = modules(suite_folder, "val"), modules(suite_folder, "test")
    assert val["docs"] == val["code"]
    assert test["docs"] == test["code"]
    assert not val["docs"] & test["docs"]


def test_every_domain_is_in_both_splits_of_every_source(suite_folder: Path) -> None:
    for split in ("val", "test"):
        cells = {(document.source, document.domain) for document in read_split(open_suite(suite_folder), split)}
        assert cells == {(source, domain) for source in ("docs", "code") for domain in "abc"}


def test_counts_add_up_and_everything_in_the_suite_is_listed_as_held_out(suite_folder: Path) -> None:
    suite = open_suite(suite_folder)
    assert suite.manifest is not None
    counts = suite.manifest["counts"]
    assert counts["read"] == 120 == counts["kept"] + counts["dropped"] + counts["failed"]
    held_out = {(source, identity) for source, identity, _ in read_held_out(suite)}
    kept = [(d.source, d.id) for split in ("val", "test") for d in read_split(suite, split)]
    assert len(kept) == counts["kept"]
    assert set(kept) == held_out


def test_selection_does_not_depend_on_document_order(
    tmp_path: Path, make_rows: Callable[..., Any], write_rows: Callable[..., Any], read_rows: Callable[..., Any]
) -> None:
    rows = make_rows(40)
    write_rows(tmp_path / "a.jsonl.gz", rows)
    random.Random(1).shuffle(rows)
    write_rows(tmp_path / "b.jsonl.gz", rows)
    chosen = []
    for name in "ab":
        prepare(PrepareConfig(documents=tmp_path / f"{name}.jsonl.gz", output=tmp_path / name))
        chosen.append({row["id"] for row in read_rows(tmp_path / name / "held_out.jsonl.gz")})
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) >= 4


def test_same_command_again_gives_the_same_bytes(documents: Path, tmp_path: Path) -> None:
    digests = []
    for _ in range(2):
        prepare(PrepareConfig(documents=documents, output=tmp_path / "S"))
        digests.append(digest(tmp_path / "S"))
    assert digests[0] == digests[1]
    assert len(list((tmp_path / "S" / "provenance").iterdir())) == 2


def test_byte_target_limits_the_suite_and_not_what_is_held_out(documents: Path, tmp_path: Path) -> None:
    config = {"documents": documents, "domain_field": "metadata.package", "fraction": 0.25}
    full = prepare(PrepareConfig(output=tmp_path / "full", **config))
    small = prepare(PrepareConfig(output=tmp_path / "small", target_bytes_per_domain=200, **config))
    assert small["held_out_documents"] == full["held_out_documents"]
    assert small["counts"]["kept"] < full["counts"]["kept"]
    sizes = {(d.source, d.domain, d.id): len(d.text) for d in read_split(open_suite(tmp_path / "full"), "test")}
    kept = {(d.source, d.domain, d.id) for d in read_split(open_suite(tmp_path / "small"), "test")}
    for source, domain in {key[:2] for key in sizes}:
        taken = [sizes[key] for key in kept if key[:2] == (source, domain)]
        available = sum(size for key, size in sizes.items() if key[:2] == (source, domain))
        assert sum(taken) >= min(200, available)  # the target is passed …
        assert sum(taken) - max(taken) < 200  # … and not by more than one document


def test_without_fields_the_domain_is_the_source_and_the_group_the_id(
    documents: Path, tmp_path: Path, read_rows: Callable[..., Any]
) -> None:
    manifest = prepare(PrepareConfig(documents=documents, output=tmp_path / "S"))
    assert {name for row in manifest["sources"].values() for name in row["val"]["domains"]} == {"docs", "code"}
    assert all(row["group"] == row["id"] for row in read_rows(tmp_path / "S" / "held_out.jsonl.gz"))


def test_malformed_rows_are_quarantined_with_file_and_line(
    tmp_path: Path, make_rows: Callable[..., Any], write_rows: Callable[..., Any]
) -> None:
    rows = [*make_rows(20), "{", '{"id": "x", "source": "docs"}', '{"id": "y", "source": "docs", "text": " \\n"}']
    rows.append('{"id": "z", "source": "docs", "text": "half \\ud800"}')
    path = write_rows(tmp_path / "in.jsonl.gz", rows)
    with pytest.raises(UserError, match=r"3 malformed rows.*in\.jsonl\.gz, line 41"):
        prepare(PrepareConfig(documents=path, output=tmp_path / "S"))
    assert not (tmp_path / "S").exists()
    lines = (tmp_path / "S.quarantine.jsonl").read_text().splitlines()
    assert [line.split('"line": ')[1].split(",")[0] for line in lines] == ["41", "42", "44"]
    counts = prepare(PrepareConfig(documents=path, output=tmp_path / "S", max_failed=3))["counts"]
    assert (counts["read"], counts["failed"]) == (44, 3)
    assert counts["kept"] + counts["dropped"] == 41


def test_held_out_documents_of_a_domain_left_in_training_are_listed_but_not_in_the_suite(
    tmp_path: Path, make_rows: Callable[..., Any], write_rows: Callable[..., Any], read_rows: Callable[..., Any]
) -> None:
    rows = make_rows(30)
    rows += [{"id": f"extra-{n}", "text": "text", "source": "docs", "metadata": {"module": f"m{n}", "package": "z"}}
             for n in range(30)]  # fmt: skip
    path = write_rows(tmp_path / "in.jsonl.gz", rows)
    manifest = prepare(
        PrepareConfig(
            documents=path,
            output=tmp_path / "S",
            domain_field="metadata.package",
            group_field="metadata.module",
            minimum_documents=20,
            fraction=0.1,
        )
    )
    assert manifest["rule"]["left_in_training"] == []
    manifest = prepare(
        PrepareConfig(
            documents=path,
            output=tmp_path / "S",
            domain_field="metadata.package",
            group_field="metadata.module",
            minimum_documents=25,
            fraction=0.1,
        )
    )
    assert manifest["rule"]["left_in_training"] == ["a", "b", "c"]
    listed = read_rows(tmp_path / "S" / "held_out.jsonl.gz")
    groups = {row["group"] for row in listed}
    assert {row["id"] for row in listed} == {row["id"] for row in rows if row["metadata"]["module"] in groups}
    assert {d.domain for d in read_split(open_suite(tmp_path / "S"), "test")} == {"z"}


def test_nothing_to_hold_out_is_one_clear_error(
    tmp_path: Path, make_rows: Callable[..., Any], write_rows: Callable[..., Any]
) -> None:
    path = write_rows(tmp_path / "in.jsonl.gz", make_rows(1))
    with pytest.raises(UserError, match="nothing can be held out"):
        prepare(PrepareConfig(documents=path, output=tmp_path / "S"))


def test_documents_that_differ_from_their_manifest_are_refused(
    tmp_path: Path, make_rows: Callable[..., Any], write_rows: Callable[..., Any]
) -> None:
    write_rows(tmp_path / "X" / "documents" / "a.jsonl.gz", make_rows(10))
    (tmp_path / "X" / "manifest.json").write_text(
        '{"artifact": "documents", "format_version": 1, "files": [{"path": "documents/b.jsonl.gz"}]}'
    )
    with pytest.raises(UserError, match=r"documents/a\.jsonl\.gz is not listed"):
        prepare(PrepareConfig(documents=tmp_path / "X", output=tmp_path / "S"))


def test_sources_with_odd_names_get_a_folder_of_their_own(
    tmp_path: Path, make_rows: Callable[..., Any], write_rows: Callable[..., Any]
) -> None:
    assert folder_name("plain-name_1") == "plain-name_1"
    assert folder_name("http://a/b") == "http%3A%2F%2Fa%2Fb"
    assert folder_name("..") == "%2E."
    rows = [{**row, "source": "../" + row["source"]} for row in make_rows(20)]
    prepare(PrepareConfig(documents=write_rows(tmp_path / "in.jsonl.gz", rows), output=tmp_path / "S"))
    assert {document.source for document in read_split(open_suite(tmp_path / "S"), "val")} == {"../docs", "../code"}


def test_a_field_that_no_document_has_is_refused_and_one_that_some_lack_is_counted(
    tmp_path: Path, make_rows: Callable[..., Any], write_rows: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    rows = make_rows(40)
    rows[0]["metadata"] = {}
    write_rows(tmp_path / "a.jsonl.gz", rows)
    config = PrepareConfig(documents=tmp_path / "a.jsonl.gz", output=tmp_path / "s", group_field="metadata.modul")
    with pytest.raises(UserError, match=r"no document has the field metadata\.modul"):
        prepare(config)
    caplog.set_level("WARNING")
    prepare(replace(config, group_field="metadata.module"))
    assert "1 documents lack the field metadata.module" in caplog.text


def few(domains: dict[str, int], paragraphs: int = 40) -> list[dict[str, Any]]:
    """Documents of ``paragraphs`` paragraphs, the given number in each domain."""
    return [
        {"id": f"{domain}{n}", "source": "s", "metadata": {"domain": domain},
         "text": "".join(f"{domain} {n} paragraph {k} with words that fill it up\n\n" for k in range(paragraphs))}
        for domain, count in domains.items() for n in range(count)
    ]  # fmt: skip


def test_a_domain_with_too_few_documents_is_cut_into_passages_that_name_their_document(
    tmp_path: Path, write_rows: Callable[..., Any], read_rows: Callable[..., Any]
) -> None:
    path = write_rows(tmp_path / "in.jsonl.gz", few({"one": 1, "two": 2, "many": 12}))
    config = PrepareConfig(documents=path, output=tmp_path / "S", domain_field="metadata.domain", fraction=0.25)
    assert prepare(config)["rule"]["left_in_training"] == ["one", "two"]
    manifest = prepare(replace(config, split_small_domains=True))
    assert manifest["rule"]["left_in_training"] == []
    assert manifest["rule"]["cut_into_passages"] == ["one", "two"]
    rows = {split: read_rows(tmp_path / "S" / "s" / split / f"{split}-00000000.jsonl.gz") for split in ("val", "test")}
    by_domain = {
        split: {domain: {row["metadata"].get("parent") for row in kept if row["subdomain"] == domain}
                for domain in ("one", "two", "many")}
        for split, kept in rows.items()
    }  # fmt: skip
    assert by_domain["val"]["one"] == by_domain["test"]["one"] == {"one0"}  # one document serves both splits
    assert len(by_domain["val"]["two"]) == len(by_domain["test"]["two"]) == 1  # two are parted whole
    assert by_domain["val"]["two"] != by_domain["test"]["two"]
    assert by_domain["val"]["many"] == {None}
    held_out = {identity for _, identity, _ in read_held_out(open_suite(tmp_path / "S"))}
    assert {"one0", "two0", "two1"} <= held_out
    one = [row for kept in rows.values() for row in kept if row["subdomain"] == "one"]
    one.sort(key=lambda row: int(row["id"].split("#")[1]))
    assert "".join(row["text"] for row in one) == few({"one": 1})[0]["text"]
    counts = manifest["counts"]
    assert counts["read"] == 15 == counts["kept"] + counts["dropped"]
    assert counts["cut"] == 3
    assert counts["passages"] == sum(
        row["metadata"].get("parent") is not None for kept in rows.values() for row in kept
    )


def test_token_targets_are_passed_by_less_than_a_document_and_shortfalls_are_marked(
    tmp_path: Path, write_rows: Callable[..., Any], tokenizer_file: Path
) -> None:
    from tokenizers import Tokenizer

    path = write_rows(tmp_path / "in.jsonl.gz", few({"a": 60, "b": 60, "c": 8}, paragraphs=3))
    config = PrepareConfig(
        documents=path,
        output=tmp_path / "S",
        domain_field="metadata.domain",
        fraction=0.25,
        tokenizer=tokenizer_file,
        target_tokens_per_domain=500,
        target_tokens_per_source=600,
    )
    manifest = prepare(config)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    suite = open_suite(tmp_path / "S")
    for split in ("val", "test"):
        sizes: dict[str, list[int]] = {}
        for document in read_split(suite, split):
            sizes.setdefault(document.domain, []).append(len(tokenizer.encode(document.text).ids))
        stated = manifest["sources"]["s"][split]["domains"]
        assert {domain: sum(found) for domain, found in sizes.items()} == {
            d: row["tokens"] for d, row in stated.items()
        }
        for domain, found in sizes.items():
            assert stated[domain]["short"] == (sum(found) < 500)
            assert sum(found) - max(found) < 500
        assert {domain for domain, row in stated.items() if row["short"]} == {"c"}
    whole = prepare(replace(config, target_of=("s=all",)))
    assert whole["rule"]["target_tokens"] == {"s": {"tokens": None, "of": "domain"}}
    assert whole["counts"]["kept"] > manifest["counts"]["kept"]
    one = prepare(replace(config, target_of=("s=one-domain",)))
    assert 600 <= sum(row["tokens"] for row in one["sources"]["s"]["val"]["domains"].values()) < 1000
    assert one["sources"]["s"]["val"]["domains"].items() != manifest["sources"]["s"]["val"]["domains"].items()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_tokens_per_domain": 5}, "need a tokenizer"),
        ({"target_of": ("docs=all",)}, "need a tokenizer"),
        ({"tokenizer": True, "target_bytes_per_domain": 5}, "in tokens and in bytes"),
        ({"tokenizer": True, "target_of": ("docs",)}, "is no exception"),
        ({"tokenizer": True, "target_of": ("other=all",)}, r"no source 'other'.*code, docs"),
        ({"tokenizer": True, "target_tokens_per_source": 0}, "below one token"),
    ],
)
def test_impossible_targets_are_refused(
    documents: Path, tmp_path: Path, tokenizer_file: Path, changes: dict[str, Any], message: str
) -> None:
    if changes.get("tokenizer"):
        changes = {**changes, "tokenizer": tokenizer_file}
    with pytest.raises(UserError, match=message):
        prepare(PrepareConfig(documents=documents, output=tmp_path / "S", **changes))
    assert not (tmp_path / "S").exists()


def test_domain_from_several_fields_and_from_the_path(
    tmp_path: Path, write_rows: Callable[..., Any], make_rows: Callable[..., Any]
) -> None:
    for name in ("x/y", "x/z"):
        rows = [{**row, "id": f"{name}{row['id']}"} for row in make_rows(20)]
        write_rows(tmp_path / "X" / "documents" / name / "part.jsonl.gz", rows)
    config = PrepareConfig(documents=tmp_path / "X", output=tmp_path / "S", domain_field="path")
    domains = prepare(config)["sources"]["docs"]["val"]["domains"]
    assert set(domains) == {"x/y", "x/z"}
    both = prepare(replace(config, domain_field="path+metadata.package"))["sources"]["docs"]["val"]["domains"]
    assert set(both) == {f"x/{folder}/{package}" for folder in "yz" for package in "abc"}


def test_a_repeated_id_is_counted_and_taken_once(
    tmp_path: Path, make_rows: Callable[..., Any], write_rows: Callable[..., Any]
) -> None:
    path = write_rows(tmp_path / "in.jsonl.gz", make_rows(40) * 2)
    manifest = prepare(PrepareConfig(documents=path, output=tmp_path / "S"))
    kept = [(d.source, d.id) for split in ("val", "test") for d in read_split(open_suite(tmp_path / "S"), split)]
    assert len(set(kept)) == len(kept) == manifest["counts"]["kept"] == manifest["counts"]["repeated"]
    assert manifest["held_out_documents"] == len(kept)
