from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from object_storage import Fault

from dolma_data import remote

ROWS = [
    {"id": f"a{k}", "source": "s", "text": f"Document {k} of them.\nMail jo{k}@example.org" + " w" * k}
    for k in range(9)
]
TAG = ("--taggers", "char_length_v1", "pii_regex_with_counts_fast_v2", "--experiment", "x")


def test_every_step_reads_and_writes_urls_and_gives_the_same_as_local_files(
    bucket: Any, write_documents: Any, dolma: Any, contents: Any, tmp_path: Path
) -> None:
    text = tmp_path / "raw" / "b.txt"
    text.parent.mkdir()
    text.write_text("One file of text.\n" * 9)
    assert dolma("extract", text.parent, "--output", tmp_path / "extracted") == 0
    local = write_documents([*ROWS, ROWS[0] | {"id": "again"}], "deep/a.jsonl.gz")
    corpus = bucket.put(local, "corpus")
    raw = bucket.put(text.parent, "raw")
    base = corpus.removesuffix("/corpus")

    assert dolma("extract", raw, "--output", f"{base}/extracted") == 0
    found, expected = bucket.content(f"{base}/extracted"), contents(tmp_path / "extracted")
    assert found.keys() == expected.keys()
    name = "documents/part-0000-00.jsonl.gz"
    assert gzip.decompress(found[name]).decode() == gzip.decompress(expected[name]).decode().replace(
        str(text), f"{raw}/b.txt"
    )

    for root in (str(local), corpus):
        assert dolma("tag", "--documents", root, *TAG, "--processes", "2") == 0
        exact = (
            "--dedupe.documents.attribute_name",
            "dup",
            "--dedupe.documents.key",
            "$.text",
            "--dedupe.name",
            "exact",
        )
        assert dolma("dedupe", "--documents", root, *exact) == 0
    assert bucket.content(corpus) == contents(local)

    streams = {
        "name": "kept",
        "documents": ["ROOT/documents/**/*.gz"],
        "attributes": ["x", "exac*"],
        "filter": {"exclude": ["$.attributes[?(@.dup && @.dup[0])]"]},
        "span_replacement": [
            {
                "span": "$.attributes.x__pii_regex_with_counts_fast_v2__EMAIL_ADDRESS",
                "replacement": "M",
                "min_score": 0.5,
            }
        ],
    }
    for root, output in ((str(local), str(tmp_path / "mixed")), (corpus, f"{base}/mixed")):
        settings = streams | {"documents": [f"{root}/documents/**/*.gz"], "output": {"path": output}}
        file = tmp_path / "mix.json"
        file.write_text(json.dumps({"streams": [settings]}))
        assert dolma("mix", "-c", file) == 0
    mixed, expected = bucket.content(f"{base}/mixed"), contents(tmp_path / "mixed")
    assert mixed.keys() == expected.keys()
    assert {name: data for name, data in mixed.items() if name.endswith(".gz")} == {
        name: data for name, data in expected.items() if name.endswith(".gz")
    }

    assert dolma("stat", "--attributes", f"{corpus}/attributes/x", "--report", f"{base}/report") == 0
    assert bucket.content(f"{base}/report")
    assert not list((tmp_path / "temporary/dolma-data-remote").iterdir())


def test_tokenizers_and_tokens_take_urls(
    bucket: Any, write_documents: Any, dolma: Any, tmp_path: Path, contents: Any
) -> None:
    local = write_documents(ROWS)
    corpus = bucket.put(local, "corpus")
    base = corpus.removesuffix("/corpus")
    for root, to in ((str(local), str(tmp_path)), (corpus, base)):
        assert dolma("train-tokenizer", "--documents", root, "--output", f"{to}/tokenizer", "--vocab-size", "287") == 0
        options = ("--tokenizer.name_or_path", f"{to}/tokenizer/tokenizer.json", "--dtype", "uint16")
        assert dolma("tokens", "--documents", root, "--destination", f"{to}/tokens", *options) == 0
    assert bucket.content(f"{base}/tokens") == contents(tmp_path / "tokens")


def test_decontamination_takes_urls(
    bucket: Any, write_documents: Any, dolma: Any, tmp_path: Path, contents: Any
) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    local = write_documents([*ROWS, {"id": "leak", "source": "s", "text": text}])
    texts = tmp_path / "set" / "texts.jsonl"
    texts.parent.mkdir()
    texts.write_text(json.dumps({"id": "u", "text": text}) + "\n")
    corpus, evaluation = bucket.put(local, "corpus"), bucket.put(texts.parent, "set")
    reports = (tmp_path / "report", corpus.removesuffix("corpus") + "report")
    for root, file, report in ((local, texts, reports[0]), (corpus, f"{evaluation}/texts.jsonl", reports[1])):
        assert dolma("decontaminate", "--documents", root, "--texts", file, "--report", report) == 0
    found, expected = (
        bucket.content(f"{corpus}/attributes/decontamination"),
        contents(local / "attributes" / "decontamination"),
    )
    assert found["a.jsonl.gz"] == expected["a.jsonl.gz"]
    assert b"1.0" in gzip.decompress(found["a.jsonl.gz"])
    assert bucket.content(str(reports[1])).keys() == contents(tmp_path / "report").keys()


def test_failed_rows_are_listed_at_the_url(bucket: Any, write_documents: Any, dolma: Any, capsys: Any) -> None:
    corpus = bucket.put(write_documents([*ROWS, b"broken"]), "corpus")
    assert dolma("tag", "--documents", corpus, *TAG) == 2
    assert f"all listed in {corpus}/attributes/x.quarantine.jsonl" in capsys.readouterr().err
    listed = bucket.content(f"{corpus}/attributes")
    assert json.loads(listed["x.quarantine.jsonl"])["file"] == f"{corpus}/documents/a.jsonl.gz"
    assert dolma("tag", "--documents", corpus, *TAG, "--max-failed", "1") == 0
    assert sorted(bucket.content(f"{corpus}/attributes")) == ["x/a.jsonl.gz", "x/manifest.json"]


def test_an_output_of_something_else_is_not_replaced(
    bucket: Any, write_documents: Any, dolma: Any, capsys: Any
) -> None:
    corpus = bucket.put(write_documents(ROWS), "corpus")
    bucket.write("corpus/attributes/x/mine.txt", b"precious")
    assert dolma("tag", "--documents", corpus, *TAG) == 2
    assert f"no artifact, so it is not replaced ({corpus}/attributes/x)" in capsys.readouterr().err
    assert bucket.content(f"{corpus}/attributes/x") == {"mine.txt": b"precious"}


def test_a_dry_run_names_urls_and_writes_nothing(bucket: Any, write_documents: Any, dolma: Any, capsys: Any) -> None:
    corpus = bucket.put(write_documents(ROWS), "corpus")
    assert dolma("tag", "--documents", corpus, *TAG, "--dry-run") == 0
    plan = yaml.safe_load(capsys.readouterr().out)
    assert plan["documents"] == [corpus]
    assert plan["missing"] == [f"{corpus} {remote.REMOTE}"]  # to look would mean to fetch
    assert sorted(bucket.content(corpus)) == ["documents/a.jsonl.gz"]


def test_attributes_go_to_a_destination_given_by_a_url(bucket: Any, write_documents: Any, dolma: Any) -> None:
    corpus = bucket.put(write_documents(ROWS), "corpus")
    other = corpus.replace("/corpus", "/other/attributes/mine")
    assert dolma("tag", "--documents", f"{corpus}/documents/*.gz", "--destination", other, *TAG) == 0
    assert "a.jsonl.gz" in bucket.content(other)
    assert sorted(bucket.content(corpus)) == ["documents/a.jsonl.gz"]


def test_what_is_missing_is_named_by_its_url(bucket: Any, dolma: Any, capsys: Any) -> None:
    url = f"{bucket.url}/nothing"
    assert dolma("tag", "--documents", url, *TAG) == 2
    assert f"no such file or folder ({url})" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("s3://bucket/a/b", ("s3", "bucket/a/b")),
        (Path("s3://bucket/a"), ("s3", "bucket/a")),
        ("gs://bucket/a/", ("gs", "bucket/a")),
        ("/tmp/s3:/a", None),
        ("c:/windows", None),
        ("$.text", None),
        (3, None),
    ],
)
def test_urls_are_told_from_paths(value: object, parts: tuple[str, str] | None) -> None:
    assert remote.split_url(value) == parts


def test_keys_may_hold_spaces_brackets_and_letters_of_any_script(
    bucket: Any, write_documents: Any, dolma: Any, contents: Any
) -> None:
    for name in ("a b/ünï [1] +%41.jsonl.gz", "日本/c*.jsonl"):
        local = write_documents(ROWS, name)
    corpus = bucket.put(local, "my corpus/ä")
    for root in (str(local), corpus):
        assert dolma("tag", "--documents", root, *TAG) == 0
    assert bucket.content(corpus) == contents(local)
    one = f"{corpus}/documents/a b/ünï [1] +%41.jsonl.gz"  # a file first, a pattern only where there is none
    assert dolma("tag", "--documents", one, "--taggers", "char_length_v1", "--experiment", "one") == 0
    assert "a b/ünï [1] +%41.jsonl.gz" in bucket.content(f"{corpus}/attributes/one")


def test_a_whole_bucket_is_a_corpus_and_folders_made_by_hand_are_no_files(
    bucket: Any, write_documents: Any, dolma: Any
) -> None:
    bucket.put(write_documents(ROWS), "")
    for key in ("documents/", "documents/empty/", "other/of another use.bin"):
        bucket.write(key, b"")
    assert dolma("tag", "--documents", f"{bucket.url}/", *TAG) == 0
    assert sorted(bucket.content(f"{bucket.url}/attributes")) == ["x/a.jsonl.gz", "x/manifest.json"]
    assert not any("another use" in path for _, path, _ in bucket.endpoint.requests)  # not of the corpus: not fetched


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://", "the address names nothing (s3://); write scheme://bucket/key"),
        ("s3://{}/a/../b", "the address has a part '..'"),
        ("s3://{}/documents/", "no such file or folder (s3://{}/documents); check the address"),
        ("s3://{}/documents/*.gz", "no such file or folder (s3://{}/documents/*.gz); check the address"),
        ("gs://{}/documents", "nothing is installed that opens gs://"),
        ("nosuch://{}/documents", "nothing is installed that opens nosuch://"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_line(
    bucket: Any, dolma: Any, capsys: Any, address: str, message: str
) -> None:
    assert dolma("tag", "--documents", address.format(bucket.name), *TAG) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: " + message.format(bucket.name))


def test_files_are_read_over_http_but_not_written(
    bucket: Any, write_documents: Any, dolma: Any, contents: Any, capsys: Any, tmp_path: Path
) -> None:
    local = write_documents(ROWS)
    bucket.put(local, "corpus")
    bucket.client.put_object_acl(Bucket=bucket.name, Key="corpus/documents/a.jsonl.gz", ACL="public-read")
    web = f"{bucket.endpoint.url}/{bucket.name}/corpus/documents/a.jsonl.gz"
    assert dolma("tag", "--documents", web, "--destination", tmp_path / "out", *TAG) == 0
    assert dolma("tag", "--documents", local, *TAG) == 0
    assert contents(tmp_path / "out")["a.jsonl.gz"] == contents(local / "attributes/x")["a.jsonl.gz"]
    (record,) = (tmp_path / "out/provenance").iterdir()
    assert list(json.loads(record.read_bytes())["inputs"]) == [web]
    assert dolma("tag", "--documents", local, "--destination", f"{bucket.endpoint.url}/out", *TAG) == 2
    assert "nothing can be written there" in capsys.readouterr().err


def test_configurations_and_what_they_interpolate_may_be_remote(
    bucket: Any, write_documents: Any, dolma: Any, capsys: Any
) -> None:
    corpus = bucket.put(write_documents(ROWS), "corpus")
    bucket.write("words.txt", b"mail\n")
    settings = {
        "documents": f"${{d.glob:{corpus}/documents/*.gz}}",
        "taggers": ["c4_v2"],
        "resources": {"c4_v2": [f"${{d.cache:{bucket.url}/words.txt}}"]},
    }
    bucket.write("tag.yaml", yaml.safe_dump(settings).encode())
    assert dolma("tag", "-c", f"{bucket.url}/tag.yaml") == 0
    assert "c4_v2/a.jsonl.gz" in bucket.content(f"{corpus}/attributes")
    bucket.write("wrong.yaml", b"documents: [a]\ndocuments: [b]\n")
    assert dolma("tag", "-c", f"{bucket.url}/wrong.yaml") == 2
    assert f"({bucket.url}/wrong.yaml, line 2)" in capsys.readouterr().err
    assert dolma("tag", "-c", f"{bucket.url}/none.yaml") == 2
    assert f"({bucket.url}/none.yaml)" in capsys.readouterr().err


def test_what_stays_here_of_remote_documents_names_them_by_their_urls(
    bucket: Any, write_documents: Any, dolma: Any, tmp_path: Path
) -> None:
    corpus = bucket.put(write_documents([*ROWS, b"broken"]), "corpus")
    other = bucket.put(write_documents(ROWS, root="other"), "other")
    tokenizer = ("train-tokenizer", "--documents", corpus, "--vocab-size", "280", "--output", tmp_path / "tok")
    assert dolma(*tokenizer, "--max-failed", "1") == 0
    settings = tmp_path / "tokens.yaml"
    settings.write_text("fields: {id_field_name: null}")
    line = ("tokens", "-c", settings, "--tokenizer.name_or_path", tmp_path / "tok", "--max-failed", "1")
    assert dolma(*line, "--documents", corpus, other, "--destination", tmp_path / "tokens") == 0
    rows = gzip.decompress(next((tmp_path / "tokens").glob("*.csv.gz")).read_bytes()).decode().splitlines()
    digest = hashlib.sha256(f"{corpus}/documents/a.jsonl.gz".encode()).hexdigest()
    assert any(f"{digest}-1," in row for row in rows)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"dolma-data-remote" not in path.read_bytes(), path


def test_attributes_of_other_documents_of_the_same_size_go(
    bucket: Any, dolma: Any, tmp_path: Path, caplog: Any
) -> None:
    def extract(text: str, output: object) -> int:
        (tmp_path / "a.jsonl").write_text(json.dumps({"id": "1", "text": text}) + "\n")
        return int(dolma("extract", tmp_path / "a.jsonl", "--source", "s", "--output", output))

    def packed_size(text: str) -> int:
        assert extract(text, tmp_path / text) == 0
        return (tmp_path / text / "documents/part-0000-00.jsonl.gz").stat().st_size

    size = packed_size("one")
    other = next(text for text in ("two", "six", "ten", "bad", "old", "new", "red", "few") if packed_size(text) == size)
    out = f"{bucket.url}/out"
    assert extract("one", out) == 0
    assert dolma("tag", "--documents", out, *TAG) == 0
    assert extract("one", out) == 0
    assert "attributes/x/manifest.json" in bucket.content(out)
    assert extract(other, out) == 0
    assert len(bucket.read("out/documents/part-0000-00.jsonl.gz")) == size
    assert not [name for name in bucket.content(out) if name.startswith("attributes")]
    assert "the documents were replaced, their attributes are removed" in caplog.text


def test_with_compat_files_that_exist_at_the_url_are_left_as_they_are(
    bucket: Any, write_documents: Any, dolma: Any, tmp_path: Path
) -> None:
    corpus = bucket.put(write_documents(ROWS), "corpus")
    stream = {"name": "kept", "documents": [corpus], "output": {"path": f"{bucket.url}/out"}}
    (tmp_path / "mix.yaml").write_text(yaml.safe_dump({"streams": [stream | {"filter": {"include": ["$.id"]}}]}))
    bucket.write("out/mine.txt", b"mine")
    assert dolma("--compat", "dolma", "mix", "-c", tmp_path / "mix.yaml") == 0
    name = "kept-0000.json.gz"
    assert sorted(bucket.content(f"{bucket.url}/out")) == [name, "mine.txt"]
    bucket.write(f"out/{name}", b"as it was")
    assert dolma("--compat", "dolma", "mix", "-c", tmp_path / "mix.yaml") == 0
    assert bucket.content(f"{bucket.url}/out") == {name: b"as it was", "mine.txt": b"mine"}


def test_an_output_that_is_no_artifact_is_refused_before_any_work(
    bucket: Any, write_documents: Any, dolma: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = bucket.put(write_documents(ROWS), "corpus")
    bucket.write("tok/mine.txt", b"mine")
    line = ("train-tokenizer", "--documents", corpus, "--vocab-size", "280", "--output", f"{bucket.url}/tok")
    assert dolma(*line) == 2
    assert f"the output exists and is not a tokenizer artifact ({bucket.url}/tok)" in capsys.readouterr().err
    assert bucket.content(f"{bucket.url}/tok") == {"mine.txt": b"mine"}


RECIPE = {
    "name": "small",
    "variables": {"words": ""},
    "steps": [
        {"tag": {"experiment": "x", "taggers": ["c4_v2"], "resources": {"c4_v2": ["${words}"]}}},
        {"name": "first", "stat": {"attributes": ["${output}/raw/attributes/x"], "report": "${output}/first"}},
        {"name": "second", "stat": {"attributes": ["${output}/raw/attributes/x"], "report": "${output}/second"}},
    ],
}


@pytest.fixture
def recipe(bucket: Any) -> Any:
    """Write a recipe and what it reads to the bucket; returns the words of the line."""
    bucket.write("raw/a.txt", b"Some text.\n")
    bucket.write("words.txt", b"text\n")
    stated = RECIPE | {"variables": {"words": f"{bucket.url}/words.txt"}}
    bucket.write("recipe.yaml", yaml.safe_dump(stated).encode())
    return ("run", f"{bucket.url}/recipe.yaml", "--input", f"{bucket.url}/raw", "--output", f"{bucket.url}/out")


def skipped(caplog: Any) -> list[str]:
    found = [record.getMessage() for record in caplog.records if "nothing changed, skipped" in record.getMessage()]
    caplog.clear()
    return [message.split()[1].rstrip(":") for message in found]


def test_a_recipe_publishes_step_by_step_and_goes_on_from_its_url_anywhere(
    bucket: Any, dolma: Any, recipe: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    caplog.set_level("INFO")
    bucket.endpoint.faults.append(Fault("PUT", "/second/summaries.jsonl.gz", 403, "AccessDenied"))
    assert dolma(*recipe) == 2
    assert skipped(caplog) == []
    there = bucket.content(f"{bucket.url}/out")
    assert "first/summaries.jsonl.gz" in there  # published before the second was begun
    assert "summary.json" not in there
    bucket.endpoint.faults.clear()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))  # as on another machine
    monkeypatch.setattr("tempfile.tempdir", None)
    assert dolma(*recipe) == 0
    assert skipped(caplog) == ["extract", "tag", "first"]
    assert "summary.json" in bucket.content(f"{bucket.url}/out")
    assert dolma(*recipe) == 0
    assert skipped(caplog) == ["extract", "tag", "first", "second"]
    bucket.write("words.txt", b"other\n")
    assert dolma(*recipe) == 0
    assert skipped(caplog) == ["extract"]


def test_a_recipe_that_was_killed_goes_on(bucket: Any, dolma: Any, recipe: Any, caplog: Any) -> None:
    caplog.set_level("INFO")
    program = [sys.executable, "-c", "from dolma_data.cli import main; main()", *recipe]
    running = subprocess.Popen(program, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    kill = Fault("PUT", "/first/summaries.jsonl.gz", times=1, before=lambda: os.kill(running.pid, signal.SIGKILL))
    bucket.endpoint.faults.append(kill)
    assert running.wait(timeout=60) == -signal.SIGKILL
    assert "first/manifest.json" not in bucket.content(f"{bucket.url}/out")
    assert dolma(*recipe) == 0
    assert skipped(caplog) == ["extract", "tag", "first"]
    names = bucket.content(f"{bucket.url}/out")
    assert {"first/summaries.jsonl.gz", "second/summaries.jsonl.gz", "summary.json"} <= names.keys()
    assert not [name for name in names if name.endswith(".partial")]


def test_a_step_of_a_recipe_names_no_url_itself(bucket: Any, dolma: Any, recipe: Any, capsys: Any) -> None:
    steps = [{"stat": {"attributes": [f"{bucket.url}/attributes/x"], "report": "${output}/report"}}]
    bucket.write("recipe.yaml", yaml.safe_dump(RECIPE | {"steps": steps}).encode())
    assert dolma(*recipe) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"error: step stat: no remote file can stand here ({bucket.url}/attributes/x); make it a variable" in error


def test_a_recipe_is_dry_run_without_a_look_at_what_is_remote(
    bucket: Any, dolma: Any, recipe: Any, capsys: Any
) -> None:
    assert dolma(*recipe, "--dry-run") == 0
    assert yaml.safe_load(capsys.readouterr().out)["missing"] == [f"{bucket.url}/recipe.yaml {remote.REMOTE}"]
    assert not bucket.keys("out")


@pytest.mark.parametrize(
    "line",
    [
        "extract s3://b/raw --output s3://b/out",
        "dedupe --documents s3://b/corpus --dedupe.documents.attribute-name dup",
        "decontaminate --documents s3://b/corpus --texts s3://b/texts.jsonl",
        "stat --attributes s3://b/corpus/attributes/x",
        "analyze --documents s3://b/corpus --output s3://b/out",
        "train-tokenizer --documents s3://b/corpus --vocab-size 300 --output s3://b/out",
        "tokens --documents s3://b/corpus --tokenizer.name-or-path s3://b/tokenizer.json --destination s3://b/out",
        "warc --documents s3://b/crawl --destination s3://b/out --source-name s",
        "train-classifier --documents s3://b/corpus --output s3://b/out",
        "models get dclm-oh-eli5 --from s3://b/model.bin",
        "run c4-like --documents s3://b/corpus --output s3://b/out",
    ],
)
def test_a_dry_run_of_any_command_takes_urls_and_asks_nothing_of_the_storage(
    bucket: Any, dolma: Any, capsys: Any, line: str
) -> None:
    before = len(bucket.endpoint.requests)
    assert dolma(*line.split(), "--dry-run") == 0, capsys.readouterr().err
    assert "s3://b/" in capsys.readouterr().out
    assert len(bucket.endpoint.requests) == before


def test_a_file_address_is_a_local_path(write_documents: Any, dolma: Any, tmp_path: Path) -> None:
    root = write_documents(ROWS)
    assert dolma("tag", "--documents", f"file://{root}", "--destination", f"file://{tmp_path}/out", *TAG) == 0
    assert (tmp_path / "out/a.jsonl.gz").is_file()
