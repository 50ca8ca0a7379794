"""The comparison with dolma: what differs is found, and explained by an id of the table or by none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dolma_data.taggers.registry import all_differences
from parity import dedupe_model, mix_model, path_model
from parity.attribution import attribute, check_ids, read_table
from parity.mix_cases import account_for_order
from parity.mix_model import ENDED, NO_FILE, REFUSED, Case, Input, mix
from parity_dolma import RAISES, compare, nearly_equal

ROOT = Path(__file__).resolve().parents[2]
RULE = {"paragraphs": {"attribute_name": "d"}}
LAST, SEPARATOR, WORDS = dedupe_model.LAST_SPAN, dedupe_model.SEPARATOR, dedupe_model.MIN_WORDS


def documents(*texts: str) -> list[dict]:
    return [{"id": str(k), "source": "s", "text": text, "metadata": {}} for k, text in enumerate(texts)]


def account(texts, default, dolma, compat=None, rule=RULE):
    given = documents(*texts)
    return attribute(
        list(map(str, range(len(texts)))),
        dolma,
        default,
        dolma if compat is None else compat,
        lambda ways: dedupe_model.mark(given, rule, ways),
        dedupe_model.conditions(given, rule),
    )


def spans(*found):
    return {"d": list(map(list, found))}


def test_equal_rows_are_counted():
    found = account(["a", "a"], [spans(), spans((0, 1, 1))], [spans(), spans((0, 1, 1))])
    assert (found.equal, dict(found.differing), found.unexplained) == (2, {}, [])


def test_a_row_that_the_rule_predicts_is_attributed():
    found = account(["éé", "éé"], [spans(), spans((0, 2, 1))], [spans(), spans((0, 3, 1))])
    assert (found.equal, dict(found.differing), found.unexplained) == (1, {LAST: 1}, [])


def test_a_planted_row_is_not_explained():
    found = account(["éé", "éé"], [spans(), spans((0, 2, 1))], [spans(), spans((0, 4, 1))])
    assert found.differing == {}
    assert len(found.unexplained) == 1
    assert found.unexplained[0].startswith("1: ours")
    assert found.unexplained[0].endswith("no id explains it")


def test_a_row_of_ours_that_is_not_right_is_not_explained():
    found = account(["éé", "éé"], [spans(), spans((0, 9, 1))], [spans(), spans((0, 3, 1))])
    assert len(found.unexplained) == 1
    assert "is right" in found.unexplained[0]


def test_a_row_that_differs_under_compat_is_not_explained():
    found = account(["éé", "éé"], *[[spans(), spans((0, 2, 1))]] * 2, compat=[spans(), spans((0, 3, 1))])
    assert len(found.unexplained) == 1
    assert "under compat" in found.unexplained[0]


def test_an_id_explains_only_rows_in_which_it_can_play_a_part():
    given = documents("éé", "éé")
    rows = [spans(), spans((0, 3, 1))], [spans(), spans((0, 2, 1))]
    found = attribute(
        ["0", "1"], *rows, rows[0], lambda ways: dedupe_model.mark(given, RULE, ways), {LAST: lambda k: False}
    )
    assert found.differing == {}
    assert len(found.unexplained) == 1


def test_several_ids_are_named_together_where_none_does_alone():
    rule = {"paragraphs": {"attribute_name": "d", "paragraph_separator": "--"}}
    right, theirs = [spans((4, 5, 1))], [spans((3, 5, 1))]
    found = account(["é", "ab--é"], [spans(), *right], [spans(), *theirs], rule=rule)
    assert dict(found.differing) == {f"{LAST}+{SEPARATOR}": 1}


def test_ids_that_the_table_lacks_are_refused():
    with pytest.raises(ValueError, match="no row for invented"):
        check_ids({LAST, "invented"}, read_table())


def test_an_id_with_two_rows_is_refused(tmp_path):
    (tmp_path / "table.md").write_text("| `a-b` | x |\n| `a-b` | y |\n")
    with pytest.raises(ValueError, match="a-b has two rows"):
        read_table(tmp_path / "table.md")


@pytest.mark.parametrize(
    ("ours", "theirs", "equal"),
    [
        ([(0, 5, 0.12345)], [(0, 5, 0.12346)], True),
        ([(0, 5, 0.12345)], [(0, 5, 0.12347)], False),
        ([(0, 5, 0.5)], [(0, 6, 0.5)], False),
        ([], [(0, 5, 0.00001)], True),
        ([], [(0, 5, 0.1)], False),
    ],
)
def test_scores_of_models_may_differ_in_the_last_digit(ours, theirs, equal):
    assert nearly_equal(ours, theirs) is equal


def test_a_planted_row_of_a_tagger_is_found():
    given = documents("one two", "three four")
    answers = [{"spans": {"length": [[0, 7, 7.0]]}}, {"spans": {"length": [[0, 10, 11.0]]}}]
    found = compare("char_length_v1", (), given, answers, lambda one, other: one == other)["length"]
    assert found.equal == 1
    assert len(found.unexplained) == 1


def test_a_row_of_a_tagger_is_attributed_to_its_difference():
    given = documents("one two")
    answers = [{"spans": {"length": [[0, 7, 3.0]]}}]
    found = compare("whitespace_tokenizer_v1", (), given, answers, lambda one, other: one == other)["length"]
    assert dict(found.differing) == {"token-count": 1}
    assert not found.unexplained


@pytest.mark.parametrize(
    ("text", "rule", "ways", "expected"),
    [
        ("a\nb\n", {}, set(), [[0, 2, 1], [2, 4, 1], [4, 4, 1]]),
        ("a\nb\n", {}, {LAST}, [[0, 2, 1], [2, 3, 1], [3, 3, 1]]),
        ("a b\nc d e", {"min_words": 3}, set(), [[4, 9, 1]]),
        ("a b\nc d e", {"min_words": 3}, {WORDS}, []),
        ("a\n \n", {"skip_empty": True}, set(), [[0, 2, 1]]),
        ("ab\ncde", {"min_length": 3}, set(), [[3, 6, 1]]),
    ],
)
def test_model_of_paragraphs(text, rule, ways, expected):
    rows = dedupe_model.mark(documents(text, text), {**RULE, **rule}, frozenset(ways))
    assert rows[1]["d"] == expected


def test_model_of_documents():
    rule = {"documents": {"attribute_name": "d", "key": "$.text"}, "skip_empty": True}
    given = documents("é", "é", " ")
    assert dedupe_model.mark(given, rule, frozenset()) == [{}, {"d": [[0, 1, 1]]}, {"d": []}]
    assert dedupe_model.mark(given, rule, frozenset([dedupe_model.DOCUMENT_SPAN]))[1] == {"d": [[0, 2, 1]]}


def test_model_of_ngrams_counts_them_by_the_stride():
    by_ngram = {"ngram_length": 1, "stride": 2, "overlap_threshold": 0.1}
    rule = {"paragraphs": {"attribute_name": "d", "by_ngram": by_ngram}}
    given = documents("a x b y", "a z b w")
    assert dedupe_model.mark(given, rule, frozenset())[1] == {"d": [[0, 7, 1.0]]}
    score = dedupe_model.mark(given, rule, frozenset([dedupe_model.STRIDE]))[1]["d"][0][2]
    assert score == pytest.approx(1 / 3)  # of a, z and w, a alone was there


@pytest.mark.parametrize(
    ("rule", "document", "way"),
    [
        ("$.a[?(@.s >= 1.0)]", {"a": {"s": 1}}, path_model.INTEGER),
        ("$.a[?(@.y in [2])]", {"a": {"y": 2}}, path_model.INDEX_FOR_ARRAY),
        ("$.a[?(@.l.length() > 1)]", {"a": {"l": [1, 2]}}, path_model.LENGTH),
        ("$.a[?(@[0] > 1 && @[1] > 1)]", {"a": [[2, 2]]}, path_model.TEST_OF_ARRAY),
        ("$.a[0:3]", {"a": [1]}, path_model.SLICE),
    ],
)
def test_model_of_paths_knows_each_difference(rule, document, way):
    assert path_model.select(rule, document, frozenset()) != []
    assert path_model.select(rule, document, frozenset([way])) == []
    assert way in path_model.concerned(rule)


def test_model_of_paths_knows_the_order_of_fields():
    document = {"a": {"z": 1, "b": 2}}
    assert path_model.select("$.a.*", document, frozenset()) == [1, 2]
    assert path_model.select("$.a.*", document, frozenset([path_model.FIELD_ORDER])) == [2, 1]


def mixed(document, ways=(), attributes=(), times=1, **stream):
    full = {"documents": ["*.gz"] * times, "output": {}, **stream}
    given = {"id": "1", "source": "s", **document}
    (outcome,) = mix(Case("c", full, [Input("a.gz", 3, given, attributes)], frozenset()), frozenset(ways))
    return outcome if outcome == REFUSED else [row["text"] for row in outcome]


ODD = [{"span": "$.attributes.odd", "min_score": 0.5, "replacement": "-"}]


@pytest.mark.parametrize(
    ("document", "more", "way", "right", "dolma"),
    [
        ({"text": " "}, {}, mix_model.BLANK, [], [" "]),
        ({"text": "a", "id": 5}, {}, mix_model.TYPES, REFUSED, ["a"]),
        ({"text": "a"}, {"times": 2}, mix_model.TWICE, ["a"], ["a", "a"]),
        ({"text": "a"}, {"attributes": (ENDED,)}, mix_model.MISSING, REFUSED, ["a"]),
        ({"text": "a"}, {"attributes": (NO_FILE, {"q": 1})}, mix_model.MISSING, REFUSED, ["a"]),
        ({"text": "a"}, {"documents": ["*.gz", "nothing*"]}, mix_model.NO_INPUT, REFUSED, ["a"]),
        (
            {"text": "abc", "attributes": {"odd": [[1, 1, 1.0]]}}, {"span_replacement": ODD}, mix_model.ODD_SPANS,
            ["a-bc"], ["a-c-"],
        ),
        (
            {"text": "a", "s": 0.0}, {"filter": {"include": [".s"], "syntax": "jq"}}, mix_model.ZERO, [], ["a"],
        ),
    ],
)  # fmt: skip
def test_model_of_mixing_knows_each_difference(document, more, way, right, dolma):
    assert mixed(document, **more) == right
    assert mixed(document, [way], **more) == dolma


def test_order_is_explained_by_shuffling_alone():
    dolma, other = ["a:1", "a:2"], ["a:2", "a:1"]
    assert dict(account_for_order(dolma, other, dolma, True).differing) == {"mix-shuffle": 1}
    assert account_for_order(dolma, other, dolma, None).unexplained == ["the order is not dolma's"]
    assert account_for_order(dolma, dolma, other, None).unexplained == ["the order under compat is not dolma's"]


def ids_in_code() -> set[str]:
    """Every constant of the package and of these tools that names a difference."""
    families = "|".join(sorted({name.split("-")[0] for name in read_table()}))
    sources = [*(ROOT / "packages/dolma-data/src").rglob("*.py"), *(ROOT / "tools/parity").glob("*.py")]
    sources += (ROOT / "tools").glob("parity_*.py")
    constant = re.compile(rf'^[A-Z][A-Z_0-9]* = "((?:{families})-[a-z0-9-]+)"', re.MULTILINE)
    named = re.compile(r'differences=\(([^)]*)\)|reproduces\(("[^"]*")\)')
    found = set()
    for path in sources:
        text = path.read_text(encoding="utf-8")
        found |= set(constant.findall(text))
        for one, other in named.findall(text):
            found |= set(re.findall(r'"([a-z0-9-]+)"', one or other))
    return found


def test_every_id_in_the_code_has_a_row_of_the_table():
    used = ids_in_code() | set(all_differences())
    assert len(used) > 30
    assert used - set(read_table()) == set()


COMPAT_OF_WARC = ("test_warc.py", "test_compat_takes_every_record_and_puts_files_where_dolma_does")
TESTED = {
    "code-extension": ("test_taggers_code.py", "test_languages_by_extension_from_a_file"),
    "dedupe-leftover-filter": ("test_bloom.py", "test_a_leftover_filter_that_holds_the_corpus_is_named"),
    "mix-places": ("test_mix_modes.py", "test_files_lie_where_dolma_writes_them_and_the_last_is_called_json"),
    **dict.fromkeys(("warc-blank", "warc-dates", "warc-ids", "warc-kinds"), COMPAT_OF_WARC),
}


def test_every_row_that_compat_undoes_is_compared_or_tested():
    """Rows marked `under compat too` are settled; each other one is compared with dolma row by row or has a test."""
    compared = set(all_differences()) | ids_in_code() | {RAISES}
    settled = {name for name, row in read_table().items() if "under compat too" in row or "no setting brings" in row}
    assert set(read_table()) - settled - compared == set(TESTED)
    for file, test in TESTED.values():
        assert f"def {test}(" in (ROOT / "packages/dolma-data/tests" / file).read_text(encoding="utf-8")
