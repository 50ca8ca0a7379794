from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma_data.config.run import RunConfig
from dolma_data.recipe.recipe import fill, find_recipe, load_recipe, recipe_names, stated_variables

ROWS = [
    {"id": "1", "source": "s", "text": "one two three four"},
    {"id": "2", "source": "s", "text": "one two"},
    {"id": "3", "source": "s", "text": "one two three four"},
]
RECIPE = {
    "name": "small",
    "variables": {"least": 3, "report": ""},
    "steps": [
        {"name": "score", "tag": {"experiment": "rules", "taggers": ["gopher_v2"]}},
        {"dedupe": {"dedupe": {"name": "exact", "documents": {"attribute_name": "exact"}}}},
        {
            "name": "filter",
            "mix": {
                "streams": [
                    {
                        "name": "kept",
                        "documents": ["${documents}"],
                        "attributes": ["rules", "exact"],
                        "output": {"path": "${output}/kept"},
                        "filter": {
                            "exclude": [
                                "$.attributes[?(@.exact && @.exact[0])]",
                                "$.attributes[?(@.rules__gopher_v2__word_count[0][2] < ${least})]",
                            ]
                        },
                    }
                ]
            },
        },
        {"when": "report", "stat": {"attributes": ["${output}/none"], "report": "${output}/${report}"}},
    ],
}
FUNNEL = {
    "read": {"s": 3},
    "kept": {"s": 1},
    "text_bytes": {"read": {"s": 43}, "kept": {"s": 18}},
    "replaced_spans": {},
    "rules": [
        {"rule": "$.attributes[?(@.exact && @.exact[0])]", "dropped": {"s": 1}, "matched": {"s": 1}},
        {
            "rule": "$.attributes[?(@.rules__gopher_v2__word_count[0][2] < 3)]",
            "dropped": {"s": 1},
            "matched": {"s": 1},
        },
    ],
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


def test_a_recipe_runs_from_documents_to_a_funnel(
    dolma: Any, write_documents: Any, tmp_path: Path, recipe: Path, capsys: Any
) -> None:
    root = write_documents(ROWS)
    assert dolma("run", recipe, "--documents", root, "--output", tmp_path / "out") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["funnels"] == {"filter": FUNNEL}
    assert [row["step"] for row in summary["steps"]] == ["score", "dedupe", "filter"]
    assert summary["steps"][2]["counts"] == {"read": 3, "kept": 1, "dropped": 2, "failed": 0}
    assert capsys.readouterr().out.splitlines()[-9:] == [
        "funnel of filter",
        "     dropped      matched  rule",
        "           3               read",
        "          -1            1  $.attributes[?(@.exact && @.exact[0])]",
        "          -1            1  $.attributes[?(@.rules__gopher_v2__word_count[0][2] < 3)]",
        "           1               kept",
        "by source",
        "        read         kept   of text",
        "           3            1     41.9%  s",
    ]


def test_what_is_done_is_skipped_and_what_has_changed_is_not(
    dolma: Any, write_documents: Any, tmp_path: Path, recipe: Path, caplog: Any
) -> None:
    caplog.set_level("INFO")
    root = write_documents(ROWS)

    def skipped(*arguments: object) -> list[str]:
        caplog.clear()
        assert dolma("run", recipe, "--documents", root, "--output", tmp_path / "out", *arguments) == 0
        return [line.split()[1].rstrip(":") for line in caplog.messages if line.endswith("skipped")]

    assert skipped() == []
    assert skipped() == ["score", "dedupe", "filter"]
    assert skipped("--processes", "2") == ["score", "dedupe", "filter"]
    assert skipped("--set.least", "1") == ["score", "dedupe"]
    (tmp_path / "out" / "kept" / "documents" / "kept-0000.jsonl.gz").write_bytes(b"damaged")
    assert skipped("--set.least", "1") == ["score", "dedupe"]
    write_documents(ROWS[:2])
    assert skipped("--set.least", "1") == []


def test_raw_files_are_extracted_first(dolma: Any, tmp_path: Path, recipe: Path) -> None:
    (tmp_path / "raw.txt").write_text("one two three four")
    assert dolma("run", recipe, "--input", tmp_path / "raw.txt", "--output", tmp_path / "out") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [row["step"] for row in summary["steps"]] == ["extract", "score", "dedupe", "filter"]
    assert summary["steps"][-1]["counts"]["kept"] == 1


def test_a_recipe_that_keeps_nothing_ends_with_the_step(
    dolma: Any, write_documents: Any, tmp_path: Path, recipe: Path, capsys: Any
) -> None:
    arguments = ("--documents", write_documents(ROWS), "--output", tmp_path / "out", "--set.least", "9")
    assert dolma("run", recipe, *arguments) == 2
    assert "step filter keeps none of its documents" in capsys.readouterr().err


def test_a_dry_run_prints_the_steps_and_writes_nothing(
    dolma: Any, write_documents: Any, tmp_path: Path, recipe: Path, capsys: Any
) -> None:
    root = write_documents(ROWS)
    assert dolma("run", recipe, "--documents", root, "--output", tmp_path / "out", "--dry-run") == 0
    plan = yaml.safe_load(capsys.readouterr().out)
    assert [step["step"] for step in plan["steps"]] == ["score", "dedupe", "filter"]
    assert plan["steps"][0]["settings"]["documents"] == [str(root)]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": [{"tag": {"taggers": ["gopher_v3"]}}]}, "step tag: there is no tagger called 'gopher_v3'"),
        ({"steps": [{"tga": {}}]}, "a step has one command"),
        ({"steps": [{"tag": {"tagers": []}}]}, "tagers"),
        ({"steps": [{"tokens": {"tokenizer": 5}}]}, "tokenizer is 5, not a mapping"),
        ({"steps": [{"when": "nothing", "tag": {}}]}, "unknown variable 'nothing'"),
        ({"steps": [{"tag": {"taggers": ["${nothing}"]}}]}, "unknown variable ${nothing}"),
        ({"steps": [{"tag": {"taggers": ["gopher_v2"]}}] * 2}, "two steps are called 'tag'"),
        ({"stages": []}, "unknown key 'stages'"),
        ({"optional": {"nothing": "x"}}, "unknown variable 'nothing' in optional"),
    ],
)
def test_mistakes_in_a_recipe_are_one_line(
    dolma: Any, write_documents: Any, tmp_path: Path, capsys: Any, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(RECIPE | change))
    root = write_documents(ROWS)
    assert dolma("run", path, "--documents", root, "--output", tmp_path / "out") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set.lest", "1", "--documents", "x"), "did you mean least?"),
        ((), "give one of --documents and --input"),
        (("--documents", "x", "--input", "y"), "give one of --documents and --input"),
    ],
)
def test_mistakes_on_the_line(
    dolma: Any, tmp_path: Path, recipe: Path, capsys: Any, arguments: tuple[str, ...], message: str
) -> None:
    assert dolma("run", recipe, "--output", tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_recipe_names_the_nearest(dolma: Any, tmp_path: Path, capsys: Any) -> None:
    assert dolma("run", "gopher-lik", "--documents", "x", "--output", tmp_path / "out") == 2
    assert "did you mean gopher-like?" in capsys.readouterr().err


def test_variables_keep_their_type() -> None:
    variables = {"n": 3, "many": ["a", "b"], "word": "x"}
    value = {"a": "${n}", "b": ["${many}", "c"], "c": "${word}-${n}", "d": "${many}"}
    assert fill(value, variables, "here") == {"a": 3, "b": ["a", "b", "c"], "c": "x-3", "d": ["a", "b"]}


def test_conditional_settings_and_entries_are_there_only_with_their_variable() -> None:
    value = {"a": {"when": "given", "use": [1]}, "b": ["x", {"when": ["given", "not other"], "use": ["y", "z"]}]}
    assert fill(value, {"given": "1", "other": ""}, "here") == {"a": [1], "b": ["x", "y", "z"]}
    assert fill(value, {"given": "1", "other": 2}, "here") == {"a": [1], "b": ["x"]}
    assert fill(value, {"given": "", "other": ""}, "here") == {"b": ["x"]}


def test_what_a_recipe_leaves_out_is_said_before_the_first_step_and_in_the_summary(
    dolma: Any, write_documents: Any, tmp_path: Path, capsys: Any, caplog: Any
) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(RECIPE | {"optional": {"report": "histograms of nothing"}}))
    root = write_documents(ROWS)
    assert dolma("run", path, "--documents", root, "--output", tmp_path / "out") == 0
    assert caplog.messages[0] == "left out: histograms of nothing; give it with --set.report"
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["left_out"] == {"report": "histograms of nothing"}
    assert capsys.readouterr().out.splitlines()[-1] == "left out: histograms of nothing (--set.report)"


def test_raw_files_may_have_repeated_ids_and_failures_where_it_is_allowed(
    dolma: Any, tmp_path: Path, recipe: Path, capsys: Any
) -> None:
    rows = ['{"id": "1", "text": "one two three"}', "broken", '{"id": "1", "text": "four five six"}']
    (tmp_path / "raw.jsonl").write_text("\n".join(rows))
    arguments = ("run", recipe, "--input", tmp_path / "raw.jsonl", "--output", tmp_path / "out")
    assert dolma(*arguments) == 2
    assert "step extract: two documents of source 'raw' have the id '1'" in capsys.readouterr().err
    assert dolma(*arguments, "--repeated-ids", "number") == 2
    assert "1 records failed, 0 are allowed" in capsys.readouterr().err
    assert dolma(*arguments, "--repeated-ids", "number", "--max-failed", 1) == 0


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_package_can_be_read(name: str, tmp_path: Path) -> None:
    config = RunConfig(output=tmp_path, documents=("x",))
    recipe = load_recipe(find_recipe(name), config, stated_variables(name, config))
    assert recipe.name == name
    assert "arXiv" in recipe.description
    assert recipe.steps


def test_a_classifier_that_is_not_there_is_told_before_the_first_step(
    dolma: Any, write_documents: Any, tmp_path: Path, capsys: Any
) -> None:
    root = write_documents(ROWS)
    options = ("--documents", root, "--output", tmp_path / "out", "--set.quality_model", tmp_path / "none.bin")
    assert dolma("run", "dclm-like", *options) == 2
    assert "step quality: resources.dclm-oh-eli5: no such file" in capsys.readouterr().err
    assert not (root / "attributes").exists()


def test_a_classifier_of_ones_own_takes_the_place_of_the_published_one(
    dolma: Any, write_documents: Any, tmp_path: Path
) -> None:
    good = (
        "The committee of the house has to report that its members will be with us. They have asked for more time, "
        "since several witnesses could not travel before the end of winter, and a second hearing was held in April."
    )
    poor = (
        "lol that thing is to be with ur fone now. u have the gr8 time of it and be quick plz, my friend, or else. "
        "call me later when ya got home, i wanna see some funny pics again, then we go eat pizza somewhere nice ok?"
    )
    labelled = [{"text": good + str(n), "label": "hq"} for n in range(40)]
    labelled += [{"text": poor + str(n), "label": "cc"} for n in range(40)]
    (tmp_path / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled))
    assert dolma("train-classifier", "--documents", tmp_path / "labelled.jsonl", "--output", tmp_path / "quality") == 0
    texts = [poor.replace("lol", "rofl"), good.replace("committee", "council")]
    root = write_documents([{"id": str(n), "source": "s", "text": text} for n, text in enumerate(texts)])
    settings = ("--set.quality_model", tmp_path / "quality", "--set.minimum_words", 5, "--set.minimum_quality", 0.5)
    assert dolma("run", "dclm-like", "--documents", root, "--output", tmp_path / "out", *settings) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert list(summary["left_out"]) == ["url_list"]
    assert summary["funnels"]["filter"]["kept"] == {"s": 2}
    (kept,) = (json.loads(line) for line in gzip.open(tmp_path / "out/best/documents/dclm-0000.jsonl.gz"))
    assert kept["text"] == texts[1]


@pytest.mark.parametrize("wrong", ["steps: 5", "steps: []\nvariables: [a]", "steps: []\noptional: 5"])
def test_keys_of_a_recipe_have_types(dolma, tmp_path, capsys, wrong):
    (tmp_path / "recipe.yaml").write_text(f"name: a\n{wrong}\n")
    line = ("run", tmp_path / "recipe.yaml", "--documents", tmp_path, "--output", tmp_path / "out")
    assert dolma(*line) == 2
    assert f"{wrong.rpartition(chr(10))[2].partition(':')[0]} is " in capsys.readouterr().err
