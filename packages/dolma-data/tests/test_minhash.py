from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.config.dedupe import MinHashRule
from dolma_data.dedupe.minhash import curve, found_share, permutations
from dolma_data.files import digest
from dolma_data.kernels.minhash import band_keys, find_roots, folded_characters, jaccard, join, shingle, sign

SENTENCE = "the quick brown fox jumps over a lazy dog while seven wizards watch from their crooked towers in silence"
METHOD = ("--dedupe.method", "minhash", "--dedupe.documents.attribute_name", "near")


def shingles(text: str, length: int, of_words: bool = True) -> list[int]:
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    ends = np.array([len(data)])
    hashes, edges = shingle(data, np.array([0]), ends, folded_characters(), length, of_words)
    assert edges.tolist() == [0, len(hashes)]
    return list(hashes.tolist())


def test_shingles_are_words_without_case_and_punctuation() -> None:
    assert shingles("One, two THREE four.", 2) == shingles("  one two\nthree (Four)", 2)
    assert len(shingles("one two three four", 2)) == 3
    assert shingles("one two three", 2)[1] == shingles("two three four", 2)[0]
    assert len(set(shingles("ab c a bc", 2))) == 3
    assert len(shingles("日本語です", 1)) == 5  # a script without spaces: every character is a word
    assert shingles("only two", 5) == shingles("Only two!", 5)
    assert len(shingles("only two", 5)) == 1
    assert shingles("only", 5) != shingles("two", 5)
    assert shingles("... !", 5) == []


def test_shingles_of_characters_keep_one_space() -> None:
    assert shingles("A b,  c", 3, of_words=False) == shingles("a b c", 3, of_words=False)
    assert len(shingles("a b c", 3, of_words=False)) == 3
    assert shingles("Straße", 3, of_words=False)[0] == shingles("str", 3, of_words=False)[0]


def test_pairs_are_found_as_often_as_theory_says() -> None:
    rule = MinHashRule(bands=14, rows=8, seed=3)
    factors, terms = permutations(rule)
    random = np.random.default_rng(7)
    pairs, size = 20_000, 40
    for common in (30, 34, 37):  # of 40 shingles each
        sets = random.integers(0, 1 << 64, (pairs, 2 * size - common), dtype=np.uint64)
        edges = np.arange(pairs + 1) * size
        one = sign(np.ascontiguousarray(sets[:, :size]).reshape(-1), edges, factors, terms)
        two = sign(np.ascontiguousarray(sets[:, -size:]).reshape(-1), edges, factors, terms)
        similarity = common / (2 * size - common)
        agree = band_keys(one, rule.bands, rule.rows) == band_keys(two, rule.bands, rule.rows)
        found = float(agree.any(axis=0).mean())
        assert found == pytest.approx(found_share(similarity, rule.bands, rule.rows), abs=0.01)
        assert float((one == two).mean()) == pytest.approx(similarity, abs=0.002)


def test_planted_near_duplicates_are_found_as_often_as_theory_says(
    write_documents: Any, read_jsonl: Any, dolma: Any
) -> None:
    # 1,500 pairs of texts of 60 different words of which the last 8 differ: 52 / 68 of the shingles of one word
    rows = []
    for pair in range(1_500):
        for copy in "ab":
            words = [f"w{pair}x{k}" for k in range(52)] + [f"w{pair}{copy}{k}" for k in range(8)]
            rows.append({"id": f"{pair}{copy}", "text": " ".join(words), "source": "s"})
    root = write_documents(rows)
    settings = ("--dedupe.minhash.shingle-length", "1", "--dedupe.minhash.bands", "20", "--dedupe.minhash.rows", "5")
    assert dolma("dedupe", "--documents", root, *METHOD, *settings) == 0
    found = read_jsonl(root / "attributes/near/a.jsonl.gz")
    marked = [row for row in found if row["attributes"]]
    assert all(row["id"].endswith("b") for row in marked)
    assert len(marked) / 1_500 == pytest.approx(found_share(52 / 68, 20, 5), abs=0.01)
    scores = [row["attributes"]["near"][0][2] for row in marked]
    assert float(np.mean(scores)) == pytest.approx(52 / 68, abs=0.01)
    matches = read_jsonl(root / "attributes/near/matches.jsonl.gz")
    assert all(row["first_id"] == row["id"].replace("b", "a") for row in matches)


def documents() -> list[dict[str, Any]]:
    long = " ".join([SENTENCE] * 4)
    return [
        {"id": "1", "text": long, "source": "s"},
        {"id": "2", "text": "nothing like it at all, not even a word of five in common", "source": "s"},
        {"id": "3", "text": long.upper() + "!", "source": "s"},
        {"id": "4", "text": long + " and more", "source": "s"},
        {"id": "5", "text": "...", "source": "s"},
        {"id": "6", "text": "...", "source": "s"},
    ]


def test_verified_scores_are_exact_and_texts_without_words_are_no_duplicates(
    write_documents: Any, read_jsonl: Any, dolma: Any
) -> None:
    root = write_documents(documents())
    assert dolma("dedupe", "--documents", root, *METHOD, "--dedupe.minhash.verify") == 0
    found = [row["attributes"] for row in read_jsonl(root / "attributes/near/a.jsonl.gz")]
    length = len(documents()[0]["text"])
    # 19 different shingles of five words, and two more in the longer text
    assert found == [{}, {}, {"near": [[0, length + 1, 1.0]]}, {"near": [[0, length + 9, 19 / 21]]}, {}, {}]


def test_pairs_below_the_least_similarity_are_left_alone(write_documents: Any, read_jsonl: Any, dolma: Any) -> None:
    root = write_documents(documents())
    options = ("--dedupe.minhash.verify", "--dedupe.minhash.min-similarity", "0.91")
    assert dolma("dedupe", "--documents", root, *METHOD, *options) == 0
    found = [row["attributes"] for row in read_jsonl(root / "attributes/near/a.jsonl.gz")]
    assert [bool(row) for row in found] == [False, False, True, False, False, False]


def test_any_number_of_processes_gives_the_same_bytes(
    write_documents: Any, dolma: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dolma_data.annotate.CHUNK_BYTES", 400)
    root = write_documents([row | {"id": f"{turn}-{row['id']}"} for turn in range(3) for row in documents()])
    digests = set()
    # bands as a whole, then in as many parts as there are documents
    for memory, processes in ((1 << 29, "1"), (100, "1"), (100, "2"), (100, "3")):
        monkeypatch.setattr("dolma_data.dedupe.clusters.MEMORY", memory)
        assert dolma("dedupe", "--documents", root, *METHOD, "--processes", processes) == 0
        digests.add(digest(root / "attributes/near"))
    assert len(digests) == 1


def test_the_seed_decides_the_signature() -> None:
    hashes = np.array(shingles("a b c d e f g", 5), dtype=np.uint64)
    edges = np.array([0, len(hashes)])
    one, again, other = (sign(hashes, edges, *permutations(MinHashRule(seed=seed))) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_clusters_are_connected_components_named_by_their_first(pairs: list[tuple[int, int]]) -> None:
    roots = np.arange(20)
    members, others = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    join(roots, np.ascontiguousarray(members), np.ascontiguousarray(others))
    find_roots(roots)
    expected = list(range(20))
    for _ in range(20):
        for one, two in pairs:
            expected[one] = expected[two] = min(expected[one], expected[two])
    assert roots.tolist() == expected


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_similarity_of_sets(one: set[int], two: set[int]) -> None:
    hashes = np.array(sorted(one) + sorted(two), dtype=np.uint64)
    edges = np.array([0, len(one), len(one) + len(two)])
    (found,) = jaccard(hashes, edges, np.array([0]), np.array([1]))
    assert found == (len(one & two) / len(one | two) if one | two else 0.0)


def test_the_theory_curve_is_told(write_documents: Any, dolma: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert found_share(0.8, 20, 5) == pytest.approx(0.99964, abs=1e-5)  # Mining of Massive Datasets, figure 3.8
    root = write_documents(documents())
    assert dolma("dedupe", "--documents", root, *METHOD) == 0
    assert curve(MinHashRule()) in caplog.text
    assert "0.80: 0.9235" in caplog.text


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ((*METHOD, "--dedupe.minhash.rows", "0"), "dedupe.minhash.rows is 0"),
        ((*METHOD, "--dedupe.minhash.min-similarity", "1.5"), "min_similarity is 1.5"),
        ((*METHOD, "--compat", "dolma"), "allenai/dolma has no method minhash"),
        ((*METHOD, "--dedupe.num-partitions", "2"), "has no partitions of units"),
        (("--dedupe.documents.attribute_name", "d", "--dedupe.minhash.rows", "4"), "give --dedupe.method minhash"),
        (("--dedupe.method", "minhash", "--dedupe.paragraphs.attribute_name", "d"), "is about documents"),
    ],
)
def test_mistakes_are_told(
    write_documents: Any, dolma: Any, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], what: str
) -> None:
    root = write_documents(documents())
    assert dolma("dedupe", "--documents", root, *options) == 2
    assert what in capsys.readouterr().err
    assert not list(Path(root).rglob("manifest.json"))
