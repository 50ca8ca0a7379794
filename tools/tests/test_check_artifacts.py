"""The checker as a command: what it recognises, what it prints, how it exits; the contract's own examples."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from builders import training
from builders.files import read, read_json, write, write_rows
from builders.memory import growth

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = sorted((ROOT / "docs" / "schemas").glob("*.schema.json"))
CONTRACT = (ROOT / "docs" / "artifacts.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```json (\w+)\n(.*?)\n```$", CONTRACT, flags=re.MULTILINE | re.DOTALL)
# What the fast validator and JSON Schema 2020-12 understand alike, and prefixItems, which the check looks after itself.
KEYWORDS = {
    *("$schema", "title", "description", "type", "const", "enum", "required", "properties", "additionalProperties"),
    *("items", "minItems", "maxItems", "minProperties", "maxProperties", "minLength", "pattern"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "if", "then", "else", "prefixItems"),
}
Check = Callable[..., tuple[int, list[str]]]
KINDS = {
    "documents": "documents",
    "mixed": "documents",
    "attributes": "attributes",
    "duplicates": "attributes",
    "summaries": "summaries",
    "classifier": "classifier",
    "decontamination_set": "decontamination_set",
    "tokens": "tokens",
    "suite": "suite",
    "windows": "windows",
    "perplexity_results": "perplexity_results",
    "unigram": "unigram",
    "comparison": "perplexity_comparison",
    "earlier_comparison": "perplexity_comparison",
    "curves": "perplexity_curves",
    "task": "task",
    "requests": "requests",
    "predictions": "predictions",
    "predictions_comparison": "predictions_comparison",
    "checkpoint": "checkpoint",
    "provenance": "provenance",
    "tokenizer": "tokenizer",
}


@pytest.mark.parametrize("builder", KINDS)
def test_a_valid_artifact_is_recognised_and_found_good(builder: str, build: SimpleNamespace, check: Check) -> None:
    path = getattr(build, builder)()

    status, lines = check(path)

    assert status == 0
    assert len(lines) == 1
    assert lines[0].startswith(f"ok: {KINDS[builder]} {path} (")


def test_the_last_line_names_the_artifact_and_its_size(build: SimpleNamespace, check: Check) -> None:
    path = build.documents()

    assert check(path) == (0, [f"ok: documents {path} (5 rows)"])


def test_all_artifacts_below_a_folder_are_found_at_any_depth(
    build: SimpleNamespace, check: Check, tmp_path: Path
) -> None:
    for builder in ("duplicates", "suite", "unigram", "comparison", "summaries", "task", "run"):
        getattr(build, builder)()
    training.provenance(tmp_path / "suite", "prepare")

    status, lines = check(tmp_path)

    kinds = sorted(line.split()[1] for line in lines)
    assert status == 0, lines
    expected = (
        "attributes checkpoint checkpoint documents perplexity_comparison provenance run suite summaries task unigram"
    )
    assert kinds == expected.split()


def test_dolma_s_plain_layout_needs_no_manifest(build: SimpleNamespace, check: Check) -> None:
    status, lines = check(build.plain())

    assert status == 0
    assert [line.split()[:2] for line in lines] == [["ok:", "documents"], ["ok:", "attributes"]]


def test_files_without_a_manifest_may_carry_gzip_s_time_and_name(build: SimpleNamespace, check: Check) -> None:
    folder = build.plain()
    for path in folder.rglob("x.jsonl.gz"):
        path.write_bytes(gzip.compress(read(path), mtime=1))

    assert check(folder)[0] == 0


def test_an_artifact_may_be_named_by_its_manifest(build: SimpleNamespace, check: Check) -> None:
    folder = build.decontamination_set()

    assert check(folder / "manifest.json") == (0, [f"ok: decontamination_set {folder} (1 paragraphs, 1 documents)"])


def test_unfinished_work_is_passed_over(build: SimpleNamespace, check: Check) -> None:
    folder = build.documents()
    write(folder / "documents" / "c.jsonl.gz.partial", b"half")
    write(folder.with_name("other.partial") / "manifest.json", b"{")

    assert check(folder.parent)[0] == 0


def test_one_bad_artifact_among_good_ones_gives_status_1(build: SimpleNamespace, check: Check, tmp_path: Path) -> None:
    build.suite()
    documents = build.documents()
    (documents / "quarantine.jsonl").unlink()

    status, lines = check(tmp_path)

    assert status == 1
    assert lines == [
        f"{documents}/manifest.json: counts.failed is 1, but the content gives 0",
        f"failed: documents {documents} (1 problem)",
        f"ok: suite {tmp_path}/suite (3 documents, 4 held out)",
    ]


def test_nothing_to_recognise_is_status_2(check: Check, tmp_path: Path) -> None:
    write(tmp_path / "notes.json", b'{"a": 1}')

    assert check(tmp_path) == (2, [])


def test_a_path_that_is_not_there_is_a_usage_error(check: Check, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        check(tmp_path / "nowhere")

    assert stopped.value.code == 2


@pytest.mark.parametrize(("content", "complaint"), [(b"{", "not JSON"), (b'{"artifact": "tensors"}', "unknown kind")])
def test_a_manifest_that_cannot_be_understood_is_a_problem(
    content: bytes, complaint: str, check: Check, tmp_path: Path
) -> None:
    write(tmp_path / "manifest.json", content)

    status, lines = check(tmp_path)

    assert status == 1
    assert complaint in lines[0]


def test_many_problems_of_one_file_are_cut_short_and_counted(build: SimpleNamespace, check: Check) -> None:
    folder = build.plain()
    write(folder / "documents" / "y.jsonl", b'{"id": 1}\n' * 50)

    status, lines = check(folder)

    assert status == 1
    assert lines[0] == f"{folder}/documents/y.jsonl:1: 'text' is a required property"
    assert lines[20] == f"{folder}/documents/y.jsonl: 30 more problems in this file"
    assert lines[21] == f"failed: documents {folder} (50 problems)"


def test_damage_that_no_check_foresees_is_a_problem_and_no_traceback(build: SimpleNamespace, check: Check) -> None:
    folder = build.tokens()
    write(folder / "part-0-00000.csv.gz", b"0,30,\xff,a,1\n")

    status, lines = check(folder)

    assert status == 1
    assert any("the check cannot go on: UnicodeDecodeError" in line for line in lines)


def test_the_command_runs_by_itself_and_light_artifacts_load_no_heavy_library(build: SimpleNamespace) -> None:
    folder = build.documents()
    script = ROOT / "tools" / "check_artifacts.py"
    code = (
        f"import runpy, sys; sys.argv = ['check_artifacts.py', {str(folder)!r}]\n"
        f"try: runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "except SystemExit as stopped: status = stopped.code\n"
        "assert not {'torch', 'transformers', 'tokenizers'} & sys.modules.keys()\n"
        "sys.exit(status)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, f"ok: documents {folder} (5 rows)\n")


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_every_schema_is_json_schema_2020_12_and_keeps_to_what_both_validators_know(path: Path) -> None:
    schema = read_json(path)

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(keywords(schema)) <= KEYWORDS


def keywords(schema: Any) -> Iterator[str]:
    """The keywords of a schema and of all schemas inside it."""
    if isinstance(schema, dict):
        for name, value in schema.items():
            yield name
            if name == "properties":
                for inner in value.values():
                    yield from keywords(inner)
            elif name not in ("const", "enum", "required"):
                yield from keywords(value)
    elif isinstance(schema, list):
        for inner in schema:
            yield from keywords(inner)


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_every_example_of_the_contract_keeps_its_schema(name: str, text: str) -> None:
    validator = jsonschema.Draft202012Validator(read_json(ROOT / "docs" / "schemas" / f"{name}.schema.json"))

    for line in text.splitlines():
        validator.validate(json.loads(line))


def test_the_contract_has_an_example_of_every_schema_and_links_it() -> None:
    names = {path.name.removesuffix(".schema.json") for path in SCHEMAS}

    assert {name for name, _ in EXAMPLES} == names
    assert set(re.findall(r"\(schemas/(\w+)\.schema\.json\)", CONTRACT)) == names


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_extra_keys_are_refused_except_in_documents(path: Path) -> None:
    schema = read_json(path)
    if path.name in ("document.schema.json", "metrics_row.schema.json"):
        assert schema["additionalProperties"] is not False
    else:
        assert schema["additionalProperties"] is False


def test_tens_of_megabytes_stay_within_a_small_memory(tmp_path: Path) -> None:
    """20 MB of documents with attributes in a process that may use little more than its libraries."""
    text = "a word and another one. " * 40
    rows = [{"id": f"d{k}", "text": text, "source": "s"} for k in range(2_000)]
    for number in range(10):
        own = [{**row, "id": f"{number}-{row['id']}"} for row in rows]
        write_rows(tmp_path / f"documents/{number}.jsonl", own)
        spans = {"t__t__n": [[0, len(text), 1.0]]}
        attributes = [{"id": row["id"], "attributes": spans, "source": "s"} for row in own]
        write_rows(tmp_path / f"attributes/t/{number}.jsonl", attributes)
    imports = "import artifact_checks.attributes, artifact_checks.documents, check_artifacts"

    lines, grown = growth(imports, f"print(check_artifacts.main([{str(tmp_path)!r}]))")

    assert lines[-1] == "0", lines
    assert grown < 16_000  # KiB; the documents alone are 19,000


def test_rows_of_one_file_need_not_fit_the_rows_of_another(build: SimpleNamespace, check: Check) -> None:
    """Same ids under two sources are two documents; the same source and id are one too many, wherever they stand."""
    folder = build.plain()
    write_rows(folder / "documents" / "w.jsonl", [{"id": "p1", "text": "t", "source": "other"}])
    write_rows(folder / "attributes/t/w.jsonl", [{"id": "p1", "attributes": {}, "source": "other"}])
    assert check(folder)[0] == 0

    write_rows(folder / "documents" / "w.jsonl", [{"id": "p1", "text": "t", "source": "s"}])
    status, lines = check(folder)

    assert status == 1
    assert f"{folder}/documents/x.jsonl.gz:1: id 'p1' of source 's' stands at {folder}/documents/w.jsonl:1 too" in lines
