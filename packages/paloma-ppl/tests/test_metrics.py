import math
from dataclasses import replace

import pytest

from paloma_ppl.metrics import MEASURES, DocumentScore, document_score, perplexity, summarize
from paloma_ppl.suite import SuiteDocument


def score(domain: str, tokens: int, size: int, log_probability: float, number: int = 0) -> DocumentScore:
    return DocumentScore(f"{domain}-{number}", "s", domain, tokens, size, size, 1, log_probability)


def test_sizes_of_a_document() -> None:
    row = document_score(SuiteDocument("1", "zwölf Äpfel", "s", "d"), 4, -3.5).row()
    assert row == {"id": "1", "source": "s", "domain": "d", "tokens": 4, "bytes": 13, "characters": 11, "words": 2,
                   "log_probability": -3.5}  # fmt: skip


def test_micro_is_over_tokens_and_macro_over_domains() -> None:
    ln2 = math.log(2)
    results = summarize(
        [score("a", 2, 8, -2 * ln2), score("a", 6, 24, -14 * ln2, 1), score("b", 2, 4, -10 * ln2)], 0.95
    )
    assert [(row["domain"], row["perplexity"], row["bits_per_byte"]) for row in results["domains"]] == [
        ("a", pytest.approx(4), pytest.approx(0.5)),
        ("b", pytest.approx(32), pytest.approx(2.5)),
    ]
    micro, macro = results["aggregates"]
    assert (micro["name"], micro["documents"], micro["tokens"], micro["bytes"]) == ("micro", 3, 10, 36)
    assert micro["perplexity"] == pytest.approx(2 ** (26 / 10))
    assert micro["bits_per_byte"] == pytest.approx(26 / 36)
    assert macro["perplexity"] == pytest.approx(18)
    assert macro["bits_per_byte"] == pytest.approx(1.5)
    assert {key: results["sources"][0][key] for key in micro if key != "name"} == {
        key: value for key, value in micro.items() if key != "name"
    }
    assert macro["interval"].startswith("none")


def test_interval_lies_around_the_value_at_every_level() -> None:
    scores = [score("ab"[n % 2], 5, 50 + n, -30.0 - n % 7, n) for n in range(40)]
    results = summarize(scores, 0.95)
    rows = results["domains"] + results["sources"] + results["aggregates"]
    assert len(rows) == 5
    for row in rows:
        for name in MEASURES:
            if (name, row.get("name")) == ("perplexity", "macro"):
                assert (row["perplexity_low"], row["perplexity_high"]) == (None, None)
            else:
                assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
        assert row["interval"].startswith("studentised bootstrap over documents, 2000 resamples")


def test_perplexity_is_two_to_the_bits_per_byte_where_tokens_are_bytes_and_so_are_its_ends() -> None:
    scores = [DocumentScore(str(n), "s", "ab"[n % 2], n, n, n, n, -(20.0 + n % 7) * (2 + n % 2)) for n in range(20, 60)]
    results = summarize(scores, 0.95)
    for row in results["domains"] + results["sources"] + results["aggregates"][:1]:
        for end in ("", "_low", "_high"):
            assert row["perplexity" + end] == pytest.approx(2 ** row["bits_per_byte" + end])
            assert row["bits_per_character" + end] == row["bits_per_word" + end] == row["bits_per_byte" + end]


def test_what_has_no_value_has_no_interval() -> None:
    without = [replace(score("a", 5, 50 + n, -30.0 - n % 7, n), words=int(n == 3)) for n in range(12)]
    results = summarize(without, 0.95)
    for row in results["domains"] + results["aggregates"]:  # one document holds all words
        assert row["bits_per_word"] is not None
        assert (row["bits_per_word_low"], row["bits_per_word_high"]) == (None, None)
    none = summarize([replace(one, words=0) for one in without], 0.95)
    hopeless = summarize([replace(one, log_probability=-5000.0 - n) for n, one in enumerate(without)], 0.95)
    for row, name in [(none["sources"][0], "bits_per_word"), *((r, "perplexity") for r in hopeless["aggregates"])]:
        assert (row[name], row[name + "_low"], row[name + "_high"]) == (None, None, None)
        assert row["bits_per_byte_low"] < row["bits_per_byte"] < row["bits_per_byte_high"]


def test_perplexity_without_tokens_is_none() -> None:
    assert perplexity(-5.0, 0) is None
    assert perplexity(-1e6, 1) is None
    assert perplexity(0.0, 3) == 1.0
