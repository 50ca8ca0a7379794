"""Every recipe of the package on real text, against the figures that are checked in beside this file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dolma_data.recipe.recipe import recipe_names

EXPECTED = Path(__file__).parent / "expected" / "recipes.json"
TEXTS = ("technical/eips.jsonl.gz", "multilingual/xquad.jsonl.gz", "speeches/presidential.jsonl.gz")
pytestmark = pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set")


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dolma_data.config.extract import ExtractConfig
    from dolma_data.extract.extraction import extract

    folder = tmp_path_factory.mktemp("recipes") / "raw"
    corpora = Path(os.environ["DATA_DIR"]) / "corpora"
    extract([str(corpora / text) for text in TEXTS], ExtractConfig(output=folder))
    return folder


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_gives_the_expected_figures(dolma: Any, documents: Path, tmp_path: Path, name: str) -> None:
    assert dolma("run", name, "--documents", documents, "--output", tmp_path / "out") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {"steps": summary["steps"], "funnels": summary["funnels"]} == json.loads(EXPECTED.read_text())[name]
