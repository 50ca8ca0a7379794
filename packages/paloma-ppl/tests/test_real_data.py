"""The road on real text and with a real tokenizer; needs DATA_DIR."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paloma_ppl.config import CheckContaminationConfig, PrepareConfig, WindowsConfig
from paloma_ppl.contamination import check_contamination
from paloma_ppl.prepare import prepare
from paloma_ppl.suite import open_suite, read_held_out
from paloma_ppl.windows import write_windows

DATA = os.environ.get("DATA_DIR")
pytestmark = pytest.mark.skipif(DATA is None, reason="DATA_DIR is not set")


@pytest.fixture(scope="module")
def peps() -> Path:
    return Path(str(DATA)) / "corpora" / "technical" / "peps.jsonl.gz"


@pytest.fixture(scope="module")
def suite(peps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "S"
    prepare(PrepareConfig(documents=peps, output=folder, domain_field="metadata.type"))
    return folder


def test_peps_by_type_have_three_domains_in_both_splits(suite: Path) -> None:
    manifest = open_suite(suite).manifest
    assert manifest is not None
    assert manifest["counts"]["read"] == 538
    for split in ("val", "test"):
        domains = manifest["sources"]["python-peps"][split]["domains"]
        assert set(domains) == {"Standards Track", "Informational", "Process"}
        assert 10 < sum(row["documents"] for row in domains.values()) < 50


def test_peps_left_in_training_share_only_lines_with_those_held_out(
    suite: Path, peps: Path, tmp_path: Path, read_rows: Callable[..., Any], write_rows: Callable[..., Any]
) -> None:
    held_out = {identity for _, identity, _ in read_held_out(open_suite(suite))}
    rows = [row for row in read_rows(peps) if row["id"] not in held_out]
    training = write_rows(tmp_path / "training.jsonl.gz", rows)
    report = check_contamination(CheckContaminationConfig(suite=suite, documents=training))
    assert report["sources"][0]["held_out_documents_found"] == 0
    assert 0 < report["documents_contaminated"] < len(rows) / 2  # copied sentences and reference lists
    assert {found["kind"] for found in report["first"]} == {"paragraph"}


def test_windows_of_the_olmo_tokenizer_give_the_text_back(
    suite: Path, tmp_path: Path, read_rows: Callable[..., Any]
) -> None:
    from tokenizers import Tokenizer

    file = Path(str(DATA)) / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json"
    config = WindowsConfig(suite=suite, tokenizer=file, max_length=256, output=tmp_path / "W", limit_documents=5)
    manifest = write_windows(config)
    assert (manifest["prefix_token_id"], manifest["vocab_size"], manifest["documents"]) == (50279, 50280, 5)
    ids: dict[str, list[int]] = {}
    for row in read_rows(tmp_path / "W" / "windows.jsonl.gz"):
        ids.setdefault(row["document"], []).extend(row["ids"][position] for position in row["scored"])
    tokenizer = Tokenizer.from_file(str(file))
    texts = {row["id"]: row["text"] for path in suite.glob("*/val/*.gz") for row in read_rows(path)}
    for document, tokens in ids.items():
        assert tokenizer.decode(tokens, skip_special_tokens=False) == texts[document]


def test_the_corpora_make_a_suite_of_eight_sources_and_sixty_domains(tmp_path: Path) -> None:
    corpora = Path(str(DATA)) / "corpora"
    tool = Path(__file__).resolve().parents[3] / "tools" / "perplexity_documents.py"
    if not tool.is_file():
        pytest.skip("the project's tools are not here")
    subprocess.run([sys.executable, str(tool), str(corpora), str(tmp_path / "documents")], check=True)
    manifest = prepare(
        PrepareConfig(
            documents=tmp_path / "documents",
            output=tmp_path / "S",
            domain_field="metadata.domain",
            group_field="metadata.group",
            fraction=0.25,
            split_small_domains=True,
            target_bytes_per_domain=20_000,
        )
    )
    assert len(manifest["sources"]) >= 8
    for split in ("val", "test"):
        domains = [name for source in manifest["sources"].values() for name in source[split]["domains"]]
        assert len(domains) >= 60
    assert manifest["rule"]["left_in_training"] == []
    counts = manifest["counts"]
    assert counts["read"] == counts["kept"] + counts["dropped"]
    assert manifest["near_duplicates"]["pairs"] >= 0
