"""Every path that a command takes may be a URL: all commands and all their settings are gone through."""

from __future__ import annotations

import dataclasses
import gzip
import inspect
import json
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from object_storage import Bucket
from test_decontaminate import write_set
from test_model_catalogue import write_model
from test_warc import archive  # noqa: F401 (a fixture)

from dolma_data import cli
from dolma_data.config.kinds import Local, Place
from dolma_data.remote import map_arguments, roles_of
from dolma_data.taggers import registry

TEXTS = [f"Ένα δύο τρία number{k}" if k % 2 else f"one two three number{k}" for k in range(40)]
ROWS = [
    {"id": f"a{k}", "source": "s", "text": text + " word" * k, "label": "greek" if k % 2 else "latin"}
    for k, text in enumerate(TEXTS)
]
LINE = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
MODULE = """
import numpy as np
from dolma_data.batch import whole_documents
from dolma_data.taggers import tagger

@tagger("my_rule", types=("one",), source="a test")
def my_rule(batch):
    yield whole_documents(batch, "one", np.ones(len(batch)))
"""


def commands() -> Iterator[tuple[str, Callable[..., None]]]:
    """Name and function of every command."""
    for app, before in ((cli.app, ""), (cli.models, "models ")):
        for name in app:
            if not name.startswith("-") and app[name].default_command is not None:
                yield before + name, inspect.unwrap(app[name].default_command)


def settings_of(described: Any, before: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, type and role of every setting of a command or dataclass that is no dataclass itself."""
    hints = typing.get_type_hints(described)
    for name, role in roles_of(described).items():
        inner = [kind for kind in _kinds(hints[name]) if dataclasses.is_dataclass(kind)]
        if name == "return":
            continue
        for kind in inner:
            yield from settings_of(kind, before if name == "config" else f"{before}{name}.")
        if not inner:
            yield before + name, hints[name], role


def _kinds(hint: Any) -> Iterator[Any]:
    yield hint
    for inner in typing.get_args(hint):
        yield from _kinds(inner)


ALL = {name: list(settings_of(function)) for name, function in commands()}
PATHS = {(name, setting): role for name, found in ALL.items() for setting, _, role in found if role is not None}
# texts that name no files; anything else that is a text or a path must have a role
TEXTS_ONLY = {
    "source", "text_field", "packages", "experiment", "compat", "profile.sort_key", "dedupe.name",
    "dedupe.documents.attribute_name", "dedupe.documents.key", "dedupe.paragraphs.attribute_name",
    "dedupe.paragraphs.paragraph_separator", "dedupe.method", "dedupe.minhash.shingle", "dedupe.substring.unit",
    "dedupe.document_dir", "compression.input", "compression.output", "evaluation.exempt_sources", "exempt_sources",
    "name", "regex", "domain_field", "streams.name", "streams.attributes", "streams.output.discard_fields",
    "streams.filter.include", "streams.filter.exclude", "streams.filter.syntax", "streams.span_replacement.span",
    "streams.span_replacement.replacement", "streams.span_replacement.syntax", "streams.compression.input",
    "streams.compression.output", "eos_token", "pad_token", "dtype", "fields.text_field_name",
    "fields.text_field_type", "fields.id_field_name", "fields.id_field_type", "source_name", "linearizer",
    "identifier", "label_field", "labels", "settings.loss",
    "set",  # variables of a recipe, which may be URLs: they are fetched when the recipe has been read
}  # fmt: skip


def test_every_setting_that_is_a_path_says_what_is_done_with_it() -> None:
    for name, found in ALL.items():
        for setting, hint, role in found:
            kinds = set(_kinds(hint))
            if (name, setting) == ("models get", "name"):
                continue
            assert role is not None or Path not in kinds, f"{name} {setting}"
            if str in kinds and role is None:
                assert setting in TEXTS_ONLY, f"{name} {setting}"


@pytest.mark.parametrize(("command", "setting"), sorted(key for key, role in PATHS.items() if isinstance(role, Local)))
def test_what_cannot_be_remote_is_refused_in_one_line_with_the_reason(
    command: str, setting: str, dolma: Any, capsys: Any, tmp_path: Path
) -> None:
    (tmp_path / "reshard.yaml").write_text("{source_prefixes: [{prefix: x}], destination_prefix: y, max_num_files: 1}")
    line = {
        "tokens": ["--documents", "x", "--destination", "y"],
        "reshard": ["-c", tmp_path / "reshard.yaml"],
        "models list": [],
        "models get": ["dclm-oh-eli5", "--download"],
    }[command]
    option = "--" + setting.replace("_", "-")
    assert dolma(*command.split(), *line, option, "s3://bucket/place") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: this cannot be remote: ")
    assert "(s3://bucket/place); give a local folder" in error
    assert len(error.splitlines()) == 1


def test_a_url_in_a_setting_that_names_no_file_is_text(dolma: Any, write_documents: Any, capsys: Any) -> None:
    row = {"id": "https://example.org/a", "source": "s3://bucket/source", "text": "x"}
    root = write_documents([row])
    assert dolma("why", "https://example.org/a", "--documents", root, "--source", "s3://bucket/source") == 0
    assert "https://example.org/a" in capsys.readouterr().out


@pytest.fixture
def places(write_documents: Any, dolma: Any, tmp_path: Path, archive: Path) -> Path:  # noqa: F811
    """A folder with something of every kind that commands read."""
    write_documents(ROWS[:20], "deep/one.jsonl.gz")
    leak = {"id": "leak", "source": "s", "text": LINE, "label": "latin"}
    corpus = write_documents([*ROWS[20:], leak], "two.jsonl.gz")
    old = write_documents(ROWS[:5], "a.jsonl.gz", "old")
    assert old.is_dir()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.txt").write_text("A file of text.\n" * 3)
    (tmp_path / "rules.py").write_text(MODULE)
    (tmp_path / "words.txt").write_text("three\n")
    (tmp_path / "texts.jsonl").write_text(json.dumps({"id": "u", "text": LINE}) + "\n")
    requests = {"doc_id": 0, "request": {"context": LINE + " fifteen", "continuation": "x"}}
    (tmp_path / "suite/s/val").mkdir(parents=True)
    (tmp_path / "suite/requests.jsonl").write_text(json.dumps(requests) + "\n")
    (tmp_path / "suite/s/val/a.jsonl").write_text(json.dumps({"id": "u", "text": LINE + " suite"}) + "\n")
    unit = {"kind": "paragraph", "id": "e", "source": "wiki", "domain": "art", "text": LINE + " set"}
    write_set(tmp_path / "set", [unit])
    write_model(tmp_path / "quality.bin", {"three": [1, 0], "word": [0, 1]}, ["hq", "lq"])
    assert dolma("tag", "--documents", corpus, "--taggers", "char_length_v1", "--experiment", "x") == 0
    stream = {
        "name": "kept",
        "documents": ["PLACES/corpus"],
        "attributes": ["x"],
        "output": {"path": "PLACES/mixed"},
        "filter": {"exclude": ["$.attributes[?(@.x__char_length_v1__length[0][2] < 30)]"]},
    }
    (tmp_path / "mix.yaml").write_text(yaml.safe_dump({"streams": [stream]}))
    return tmp_path


@dataclasses.dataclass(frozen=True)
class Case:
    """A line that is run with PLACES as a local folder and as a URL; ``wrote`` is what is compared."""

    command: str
    line: str
    wrote: tuple[str, ...]
    settings: tuple[str, ...]
    before: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()  # files that hold times or places


CASES = [
    Case("extract", "PLACES/raw PLACES/corpus/documents --output PLACES/out", ("out",), ("paths", "output")),
    Case(
        "tag",
        "--documents PLACES/corpus --taggers my_rule c4_v2 fasttext:quality=PLACES/quality.bin --experiment y "
        "--tagger-modules PLACES/rules.py --resources.c4_v2 PLACES/words.txt --destination PLACES/out/attributes/y "
        "--profile.enable --profile.output PLACES/out/profile.txt",
        ("out",),
        ("documents", "taggers", "tagger_modules", "resources", "destination", "profile.output"),
        loose=("profile.txt", "attributes/y/manifest.json"),
    ),
    Case("list", "--tagger-modules PLACES/rules.py", (), ("tagger_modules",)),
    Case(
        "dedupe",
        "--documents PLACES/corpus --dedupe.against PLACES/old --dedupe.documents.attribute-name dup "
        "--bloom-filter.file PLACES/seen --bloom-filter.size-in-bytes 1024",
        ("corpus/attributes/dup", "seen"),
        ("documents", "dedupe.against", "bloom_filter.file"),
        loose=("",),
    ),
    Case(
        "decontaminate",
        "--documents PLACES/corpus --texts PLACES/texts.jsonl --suites PLACES/suite "
        "--requests PLACES/suite/requests.jsonl --decontamination-set PLACES/set --report PLACES/report",
        ("corpus/attributes/decontamination", "report"),
        ("documents", "evaluation.texts", "evaluation.requests", "evaluation.suites", "decontamination_set", "report"),
    ),
    Case(
        "stat",
        "--attributes PLACES/corpus/attributes/x --report PLACES/report",
        ("report",),
        ("attributes", "report"),
    ),
    Case("analyze", "--documents PLACES/corpus --output PLACES/out --no-language", ("out",), ("documents", "output")),
    Case("mix", "-c PLACES/mix.yaml", ("mixed",), ("streams.documents", "streams.output.path"), loose=("funnel.json",)),
    Case(
        "why",
        "a30 -c PLACES/mix.yaml",
        (),
        ("streams.documents", "streams.output.path"),
        before=("mix -c PLACES/mix.yaml",),
    ),
    Case("why", "a30 --documents PLACES/corpus", (), ("documents",)),
    Case(
        "train-tokenizer",
        "--documents PLACES/corpus --vocab-size 270 --output PLACES/tok",
        ("tok",),
        ("documents", "output"),
    ),
    Case(
        "tokens",
        "--documents PLACES/corpus --tokenizer.name-or-path PLACES/tok/tokenizer.json --destination PLACES/tokens",
        ("tokens",),
        ("documents", "tokenizer.name_or_path", "destination"),
        before=("train-tokenizer --documents PLACES/corpus --vocab-size 270 --output PLACES/tok",),
    ),
    Case(
        "tokens",
        "--documents PLACES/corpus --tokenizer-name-or-path PLACES/tok --destination PLACES/tokens",
        ("tokens",),
        ("tokenizer_name_or_path",),
        before=("train-tokenizer --documents PLACES/corpus --vocab-size 270 --output PLACES/tok",),
    ),
    Case(
        "reshard",
        "-c PLACES/reshard.yaml",
        ("mixed",),
        ("source_prefixes.prefix", "destination_prefix", "tokenizer_name_or_path"),
        before=(
            "train-tokenizer --documents PLACES/corpus --vocab-size 270 --output PLACES/tok",
            "tokens --documents PLACES/corpus --tokenizer.name-or-path PLACES/tok --destination PLACES/tokens",
        ),
    ),
    Case(
        "warc",
        "--documents PLACES/crawl --destination PLACES/web --source-name s --tagger-modules PLACES/rules.py "
        "--pre.taggers my_rule fasttext:quality=PLACES/quality.bin --post.taggers c4_v2 "
        "--resources.c4_v2 PLACES/words.txt",
        ("web",),
        ("documents", "destination", "tagger_modules", "pre.taggers", "resources"),
    ),
    Case(
        "warc",
        "--documents PLACES/crawl --destination PLACES/web --source-name s "
        "--post.taggers fasttext:quality=PLACES/quality.bin",
        ("web",),
        ("post.taggers",),
    ),
    Case(
        "train-classifier",
        "--documents PLACES/corpus --output PLACES/script --settings.buckets 4096 --settings.epochs 2",
        ("script",),
        ("documents", "output"),
    ),
    Case("models get", "dolma17-quality --from PLACES/quality.bin --folder LOCAL/models", (), ("source",)),
    Case(
        "run",
        "PLACES/recipe.yaml --documents PLACES/corpus --output PLACES/run --set.words PLACES/words.txt",
        ("run", "corpus/attributes/rules"),
        ("recipe", "documents", "output"),
        loose=("funnel.json", "manifest.json"),
    ),
    Case(
        "run",
        "PLACES/recipe.yaml --input PLACES/raw --output PLACES/run --set.words PLACES/words.txt",
        ("run",),
        ("input",),
        loose=("funnel.json", "manifest.json"),
    ),
]
RECIPE = {
    "name": "small",
    "variables": {"words": ""},
    "steps": [
        {"tag": {"experiment": "rules", "taggers": ["c4_v2"], "resources": {"c4_v2": ["${words}"]}}},
        {
            "mix": {
                "streams": [
                    {
                        "name": "kept",
                        "documents": ["${documents}"],
                        "attributes": ["rules"],
                        "output": {"path": "${output}/kept"},
                        "filter": {"include": ["$.id"]},
                    }
                ]
            }
        },
    ],
}


def test_every_path_is_tried_with_a_url() -> None:
    tried = {(case.command, setting) for case in CASES for setting in case.settings}
    wanted = {key for key, role in PATHS.items() if isinstance(role, Place)}
    assert tried == wanted


@pytest.mark.parametrize("case", CASES, ids=[f"{case.command} {case.settings[0]}" for case in CASES])
def test_a_command_does_the_same_with_urls_as_with_local_paths(
    case: Case, places: Path, bucket: Bucket, dolma: Any, contents: Any, capsys: Any, tmp_path: Path
) -> None:
    (places / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    sources = [{"prefix": "PLACES/tokens", "sample_rate": 1.5}]
    more = {"destination_prefix": "PLACES/mixed", "tokenizer_name_or_path": "PLACES/tok", "max_num_files": 2}
    (places / "reshard.yaml").write_text(yaml.safe_dump({"source_prefixes": sources, **more}))
    templates = {path: path.read_text() for path in places.glob("*.yaml")}
    bucket.put(places, "p")
    printed = []
    for at in (str(places), f"{bucket.url}/p"):
        for path, template in templates.items():
            path.write_text(template.replace("PLACES", at))
            bucket.write(f"p/{path.name}", path.read_bytes())
        for line in case.before:
            assert dolma(*line.replace("PLACES", at).split()) == 0
        capsys.readouterr()
        registry._registry.pop("my_rule", None)  # of a module that lay elsewhere
        line = case.line.replace("PLACES", at).replace("LOCAL", str(tmp_path))
        assert dolma(*case.command.split(), *line.split()) == 0, capsys.readouterr().err
        printed.append(capsys.readouterr().out.replace(at, "PLACES"))
    if case.command not in ("tag", "models get"):  # which print times and a local path
        assert printed[0] == printed[1]
    for place in case.wrote:
        local = {name: _read(data, str(places)) for name, data in _content(contents, places / place).items()}
        remote = {name: _read(data, f"{bucket.url}/p") for name, data in _remote(bucket, place).items()}
        assert local.keys() == remote.keys()
        assert local
        for name in local:
            if name not in case.loose and Path(name).name not in case.loose:
                assert local[name] == remote[name], name
    assert not list((tmp_path / "temporary/dolma-data-remote").iterdir())
    for key in bucket.keys("p"):
        assert b"dolma-data-remote" not in _read(bucket.read(key), "-"), key


def _content(contents: Any, place: Path) -> dict[str, bytes]:
    return {"": place.read_bytes()} if place.is_file() else dict(contents(place))


def _remote(bucket: Bucket, place: str) -> dict[str, bytes]:
    found = bucket.content(f"{bucket.url}/p/{place}")
    return found or {"": bucket.read(f"p/{place}")}


def _read(data: bytes, place: str) -> bytes:
    """Content, unpacked, with PLACES for the place where it was made."""
    unpacked = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    return unpacked.replace(place.encode(), b"PLACES")


def test_roles_reach_the_arguments_of_commands() -> None:
    found: list[tuple[str, str, Any]] = []

    def note(scheme: str, path: str, role: Any) -> str:
        found.append((scheme, path, role))
        return "/local"

    function = dict(commands())["models get"]
    config = cli.ModelGetConfig(source=Path("s3://b/m.bin"))
    _, named = map_arguments(function, ("s3://not/a/path",), {"config": config}, note)
    assert found == [("s3", "b/m.bin", Place.READ)]
    assert named["config"].source == Path("/local")


@pytest.mark.parametrize(
    "line",
    [
        "extract PLACES/raw --output LOCAL/out",
        "tag --documents PLACES/corpus --taggers fasttext:PLACES/quality.bin --destination LOCAL/out",
        "decontaminate --documents PLACES/corpus --texts PLACES/texts.jsonl --report LOCAL/out",
        "stat --attributes PLACES/corpus/attributes/x --report LOCAL/out",
        "analyze --documents PLACES/corpus --no-language --output LOCAL/out",
        "warc --documents PLACES/crawl --source-name s --destination LOCAL/out",
        "warc --documents PLACES/crawl --source-name s --compat dolma --destination LOCAL/out",
        "train-classifier --documents PLACES/corpus --settings.buckets 4096 --settings.epochs 2 --output LOCAL/out",
    ],
)
def test_what_is_written_here_from_remote_files_names_no_temporary_place(
    line: str, places: Path, bucket: Bucket, dolma: Any, tmp_path: Path, capsys: Any
) -> None:
    bucket.put(places, "p")
    assert dolma(*line.replace("PLACES", f"{bucket.url}/p").replace("LOCAL", str(tmp_path)).split()) == 0
    printed = capsys.readouterr()
    assert "dolma-data-remote" not in printed.out + printed.err
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert written
    for path in written:
        assert b"dolma-data-remote" not in _read(path.read_bytes(), "-"), path
