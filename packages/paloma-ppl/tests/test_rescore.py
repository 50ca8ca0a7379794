import json
import math
from pathlib import Path

import pytest

from paloma_ppl.cli import app
from paloma_ppl.command_line import run
from paloma_ppl.config import RescoreConfig
from paloma_ppl.errors import UserError
from paloma_ppl.metrics import DocumentScore
from paloma_ppl.rescore import natural_mix, read_weights, rescore
from paloma_ppl.results import Description, write_results

SCORES = [
    DocumentScore("1", "s", "a", 10, 40, 20, 5, -10 * math.log(8)),
    DocumentScore("2", "s", "a", 10, 40, 20, 5, -10 * math.log(8)),
    DocumentScore("3", "s", "b", 30, 60, 60, 10, -30 * math.log(2)),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    values = {"model": None, "suite": "s", "suite_digest": "sha256:" + "1" * 64, "split": "test", "format": "paloma"}
    more = {"maximum_length": 8, "tokenizer_digest": None, "dtype": "float32", "limit": None, "vocab_size": 9}
    write_results(tmp_path / "P", Description(method="unigram", **values, **more), SCORES, None, 0.95)  # type: ignore[arg-type]
    return tmp_path / "P"


def test_results_are_formed_anew_from_the_documents(folder: Path) -> None:
    before = (folder / "results.json").read_bytes()
    (folder / "results.json").unlink()
    results = rescore(RescoreConfig(results=folder))
    assert (folder / "results.json").read_bytes() == before
    a, b = results["domains"]
    assert (a["perplexity"], b["perplexity"]) == (pytest.approx(8), pytest.approx(2))
    assert (a["bits_per_byte"], a["bits_per_character"], a["bits_per_word"]) == pytest.approx((0.75, 1.5, 6))
    macro = results["aggregates"][1]
    assert macro["bits_per_word"] == pytest.approx((6 + 3) / 2)
    assert results["aggregates"][0]["bits_per_word"] == pytest.approx(90 / 20)


def test_the_level_of_the_intervals_is_kept_and_a_change_of_it_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["rescore", "--results", str(folder)]) == 0
    assert caplog.messages == []
    assert run(app, ["rescore", "--results", str(folder), "--confidence", "0.995"]) == 0
    assert json.loads((folder / "results.json").read_text())["confidence"] == 0.995
    assert "99.5% interval" in capsys.readouterr().out
    assert caplog.messages == [f"{folder / 'results.json'}: intervals were at level 0.95 and are now at 0.995"]


def test_natural_mix_weighs_domains_by_their_share(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = folder.parent / "weights.json"
    weights.write_text(json.dumps({"s": {"a": 1, "b": 3}}))
    found = natural_mix(SCORES, read_weights(weights), weights)
    assert found["perplexity"] == pytest.approx(8**0.25 * 2**0.75)
    assert found["bits_per_byte"] == pytest.approx(0.25 * 0.75 + 0.75 * 0.5)
    assert run(app, ["rescore", "--results", str(folder), "--weights", str(weights)]) == 0
    assert "natural mix: perplexity 2.83, 0.5625 bits per byte" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["[]", "{}", '{"s": 3}', '{"s": {"a": -1}}', '{"s": {"a": "1"}}'])
def test_what_are_no_shares_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "w.json").write_text(content)
    with pytest.raises(UserError, match="no shares"):
        read_weights(tmp_path / "w.json")


def test_a_domain_that_the_results_lack_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="no domain 'c'"):
        natural_mix(SCORES, {"s": {"c": 1.0}}, folder)
