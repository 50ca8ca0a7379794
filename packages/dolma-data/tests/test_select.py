"""Paths of filters and spans: what they select, what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.errors import UserError
from dolma_data.select.jsonpath import compile_path, spans
from dolma_data.select.jsonpath_compare import equal

DOCUMENT = {
    "id": "a",
    "attributes": {
        "score": [[0, 5, 0.4], [5, 9, 0.8]],
        "duplicate": [(0, 9, 1)],
        "empty": [],
        "off": False,
        "toxicity": 0.8,
    },
    "metadata": {
        "stars": 3,
        "tags": ["x", "y"],
        "lang": "en-GB",
        "odd name": 1,
        "none": None,
        "deep": {"stars": 4, "list": [{"stars": 5}]},
        "numbers": [10, 20, 30, 40],
    },
}
WHOLE = [DOCUMENT["attributes"]]
META = [DOCUMENT["metadata"]]


@pytest.mark.parametrize(
    ("path", "hits"),
    [
        ("$.id", ["a"]),
        ("$['id']", ["a"]),
        ("$.metadata['odd name']", [1]),
        ("$.missing", []),
        ("$.id.deeper", []),
        ("$.metadata.numbers[0]", [10]),
        ("$.metadata.numbers[-1]", [40]),
        ("$.metadata.numbers[9]", []),
        ("$.metadata.numbers[1,2]", [20, 30]),
        ("$.metadata.numbers[1:3]", [20, 30]),
        ("$.metadata.numbers[::2]", [10, 30]),
        ("$.metadata.numbers[1:9]", [20, 30, 40]),
        ("$.metadata['stars', 'lang']", [3, "en-GB"]),
        ("$.metadata.tags[*]", ["x", "y"]),
        ("$.metadata.deep.*", [4, [{"stars": 5}]]),
        ("$..stars", [3, 4, 5]),
        ("$.metadata.deep..['stars']", [4, 5]),
        ("$.metadata.numbers.length()", [4]),
        ("$.metadata.lang.length()", []),
        ("$.metadata.numbers[?(@ > 15 && @ < 35)]", [20, 30]),
        ("$.attributes.score[?(@[2] >= 0.5)]", [[5, 9, 0.8]]),
        ("$.metadata.none", [None]),
    ],
)
def test_path_gives_its_hits_in_order(path, hits):
    assert compile_path(path).find(DOCUMENT) == hits


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        ("@.score", True),
        ("@.empty", True),
        ("@.off", True),
        ("@.missing", False),
        ("!@.missing", True),
        ("!(@.score) && @.score", False),
        ("@.score && @.score[0] && @.score[0][2] < 0.5", True),
        ("@.score[0][2] > 0.5 || @.toxicity > 0.5", True),
        ("@.score[0][2] > 0.5 || @.toxicity > 0.5 && @.missing", False),
        ("@.missing < 1", False),
        ("@.missing > 1", False),
        ("@.missing <= 1", False),
        ("@.score[*][2] < 1", False),  # two numbers on one side
        ("@.off < 1", False),
        ("@.missing == @.other", True),
        ("@.missing != @.other", False),
        ("@.missing != 1", True),
        ("@.missing >= @.other", True),
        ("@.duplicate[0][2] >= 1.0", True),
        ("@.duplicate[0][2] == 1.0", True),
        ("@.off == false", True),
        ("@.off == 0", False),
        ("@.toxicity == 0.8", True),
        ("@.toxicity >= 8e-1 && @.toxicity <= 0.8", True),
        ("0.5 < @.toxicity", True),
        ("@.empty == []", True),
    ],
)
def test_filter_on_an_object_tests_the_object_itself(test, holds):
    selector = compile_path(f"$.attributes[?({test})]")
    assert selector.find(DOCUMENT) == (WHOLE if holds else [])
    assert selector.matches(DOCUMENT) is holds
    assert compile_path(f"$@.attributes[?({test})]").matches(DOCUMENT) is holds


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        ("@.lang ~= '^en'", True),
        ("@.lang ~= '^en$'", False),
        ("@.stars ~= '3'", False),
        (r"@.lang ~= '^\\w\\w-'", True),
        ("@.lang in ['en-GB', 'en-US']", True),
        ("@.lang nin ['en-GB', 'en-US']", False),
        ("'x' in @.tags", True),
        ("@.missing in @.tags", False),
        ("@.tags anyOf ['y', 'z']", True),
        ("@.tags noneOf ['y', 'z']", False),
        ("@.tags subsetOf ['x', 'y', 'z']", True),
        ("@.tags subsetOf ['x']", False),
        ("@.tags size 2", True),
        ("@.lang size 5", True),
        ("@.tags size 3", False),
        ("@.numbers.length() == 4", True),
        ("@.none == null", True),
        ("@.stars == $.metadata.deep.stars", False),
        ("@.deep.stars == $.metadata.deep.stars", True),
        ("@['odd name'] == 1", True),
    ],
)
def test_operators(test, holds):
    assert compile_path(f"$.metadata[?({test})]").find(DOCUMENT) == (META if holds else [])


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("", "character 1"),
        ("id", "character 1"),
        ("$.", "character 3"),
        ("$.a b", "character 5"),
        ("$[", "character 3"),
        ("$['a]", "character 3"),
        ("$.a[?@.b]", "character 6"),
        ("$.a[?(@.b <)]", "character 12"),
        ("$.a[?(@.b < 1]", "character 14"),
        ("$.a[?(@.b ~= '(')]", "no regular expression"),
        ("$.a[0:2:0]", "1 or more"),
    ],
)
def test_what_is_no_path_is_refused_with_its_place(path, place):
    with pytest.raises(UserError, match=place):
        compile_path(path)


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("$.attributes[?(@.a && @.b[0][2] < 0.5 || !@['c d'])]", {"a", "b", "c d"}),
        ("$@.attributes[?(@.a)]", {"a"}),
        ("$.attributes.a", {"a"}),
        ("$.attributes.a[?(@[2] > $.attributes.b[0][2])]", {"a", "b"}),
        ("$[?(@.attributes.a)]", {"a"}),
        ("$.metadata[?(@.a)]", set()),
        ("$.id", set()),
    ],
)
def test_attribute_keys_are_the_names_asked_for(path, keys):
    assert (compile_path(path).needs().attributes or set()) == set(keys)


def test_spans_come_from_lists_of_spans_and_single_ones():
    assert spans([[[0, 1, 0.5], (2, 3, 1)], [4, 5, 1.0], []]) == [(0, 1, 0.5), (2, 3, 1), (4, 5, 1.0)]
    for wrong in (0.8, "x", [0, 1], [[0, 1, "x"]], [[0.5, 1, 1]], [[True, 1, 1]]):
        with pytest.raises(ValueError, match="not a span"):
            spans([wrong])


@given(st.integers(-(2**53), 2**53))
def test_an_integer_equals_the_same_float(number):
    assert equal(number, float(number))
    assert equal({"a": [number]}, {"a": [float(number)]})
    assert not equal(number, bool(number))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_equality_is_reflexive(value):
    assert equal(value, value)


@given(st.dictionaries(st.text("ab_-/\\#1", min_size=1), st.none() | st.integers()), st.text("ab_-/\\#1", min_size=1))
def test_a_field_is_found_exactly_where_it_is(document, name):
    expected = [document[name]] if name in document else []
    assert compile_path(f"$.{name}").find(document) == expected
    quoted = name.replace("\\", "\\\\")
    assert compile_path(f"$['{quoted}']").find(document) == expected
    assert compile_path(f"$[?(@.{name})]").matches(document) is (name in document)


DOLMA = {
    "n": 3,
    "whole": [[0, 5, 1]],
    "decimal": [[0, 5, 1.0]],
    "six": [1, 2, 3, 4, 5, 6],
    "one": [1],
    "tags": ["x", "y"],
    "b": {"k": 1},
    "a": {"k": 2},
}


@pytest.mark.parametrize(
    ("path", "right", "dolma"),
    [
        ("$[?(@.whole[0][2] >= 1.0)]", True, False),
        ("$[?(@.whole[0][2] == 1.0)]", True, False),
        ("$[?(@.whole[0][2] >= 1)]", True, True),
        ("$[?(@.decimal[0][2] >= 1)]", True, False),
        ("$[?(@.decimal[0][2] <= 1.0)]", True, True),
        ("$[?(@.whole[0][2] > 0.9)]", True, True),
        ("$[?(@.n in [3.0, 4])]", True, False),
        ("$[?(@.n in [3])]", True, False),  # an index into @
        ("$[?(@.n nin [3])]", False, True),
        ("$[?(@.n in [3, 4])]", True, True),
        ("$[?(@.tags.length() == 2)]", True, False),
        ("$[?(!@.tags.length())]", False, True),
        ("$.tags.length()", True, True),
        ("$.one[0:2]", True, False),
        ("$.one[0:0]", False, True),
        ("$.six[1:0]", False, True),
        ("$.six[-7:]", True, False),
        ("$.six[-6:]", True, True),
        ("$.six[:-6]", False, True),
        ("$.six[0:6:2]", True, True),
        ("$.whole[?(@[2] > 0 && @[0] < 1)]", True, False),  # both are put to 0, 5 and 1, not to the span
        ("$.whole[?(@[2] > 0)]", True, True),
        ("$.whole[?(!@[2])]", False, True),
    ],
)
def test_where_the_crate_does_something_else_than_what_was_written(path, right, dolma):
    """Found by putting generated rules to the mixer itself (tools/parity_dolma_rules.py)."""
    assert compile_path(path).matches(DOLMA) is right
    assert compile_path(path, dolma=True).matches(DOLMA) is dolma


def test_fields_come_sorted_in_dolma():
    assert compile_path("$..k").find(DOLMA) == [1, 2]
    assert compile_path("$..k", dolma=True).find(DOLMA) == [2, 1]


@pytest.mark.parametrize("dolma", [False, True])
@pytest.mark.parametrize(
    ("value", "holds"),
    [
        ({"k": [[0, 1, 0.5]]}, True),
        ({"k": [[0, 1, 7]]}, False),
        ({"k": [[0, 1, "0"]]}, False),
        ({"k": [[0, 1, True]]}, False),
        ({"k": ["000"]}, False),
        ({"k": "000"}, False),
        ({"k": {"0": [0, 1, 0.5]}}, False),
        ({"k": [{"2": 0.5}]}, False),
        ({"k": [[0, 1]]}, False),
        ({"k": []}, False),
        ({"k": None}, False),
        ({}, False),
        ("k", False),
        (None, False),
        ([{"k": [[0, 1, 7]]}, {"k": [[0, 1, 0.5]]}], True),
        ([{"k": [[0, 1, 7]]}, 1], False),
    ],
)
def test_a_bound_on_a_score_asks_whether_it_is_there_by_itself(value, holds, dolma):
    for test in ("@.k && @.k[0][2] < 1", "@.k[0][2] < 1", "@.k && @.k[0] && @.k[0][2] < 1 && @.k[0][2] > -1"):
        selector = compile_path(f"$.attributes[?({test})]", dolma=dolma)
        for document in ({"attributes": value}, {"attributes": value, "k": [[0, 1, 0.5]]}):
            assert selector.matches(document) == bool(selector.find(document)) == holds


def test_a_test_for_a_value_counts_where_the_bound_is_on_another():
    selector = compile_path("$.attributes[?(@.j && @.k[0][2] < 1)]")
    assert not selector.matches({"attributes": {"k": [[0, 1, 0.5]]}})
    assert selector.matches({"attributes": {"j": None, "k": [[0, 1, 0.5]]}})
