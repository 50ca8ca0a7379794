"""Configuration files as Dolma's users have them: interpolations, spellings, keys without effect, notes."""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import os
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma_data import config
from dolma_data.dolma_settings import NAMED_BY_USERS, WITHOUT_EFFECT, prepare_arguments, prepare_line, prepare_settings
from dolma_data.errors import UserError
from dolma_data.interpolation import resolve
from dolma_data.settings_lint import lint_settings


class TestInterpolation:
    def test_values_of_the_file_and_the_environment(self, monkeypatch):
        monkeypatch.setenv("CORPUS", "cc")
        monkeypatch.delenv("NOWHERE", raising=False)
        settings = {
            "root": "/data/${oc.env:CORPUS}",
            "sizes": [10, 20],
            "stream": {
                "name": "a-${oc.env:NOWHERE,b}",
                "documents": ["${root}/documents", "${stream.name}.gz"],
                "size": "${sizes[1]}",
                "again": "${sizes.0}",
                "both": "${sizes}",
                "beside": "${.name}!",
                "above": "${..root}",
                "nested": "${oc.env:NOWHERE,${oc.env:CORPUS}}",
                "indirect": "${${stream.which}}",
                "which": "root",
                "none": "${oc.env:NOWHERE,null}",
                "quoted": "${oc.env:NOWHERE,'a, b'}",
                "price": "\\${root}",
            },
        }
        assert resolve(settings) == {
            "root": "/data/cc",
            "sizes": [10, 20],
            "stream": {
                "name": "a-b",
                "documents": ["/data/cc/documents", "a-b.gz"],
                "size": 20,
                "again": 10,
                "both": [10, 20],
                "beside": "a-b!",
                "above": "/data/cc",
                "nested": "cc",
                "indirect": "/data/cc",
                "which": "root",
                "none": None,
                "quoted": "a, b",
                "price": "${root}",
            },
        }

    def test_files_and_processors(self, tmp_path, monkeypatch):
        for name in ("b.gz", "a.gz"):
            (tmp_path / name).touch()
        monkeypatch.setattr(os, "cpu_count", lambda: 8)
        assert resolve(
            {
                "documents": f"${{d.glob:{tmp_path}/*.gz}}",
                "list": f"${{d.cache:{tmp_path}/a.gz}}",
                "processes": "${d.processes:3}",
                "all": "${d.processes:}",
                "least": "${d.processes:99}",
            }
        ) == {
            "documents": [f"{tmp_path}/a.gz", f"{tmp_path}/b.gz"],
            "list": f"{tmp_path}/a.gz",
            "processes": 5,
            "all": 8,
            "least": 1,
        }

    def test_a_remote_file_is_fetched_once(self, tmp_path, monkeypatch):
        import functools
        import http.server
        import threading

        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        (tmp_path / "served").mkdir()
        (tmp_path / "served/list.txt").write_text("a\n")
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
        monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_port}"
            found = resolve({"list": f"${{d.cache:{address}/list.txt}}"})["list"]
            with pytest.raises(UserError, match=r"cannot be fetched.*404"):
                resolve({"list": f"${{d.cache:{address}/no.txt}}"})
            server.shutdown()
        assert Path(found).read_text() == "a\n"
        assert resolve({"list": f"${{d.cache:{address}/list.txt}}"})["list"] == found

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("${oc.env:NOT_SET_ANYWHERE}", "a.b.0: the environment has no variable NOT_SET_ANYWHERE"),
            ("${d.glob:/nowhere/*.gz}", "no file matches /nowhere"),
            ("${d.cache:/nowhere/x}", "there is no file /nowhere/x"),
            ("${d.processes:some}", "no number of processors"),
            ("${d.glub:x}", "did you mean d.glob"),
            ("${a.c}", "there is no setting a.c"),
            ("${a.b[0]}", "comes back to itself"),
            ("${a.b", "does not end"),
            ("${a b}", "names no setting"),
        ],
    )
    def test_what_cannot_be_filled_in_is_refused_with_its_key(self, value, message):
        with pytest.raises(UserError) as caught:
            resolve({"a": {"b": [value]}})
        assert message in str(caught.value)


class TestInterpolationOnTheLine:
    """As in Dolma, interpolations name settings of the whole run, wherever they come from, and may stand anywhere."""

    def prepared(self, line: str, settings: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        defaults = {"processes": 1, "documents": (), "profile": {"lines": 100}}
        return prepare_line(prepare_arguments(line.split()), settings, "x.yaml", lambda _: defaults)

    def test_an_option_replaces_the_setting_that_is_named(self):
        settings = {
            "experiment": "a",
            "destination": ["out/${experiment}"],
            "profile": {"lines": "${seed}", "steps": 2},
        }
        line, left = self.prepared("tag --experiment b --profile.lines 7 --documents d", settings | {"seed": 3})
        assert line == ["tag", "--experiment", "b", "--profile.lines", "7", "--documents", "d"]
        assert left == {"destination": ["out/b"], "profile": {"steps": 2}, "seed": 3}

    def test_what_an_option_replaces_need_not_resolve(self):
        assert self.prepared("tag --experiment b", {"experiment": "${oc.env:NOT_SET_ANYWHERE}"})[1] == {}

    def test_defaults_and_lists_of_options_are_settings(self):
        settings = {"a": "${processes}", "b": "${profile.lines}", "c": "${documents}", "d": "${debug}", "e": "${skip}"}
        _, left = self.prepared("tag --documents x --debug --no-skip", settings)
        assert left == {"a": 1, "b": 100, "c": ["x"], "d": True, "e": False}

    def test_options_are_filled_in(self, monkeypatch):
        monkeypatch.setattr(os, "cpu_count", lambda: 4)
        line, _ = self.prepared(
            "tag --processes=${d.processes:1} --documents ${a} ${b}.gz", {"a": ["x", "y"], "b": "z"}
        )
        assert line == ["tag", "--processes=3", "--documents", "x", "y", "z.gz"]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("tag --seed ${d.glub:1}", "seed: no interpolation is called 'd.glub'; did you mean d.glob"),
            ("tag --seed ${there.is.none}", "seed: there is no setting there.is.none"),
            ("tag --seed ${seed}", "comes back to itself"),
            ("tag --seed ${profile}", "--seed: ${profile} is no single value"),
            ("tag --documents=${d}", "--documents: ${d} is no single value"),
        ],
    )
    def test_what_cannot_be_filled_in_is_refused_with_its_option(self, line, message):
        with pytest.raises(UserError) as caught:
            self.prepared(line, {"d": ["x", "y"]})
        assert message in str(caught.value)

    def test_options_are_linted_as_settings_are(self, caplog):
        with caplog.at_level(logging.WARNING):
            self.prepared("dedupe --dedupe.min_words 5", {})
        assert "dedupe.min_words above 0" in caplog.text


class TestCommandLine:
    @pytest.mark.parametrize(
        ("line", "prepared"),
        [
            ("--compat dolma tag --documents a", "tag --compat dolma --documents a"),
            ("--compat=dolma -c x.yaml mix", "-c x.yaml mix --compat=dolma"),
            ("dedupe --a.b_c --no-dedupe.skip_empty", "dedupe --a.b-c --dedupe.no-skip-empty"),
            ("mix --dryrun --no-shuffle", "mix --dry-run --no-shuffle"),
            ("tag --documents a_b c_d --tagger_modules m_n.py", "tag --documents a_b c_d --tagger-modules m_n.py"),
            ("mix --work_dir.input a --work_dir.output=b --processes 2", "mix --processes 2"),
            ("extract x -- --a_b", "extract x -- --a_b"),
            ("tag --resources.c4_v2 a_b --resources.x-y=c", "tag --resources.c4_v2 a_b --resources.x-y=c"),
            ("run x --set.minimum_words 20 --dry_run", "run x --set.minimum_words 20 --dry-run"),
        ],
    )  # fmt: skip
    def test_dolmas_spelling_becomes_ours(self, line, prepared):
        assert prepare_arguments(line.split()) == prepared.split()

    def test_names_below_every_open_mapping_are_the_users(self):
        open_mappings = {
            each.name
            for module in pkgutil.iter_modules(config.__path__, config.__name__ + ".")
            for kind in vars(importlib.import_module(module.name)).values()
            if isinstance(kind, type) and dataclasses.is_dataclass(kind)
            for each in dataclasses.fields(kind)
            if str(each.type).removeprefix("Annotated[").startswith("dict[")
        }
        assert open_mappings == NAMED_BY_USERS

    def test_compat_needs_a_value_and_a_command(self):
        for line in (["--compat"], ["--compat", "dolma"]):
            with pytest.raises(UserError, match="--compat"):
                prepare_arguments(line)


def test_keys_without_effect_are_taken_out_and_named_once(caplog):
    settings = {"streams": [], "work_dir": {"input": "a", "output": "b"}, "dryrun": True, "processes": 1_000}
    with caplog.at_level(logging.WARNING):
        assert prepare_settings("mix", settings) == {"streams": [], "dry_run": True, "processes": 1000}
    (record,) = caplog.records
    assert record.message.startswith("note: work_dir.input and work_dir.output have no effect here: ")
    assert all(reason for keys in WITHOUT_EFFECT.values() for reason in keys.values())


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"dedupe": {"min_words": 5}}, "find nothing"),
        ({"dedupe": {"documents": {"key": "text"}}}, "write $.text"),
        ({"dedupe": {"documents": {"key": "$.a"}, "paragraphs": {"attribute_name": "p"}}}, "passes over paragraphs"),
        ({"dedupe": {"paragraphs": {"paragraph_separator": "\n\n"}}}, "not one character"),
        ({"dedupe": {"paragraphs": {"by_ngram": {"overlap_threshold": 2}}}}, "never reached"),
        ({"dedupe": {"num_partitions": 2, "partition_index": 2}}, "no unit is looked at"),
        ({"bloom_filter": {"size_in_bytes": 100}}, "without estimated_doc_count"),
        ({"bloom_filter": {"file": __file__, "read_only": False}}, "remove it for a fresh start"),
    ],
)
def test_settings_that_do_not_do_what_they_say_are_noted(settings, note):
    (found,) = lint_settings("dedupe", settings)
    assert note in found


@pytest.mark.parametrize(
    "settings",
    [
        {"dedupe": {"documents": {"key": "$.text"}, "skip_empty": True}},
        {"bloom_filter": {"size_in_bytes": 100, "estimated_doc_count": "1e6", "file": "not-there.bin"}},
        {"bloom_filter": {"file": __file__, "read_only": True}},
        {"dedupe": None},
    ],
)
def test_sound_settings_have_no_notes(settings):
    assert lint_settings("dedupe", settings) == []


MIX = """
base: &base
  attributes: [t]
  output: &output {path: "${oc.env:MIX_OUT}", max_size_in_bytes: 1_000_000, discard_fields: [attributes]}
streams:
  - <<: *base
    name: ${names[0]}
    documents: ["${oc.env:MIX_ROOT}/documents/*"]
    output: {<<: *output, min_text_length: 1}
    filter: {include: [], exclude: ["$@.attributes[?(@.k && @.k[0][2] >= 1e-06)]"]}
    span_replacement:
      - {span: $.attributes.k, min_score: 1e-06, replacement: ''}
    compression: {input: null, output: null}
names: [first]
"""


def test_idioms_of_yaml_and_coercions(dolma, write_documents, monkeypatch, tmp_path, capsys):
    """Other keys beside the streams are refused, as in Dolma; anchors, merges, numbers in text and nulls are not."""
    write_documents([{"id": "1", "text": "x", "source": "s"}])
    monkeypatch.setenv("MIX_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("MIX_ROOT", str(tmp_path / "corpus"))
    (tmp_path / "mix.yaml").write_text(MIX)
    assert dolma("-c", tmp_path / "mix.yaml", "mix", "--dry-run") == 2
    assert "base" in capsys.readouterr().err
    settings: dict[str, Any] = yaml.safe_load(MIX)
    settings["streams"][0]["name"] = "first"
    for key in ("base", "names"):
        del settings[key]
    (tmp_path / "mix.json").write_text(json.dumps(settings))
    assert dolma("-c", tmp_path / "mix.json", "--compat", "dolma", "mix", "--dryrun", "--processes", 2) == 0
    plan = yaml.safe_load(capsys.readouterr().out)
    (stream,) = plan["streams"]
    assert stream["span_replacement"][0]["min_score"] == 1e-06
    assert stream["output"]["max_size_in_bytes"] == 1_000_000
    assert stream["compression"] == {"input": None, "output": None}
    assert (plan["compat"], plan["processes"], plan["dry_run"]) == ("dolma", 2, True)
    assert list(plan["outputs"]) == ["first-0000.json.gz"]


def test_a_dry_run_lists_what_is_missing_and_goes_on(dolma, tmp_path, capsys):
    stream = {"name": "a", "documents": ["/nowhere/documents/*.gz"], "output": {"path": "x"}, "attributes": ["t"]}
    (tmp_path / "mix.json").write_text(json.dumps({"streams": [stream | {"filter": {"include": ["$.id"]}}]}))
    assert dolma("mix", "-c", tmp_path / "mix.json", "--dry-run") == 0
    (missing,) = yaml.safe_load(capsys.readouterr().out)["missing"]
    assert "/nowhere/documents/*.gz" in missing


def test_a_dry_run_of_tag_lists_files_that_taggers_lack_but_refuses_unknown_ones(dolma, capsys):
    assert dolma("tag", "--documents", "/nowhere", "--taggers", "tokenizer_repetitions_v1", "--dry-run") == 0
    documents, resource = yaml.safe_load(capsys.readouterr().out)["missing"]
    assert "/nowhere" in documents
    assert "tokenizer_repetitions_v1 needs" in resource
    assert dolma("tag", "--documents", "s3://bucket/x", "--taggers", "gopher_v3", "--dry-run") == 2
    assert "did you mean" in capsys.readouterr().err
    assert dolma("tag", "--documents", "s3://bucket/x", "--taggers", "gopher_v2", "--dry-run") == 0
    assert yaml.safe_load(capsys.readouterr().out)["missing"] == [
        "s3://bucket/x is remote, so that a dry run does not look at it"
    ]
