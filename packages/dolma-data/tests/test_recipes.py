"""Every recipe of the package on real text, against the figures that are checked in beside this file.

`python packages/dolma-data/tests/test_recipes.py` writes the figures anew, to be read before they are checked in.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

from dolma_data.config.extract import ExtractConfig
from dolma_data.extract.extraction import extract
from dolma_data.recipe.recipe import recipe_names

EXPECTED = Path(__file__).parent / "expected" / "recipes.json"
NOVELS = ("de", "en", "es", "fr", "pt")
# Everything in corpora/: a name, what is read, and settings of its extraction.
CORPORA: tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...] = (
    ("rows", ("technical/*.jsonl.gz", "speeches/*.jsonl.gz", "multilingual/*.jsonl.gz"), {}),
    ("forum", ("forum/*.jsonl.gz",), {"repeated_ids": "number"}),
    ("math", ("math/*.jsonl.gz",), {"text_field": "question"}),
    ("code", ("code/*.jsonl.gz",), {"text_field": "canonical_solution", "source": "code"}),
    *((f"novels-{language}", (f"eltec-novels/{language}/*",), {"source": f"novels-{language}"}) for language in NOVELS),
    ("shakespeare", ("tinyshakespeare/*.gz",), {"source": "shakespeare"}),
    ("wikitext", ("wikitext-2/*.gz",), {"source": "wikitext"}),
    ("pages", ("web/html-cc/*.gz",), {"source": "html-cc"}),
    ("archives", ("web/warc",), {"source": "warc", "repeated_ids": "number", "max_failed": 7}),
)
FEW = (  # the corpora that the quick test takes
    ("rows", ("technical/eips.jsonl.gz", "speeches/*.jsonl.gz", "multilingual/xquad.jsonl.gz"), {}),
)
pytestmark = pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set")


def extract_corpora(corpora: tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...], folder: Path) -> list[Path]:
    """Extract each corpus into a folder of its own below ``folder``."""
    root = Path(os.environ["DATA_DIR"]) / "corpora"
    for name, patterns, settings in corpora:
        paths = [str(path) for pattern in patterns for path in sorted(root.glob(pattern))]
        extract(paths, ExtractConfig(output=folder / name, **settings))
    return [folder / name for name, *_ in corpora]


def figures(name: str, documents: list[Path], output: Path) -> dict[str, Any]:
    """Run a recipe; its counts by step, by rule (dropped, matched) and by source (read, kept; bytes read, kept)."""
    from dolma_data.cli import app, execute

    arguments = ["run", name, "--documents", *map(str, documents), "--output", str(output)]
    assert execute(arguments) == 0
    app.config = ()
    summary = json.loads((output / "summary.json").read_text())
    return {
        "left_out": sorted(summary["left_out"]),
        "steps": {step["step"]: step["counts"] for step in summary["steps"]},
        "funnels": {step: _condensed(funnel) for step, funnel in summary["funnels"].items()},
    }


def _condensed(funnel: dict[str, Any]) -> dict[str, Any]:
    read, kept, text = funnel["read"], funnel["kept"], funnel["text_bytes"]
    return {
        "rules": {
            rule["rule"]: [sum(rule["dropped"].values()), sum(rule["matched"].values())] for rule in funnel["rules"]
        },
        "replaced_spans": funnel["replaced_spans"],
        "sources": {
            source: [read[source], kept.get(source, 0), text["read"][source], text["kept"].get(source, 0)]
            for source in read
        },
    }


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return extract_corpora(FEW, tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return extract_corpora(CORPORA, tmp_path_factory.mktemp("everything"))


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_gives_the_expected_figures(few: list[Path], tmp_path: Path, name: str) -> None:
    assert figures(name, few, tmp_path / "out") == json.loads(EXPECTED.read_text())["few"][name]


@pytest.mark.slow
@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_gives_the_expected_figures_on_all_corpora(everything: list[Path], tmp_path: Path, name: str) -> None:
    assert figures(name, everything, tmp_path / "out") == json.loads(EXPECTED.read_text())["everything"][name]


def write_figures() -> None:
    """Run all recipes on both sets of corpora and write what they say to the expected figures."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, corpora in (("few", FEW), ("everything", CORPORA)):
            documents = extract_corpora(corpora, Path(folder) / title)
            found[title] = {name: figures(name, documents, Path(folder) / title / name) for name in recipe_names()}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    numbers = re.compile(r"\[\s+([-\d]+(?:,\s+[-\d]+)*)\s+\]")  # lists of numbers stand on one line
    EXPECTED.write_text(numbers.sub(lambda match: f"[{' '.join(match[1].split())}]", text) + "\n")


if __name__ == "__main__":
    write_figures()
