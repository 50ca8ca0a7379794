"""Every key of Dolma's commands, as allenai/dolma 1.2.1 spells it, with its default.

Each is taken here, in files and as an option, and has that default or another that is documented.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import types
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma_data.cli import app
from dolma_data.config.dedupe import DedupeConfig
from dolma_data.config.mix import MixConfig
from dolma_data.config.stat import StatConfig
from dolma_data.config.tag import TagConfig
from dolma_data.config.tokens import TokensConfig
from dolma_data.config.warc import WarcConfig
from dolma_data.dolma_settings import RENAMED, WITHOUT_EFFECT

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "packages/dolma-data/src/dolma_data"
CONFIGS = {
    "tag": TagConfig,
    "dedupe": DedupeConfig,
    "mix": MixConfig,
    "tokens": TokensConfig,
    "stat": StatConfig,
    "warc": WarcConfig,
}
NEEDED = "needed"  # Dolma has no default, or one that it refuses itself, such as no documents
WORK_DIR = {"work_dir.input": None, "work_dir.output": None}

# Facts about allenai/dolma 1.2.1: command, key, default. A list of mappings is written streams[].
DOLMA: dict[str, dict[str, Any]] = {
    "tag": {
        "documents": NEEDED,
        "destination": None,
        "tagger_modules": [],
        "taggers": [],
        "experiment": None,
        "processes": 1,
        "ignore_existing": False,
        "debug": False,
        "profile.enable": False,
        "profile.output": None,
        "profile.steps": None,
        "profile.sort_key": "tottime",
        "profile.lines": 100,
        "dryrun": False,
        **WORK_DIR,
    },
    "dedupe": {
        "documents": NEEDED,
        "dedupe.name": None,
        "dedupe.documents": None,
        "dedupe.documents.attribute_name": NEEDED,
        "dedupe.documents.key": NEEDED,
        "dedupe.paragraphs": None,
        "dedupe.paragraphs.attribute_name": NEEDED,
        "dedupe.paragraphs.paragraph_separator": "\n",
        "dedupe.paragraphs.by_ngram": None,
        "dedupe.paragraphs.by_ngram.ngram_length": 0,
        "dedupe.paragraphs.by_ngram.stride": 0,
        "dedupe.paragraphs.by_ngram.overlap_threshold": 1.0,
        "dedupe.paragraphs.by_ngram.skip_short_paragraphs": False,
        "dedupe.skip_empty": False,
        "dedupe.min_length": 0,
        "dedupe.min_words": 0,
        "dedupe.num_partitions": 1,
        "dedupe.partition_index": 0,
        "dedupe.file_partition": False,
        "dedupe.document_dir": "documents",
        "bloom_filter": NEEDED,
        "bloom_filter.file": NEEDED,
        "bloom_filter.read_only": NEEDED,
        "bloom_filter.size_in_bytes": 0,
        "bloom_filter.estimated_doc_count": 0,
        "bloom_filter.desired_false_positive_rate": 0,
        "processes": 1,
        "compression.input": None,
        "compression.output": None,
        "dryrun": False,
        "is_s3_volume": False,
        **WORK_DIR,
    },
    "mix": {
        "streams": NEEDED,
        "streams[].name": NEEDED,
        "streams[].documents": NEEDED,
        "streams[].output.path": NEEDED,
        "streams[].output.max_size_in_bytes": 2_147_483_648,
        "streams[].output.discard_fields": [],
        "streams[].output.min_text_length": 0,
        "streams[].attributes": [],
        "streams[].filter": None,
        "streams[].filter.include": [],
        "streams[].filter.exclude": [],
        "streams[].filter.syntax": "jsonpath",
        "streams[].span_replacement": [],
        "streams[].span_replacement[].span": NEEDED,
        "streams[].span_replacement[].min_score": None,
        "streams[].span_replacement[].max_score": None,
        "streams[].span_replacement[].replacement": "",
        "streams[].span_replacement[].syntax": "jsonpath",
        "streams[].compression.input": None,
        "streams[].compression.output": None,
        "processes": 1,
        "shuffle": True,
        "dryrun": False,
        **WORK_DIR,
    },
    "tokens": {
        "documents": NEEDED,
        "destination": NEEDED,
        "tokenizer_name_or_path": None,
        "tokenizer": None,
        "tokenizer.name_or_path": NEEDED,
        "tokenizer.bos_token_id": None,
        "tokenizer.eos_token_id": None,
        "tokenizer.pad_token_id": None,
        "tokenizer.segment_before_tokenization": False,
        "tokenizer.refresh": 0,
        "tokenizer.fast": True,
        "tokenizer.encode_special_tokens": False,
        "processes": 1,
        "files_per_process": None,
        "batch_size": 10_000,
        "ring_size": 8,
        "fields.text_field_name": "text",
        "fields.text_field_type": "str",
        "fields.id_field_name": "id",
        "fields.id_field_type": "str",
        "sample_ring_prop": False,
        "max_size": 1_073_741_824,
        "dtype": "uint16",
        "debug": False,
        "seed": 3920,
        "dryrun": False,
        **WORK_DIR,
    },
    "stat": {
        "attributes": NEEDED,
        "report": None,
        "bins": 1000,
        "processes": 1,
        "seed": 0,
        "total": False,
        "debug": False,
        "regex": None,
        **WORK_DIR,
    },
    "warc": {
        "documents": NEEDED,
        "destination": NEEDED,
        "source_name": NEEDED,
        "linearizer": "resiliparse",
        "pre.taggers": [],
        "pre.skip": False,
        "post.taggers": [],
        "post.skip": False,
        "store_html_in_metadata": False,
        "processes": 1,
        "ignore_existing": False,
        "debug": False,
        "dryrun": False,
        **WORK_DIR,
    },
}

# Every key that an option can set, with a value that is not its default.
SET: dict[str, list[dict[str, Any]]] = {
    "tag": [
        {
            "documents": ["a/documents/*.gz", "b/documents/*.gz"],
            "destination": ["x", "y"],
            "tagger_modules": ["TAGGERS.py"],
            "taggers": ["gopher_v2", "c4_v2"],
            "experiment": "e",
            "processes": 3,
            "ignore_existing": True,
            "debug": True,
            "profile.enable": True,
            "profile.output": "profile.txt",
            "profile.steps": 5,
            "profile.sort_key": "cumulative",
            "profile.lines": 7,
            "work_dir.input": "wi",
            "work_dir.output": "wo",
        }
    ],
    "dedupe": [
        {
            "documents": ["a/texts/*.gz"],
            "dedupe.name": "n",
            "dedupe.paragraphs.attribute_name": "p",
            "dedupe.paragraphs.paragraph_separator": "%%",
            "dedupe.paragraphs.by_ngram.ngram_length": 13,
            "dedupe.paragraphs.by_ngram.stride": 2,
            "dedupe.paragraphs.by_ngram.overlap_threshold": 0.5,
            "dedupe.paragraphs.by_ngram.skip_short_paragraphs": True,
            "dedupe.skip_empty": True,
            "dedupe.min_length": 4,
            "dedupe.min_words": 5,
            "dedupe.num_partitions": 6,
            "dedupe.partition_index": 3,
            "dedupe.file_partition": True,
            "dedupe.document_dir": "texts",
            "bloom_filter.file": "f.bin",
            "bloom_filter.read_only": True,
            "bloom_filter.size_in_bytes": 1000,
            "bloom_filter.estimated_doc_count": 100,
            "bloom_filter.desired_false_positive_rate": 0.1,
            "processes": 3,
            "compression.input": "gz",
            "compression.output": "gz",
            "is_s3_volume": True,
            "work_dir.input": "wi",
            "work_dir.output": "wo",
        },
        {
            "documents": ["a/documents/*.gz"],
            "dedupe.documents.attribute_name": "d",
            "dedupe.documents.key": "$.metadata.url",
            "bloom_filter.file": "f.bin",
            "bloom_filter.read_only": False,
            "bloom_filter.size_in_bytes": 1000,
            "bloom_filter.estimated_doc_count": 100,
        },
    ],
    "tokens": [
        {
            "documents": ["a/documents/*.gz"],
            "destination": "t",
            "tokenizer.name_or_path": "/nowhere/tokenizer.json",
            "tokenizer.bos_token_id": 1,
            "tokenizer.eos_token_id": 2,
            "tokenizer.pad_token_id": 3,
            "tokenizer.segment_before_tokenization": True,
            "tokenizer.refresh": 9,
            "tokenizer.fast": False,
            "tokenizer.encode_special_tokens": True,
            "processes": 3,
            "files_per_process": 2,
            "batch_size": 10,
            "ring_size": 4,
            "fields.text_field_name": "body.text",
            "fields.text_field_type": "string",
            "fields.id_field_name": "key",
            "fields.id_field_type": "int",
            "sample_ring_prop": True,
            "max_size": 1000,
            "dtype": "uint32",
            "debug": True,
            "seed": 1,
            "work_dir.input": "wi",
            "work_dir.output": "wo",
        },
        {"documents": ["a"], "destination": "t", "tokenizer_name_or_path": "/nowhere/tokenizer.json"},
    ],
    "stat": [
        {
            "attributes": ["a/attributes/n"],
            "report": "r",
            "bins": 10,
            "processes": 3,
            "seed": 1,
            "total": True,
            "debug": True,
            "regex": "x.*",
            "work_dir.input": "wi",
            "work_dir.output": "wo",
        }
    ],
    "warc": [
        {
            "documents": ["a.warc.gz", "b.warc.gz"],
            "destination": ["x", "y"],
            "source_name": "web",
            "linearizer": "trafilatura",
            "pre.taggers": ["gopher_v2", "c4_v2"],
            "pre.skip": True,
            "post.taggers": ["gopher_v2"],
            "post.skip": True,
            "store_html_in_metadata": True,
            "processes": 3,
            "ignore_existing": True,
            "debug": True,
            "work_dir.input": "wi",
            "work_dir.output": "wo",
        }
    ],
    "mix": [{"processes": 3, "shuffle": False, "work_dir.input": "wi", "work_dir.output": "wo"}],
}
STREAM = {
    "name": "s",
    "documents": ["a/documents/*.gz"],
    "output": {"path": "o", "max_size_in_bytes": 1, "discard_fields": ["attributes"], "min_text_length": 2},
    "attributes": ["t"],
    "filter": {"include": [".id"], "exclude": [".text"], "syntax": "jq"},
    "span_replacement": [
        {"span": ".attributes.k", "min_score": 0.1, "max_score": 0.2, "replacement": "|", "syntax": "jq"}
    ],
    "compression": {"input": "zst", "output": "gz"},
}


def fields_of(kind: Any) -> dict[str, tuple[Any, Any]]:
    """Type and default of each field of a dataclass."""
    hints = typing.get_type_hints(kind)
    found = {}
    for each in dataclasses.fields(kind):
        default = each.default if each.default_factory is dataclasses.MISSING else each.default_factory()
        found[each.name] = hints[each.name], default
    return found


def inner_of(hint: Any) -> Any:
    """The dataclass in a type such as ``list[A]`` or ``A | None``."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) in (list, tuple, typing.Union):
        return next(kind for one in typing.get_args(hint) if (kind := inner_of(one)) is not None)
    return hint if dataclasses.is_dataclass(hint) else None


def default_of(config: Any, key: str) -> Any:
    """Default of a dotted key in a tree of dataclasses; KeyError where there is no such key."""
    first, *rest = key.replace("[]", "").split(".")
    hint, default = fields_of(config)[first]
    for name in rest:
        hint, default = fields_of(inner_of(hint))[name]
    return NEEDED if default is dataclasses.MISSING else default


def nothing(value: Any) -> Any:
    return None if value in ((), []) else value


def other_defaults() -> set[tuple[str, str]]:
    """Command and key of the rows of docs/dolma-keys.md that name another default."""
    text = (ROOT / "docs/dolma-keys.md").read_text(encoding="utf-8").partition("Other defaults.")[2]
    return set(re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", text, re.MULTILINE))


KEYS = [(command, key, default) for command, keys in DOLMA.items() for key, default in keys.items()]


@pytest.mark.parametrize(("command", "key", "default"), KEYS, ids=[f"{command} {key}" for command, key, _ in KEYS])
def test_a_key_is_there_with_dolmas_default_or_one_that_is_documented(command, key, default):
    if key in WITHOUT_EFFECT[command]:
        return
    same = nothing(default_of(CONFIGS[command], RENAMED.get(key, key))) == nothing(default)
    assert same != ((command, key) in other_defaults())


def test_the_closed_lists_name_keys_of_dolma_alone():
    dolma = {(command, key) for command, key, _ in KEYS}
    without = {(command, key) for command, keys in WITHOUT_EFFECT.items() for key in keys}
    assert without <= dolma
    assert other_defaults() <= dolma


def test_the_document_lists_every_key_without_effect():
    text = (ROOT / "docs/dolma-keys.md").read_text(encoding="utf-8").partition("Other defaults.")[0]
    listed: set[tuple[str, str]] = set()
    for commands, keys in re.findall(r"^\| ([^|]+) \| ([^|]+) \|", text, re.MULTILINE):
        names = set(DOLMA) if commands == "all" else set(re.findall(r"`(\w+)`", commands))
        excepted = set(re.findall(r"except for `(\w+)`", keys))
        for key in re.findall(r"`([\w.]+)`", keys):
            if key not in DOLMA:
                listed |= {(name, key) for name in names - (excepted if key == "work_dir.output" else set())}
    assert listed == {(command, key) for command, keys in WITHOUT_EFFECT.items() for key in keys}


def test_every_setting_is_read_outside_of_the_settings():
    sources = [path for path in SOURCES.rglob("*.py") if path.parent.name != "config"]
    read = set(re.findall(r"\.(\w+)", "\n".join(path.read_text(encoding="utf-8") for path in sources)))
    keys = {(command, RENAMED.get(key, key).split(".")[-1].replace("[]", "")) for command, key, _ in KEYS}
    ignored = {(command, key.split(".")[-1]) for command, keys in WITHOUT_EFFECT.items() for key in keys}
    assert {name for _, name in keys - ignored} - read == {"text_field_type"}  # which is str, and no other is taken


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in settings.items():
        *above, last = key.split(".")
        inner = tree
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return tree


def options(settings: dict[str, Any]) -> list[str]:
    """Options as Dolma spells them: ``--a.b_c value``, ``--a.b_c`` and ``--no-a.b_c``."""
    line: list[str] = []
    for key, value in settings.items():
        if isinstance(value, bool):
            line.append(f"--{key}" if value else f"--no-{key}")
        else:
            line += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    return line


def assert_taken(command: str, settings: dict[str, Any], plan: dict[str, Any], notes: str) -> None:
    for key, value in settings.items():
        if key in WITHOUT_EFFECT[command]:
            assert re.search(rf"\b{re.escape(key)}\b", notes), key
            continue
        found: Any = plan
        for part in key.split("."):
            found = found[part]
        assert found == value, key


RUNS = [(command, settings) for command, several in SET.items() for settings in several]


@pytest.mark.parametrize("place", ["yaml", "json", "options", "both"])
@pytest.mark.parametrize(("command", "settings"), RUNS, ids=[f"{command} {len(keys)}" for command, keys in RUNS])
def test_keys_are_taken_in_a_file_and_as_options(dolma, command, settings, place, tmp_path, capsys, caplog):
    (tmp_path / "taggers.py").write_text("")
    settings = {
        key: [str(tmp_path / "taggers.py")] if key == "tagger_modules" else value for key, value in settings.items()
    }
    streams = {"streams": [STREAM]} if command == "mix" else {}
    write = yaml.safe_dump if place == "yaml" else json.dumps
    overridden = {key: value for key, value in settings.items() if not isinstance(value, bool)} | {"processes": 9}
    written = {"yaml": settings, "json": settings, "options": {}, "both": overridden}[place]
    (tmp_path / "config").write_text(write(nested(written) | streams))
    line = options(settings) if place in ("options", "both") else []
    with caplog.at_level(logging.WARNING):
        assert dolma("-c", tmp_path / "config", command, *line, "--dryrun") == 0, capsys.readouterr().err
    plan = yaml.safe_load(capsys.readouterr().out)
    assert_taken(command, settings, plan, caplog.text)
    if command == "mix":
        assert plan["streams"] == [STREAM]


def test_every_key_is_set_by_some_run():
    covered = {(command, key) for command, settings in RUNS for key in settings}
    keys = {(command, key) for command, key, _ in KEYS if key != "dryrun" and not key.startswith("streams")}
    assert keys - covered == {
        ("dedupe", "dedupe.documents"),
        ("dedupe", "dedupe.paragraphs"),
        ("dedupe", "dedupe.paragraphs.by_ngram"),
        ("dedupe", "bloom_filter"),
        ("tokens", "tokenizer"),
    }  # mappings, whose keys are set
    stream = {key for _, key, _ in KEYS if key.startswith("streams[].")}
    flat = {"streams[]." + key for key in flattened(STREAM)}
    assert stream - flat == {"streams[].filter", "streams[].span_replacement"}


def flattened(settings: dict[str, Any]) -> set[str]:
    found = set()
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= {f"{key}.{inner}" for inner in flattened(value)}
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            found |= {f"{key}[].{inner}" for inner in flattened(value[0])}
        else:
            found.add(key)
    return found


NULLS: dict[str, dict[str, Any]] = {
    "tag": {"destination": None, "experiment": None, "profile.output": None, "profile.steps": None}
    | {"documents": ["a"], "taggers": ["gopher_v2"]},
    "dedupe": {"dedupe.name": None, "dedupe.documents": None, "dedupe.paragraphs.by_ngram": None}
    | {"dedupe.paragraphs.paragraph_separator": None, "dedupe.skip_empty": None, "dedupe.num_partitions": None}
    | {"dedupe.partition_index": None, "dedupe.file_partition": None, "compression.input": None}
    | {"documents": ["a"], "dedupe.paragraphs.attribute_name": "p"},
    "tokens": {"tokenizer": None, "files_per_process": None, "fields.id_field_name": None}
    | {"documents": ["a"], "destination": "t", "tokenizer_name_or_path": "/nowhere/tokenizer.json"},
    "stat": {"report": None, "regex": None, "attributes": ["a"]},
}


@pytest.mark.parametrize("command", NULLS)
def test_null_stands_for_what_is_not_set(dolma, command, tmp_path, capsys):
    settings = NULLS[command] | {"work_dir.input": None, "work_dir.output": None}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(nested(settings)))
    assert dolma("-c", tmp_path / "config.yaml", command, "--dryrun") == 0, capsys.readouterr().err
    plan = yaml.safe_load(capsys.readouterr().out)
    for key in [key for key, value in NULLS[command].items() if value is None and key not in WITHOUT_EFFECT[command]]:
        found: Any = plan
        for part in key.split("."):
            found = found[part]
        expected = None if key == "fields.id_field_name" else nothing(DOLMA[command][key])
        assert nothing(found) == expected, key


def test_null_in_a_stream_stands_for_what_is_not_set(dolma, tmp_path, capsys):
    stream = {"name": "s", "documents": ["a"], "compression": {"input": None, "output": None}, "filter": None}
    replacement = {"span": "$.attributes.k", "min_score": 0.5, "max_score": None}
    stream |= {"output": {"path": "o", "min_text_length": None}, "span_replacement": [replacement]}
    (tmp_path / "config.json").write_text(json.dumps({"streams": [stream]}))
    assert dolma("-c", tmp_path / "config.json", "mix", "--dryrun") == 0, capsys.readouterr().err


@pytest.mark.parametrize("place", ["file", "option"])
def test_list_takes_its_key(dolma, place, tmp_path, capsys):
    module = tmp_path / f"taggers_of_{place}.py"
    module.write_text(
        "from dolma_data.batch import whole_documents\n"
        "from dolma_data.taggers import tagger\n\n\n"
        f"@tagger('own_rule_of_{place}', types=('one',), source='a test')\n"
        "def own(batch):\n    yield whole_documents(batch, 'one', [1.0] * len(batch))\n"
    )
    (tmp_path / "list.yaml").write_text(yaml.safe_dump({"tagger_modules": [str(module)]}))
    line = ["-c", tmp_path / "list.yaml", "list"] if place == "file" else ["list", "--tagger_modules", module]
    assert dolma(*line) == 0
    assert f"own_rule_of_{place}" in capsys.readouterr().out


def test_the_commands_of_dolma_are_there():
    assert {*DOLMA, "list"} <= set(app)


@pytest.mark.parametrize("command", DOLMA)
def test_a_key_that_nobody_knows_is_refused(dolma, command, tmp_path, capsys):
    settings = nested({key: value for key, value in SET[command][0].items() if key != "tagger_modules"})
    settings |= {"streams": [STREAM]} if command == "mix" else {}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings | {"proceses": 1}))
    assert dolma("-c", tmp_path / "config.yaml", command, "--dryrun") == 2
    assert "proceses" in capsys.readouterr().err
