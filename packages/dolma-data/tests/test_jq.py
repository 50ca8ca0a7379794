"""jq programs as rules: what they give, when they match, what they look at."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.errors import UserError
from dolma_data.select.jq import compile_jq
from dolma_data.select.jq_values import JqError, compare, order_key
from dolma_data.select.jsonpath import spans

DOCUMENT: dict[str, Any] = {
    "id": "1",
    "text": "hello",
    "n": 3,
    "metadata": {"tags": ["x", "y"], "year": 2019},
    "attributes": {"a": [[0, 5, 0.5], [2, 3, 1]], "b": [], "c d": [[0, 5, 1]]},
}


@pytest.mark.parametrize(
    ("program", "gives"),
    [
        ('[1, "a\\"b", null, true] | @csv, @tsv', ['1,"a""b",,true', '1\ta"b\t\ttrue']),
        ('"a\tb\\\\" | [.] | @tsv', ["a\\tb\\\\"]),
        ('@json "x\\([1, "y"])", ([1] | @json), @text "\\(1)2"', ['x[1,"y"]', "[1]", "12"]),
        ('@html "<b>\\("<\'&")"', ["<b>&lt;&#39;&amp;"]),
        ('"ä b/-" | @uri', ["%C3%A4%20b%2F-"]),
        ('"it\'s", [1, "x"] | @sh', ["'it'\\''s'", "1 'x'"]),
        ('"hellö" | @base64 | ., @base64d', ["aGVsbMO2", "hellö"]),
        ("[.metadata | paths]", [[["tags"], ["tags", 0], ["tags", 1], ["year"]]]),
        ('[.metadata | paths(type == "number")], [.metadata | leaf_paths | length]', [[["year"]], [2, 2, 1]]),
        ('getpath(["metadata", "year"]), getpath(["metadata", "x", 0])', [2019, None]),
        (
            '"test abc" | match("(?<first>T)|(b)"; "gi") | .offset, .string, .captures[0].name, .captures[1].string',
            [0, "t", "first", None, 3, "t", "first", None, 6, "b", "first", "b"],
        ),
        ('[.text | match("l").offset], [.text | match("l"; "g").offset]', [[2], [2, 3]]),
        (
            '.text | [scan("L"; "i")], sub("L"; "1"; "i"), gsub("l"; "1"), sub("l"; "1"; "g")',
            [["l", "l"], "he1lo", "he11o", "he11o"],
        ),
        ('.text | capture("(?<x>L+)"; "i"), [match("z*"; "gn")]', [{"x": "ll"}, []]),
        ('[.text | splits("L"; "i")]', [["he", "", "o"]]),
        ('" a " | trim, ltrim, rtrim', ["a", "a ", " a"]),
        ('"2015-03-05T23:51:47Z" | fromdate | ., todate', [1425599507, "2015-03-05T23:51:47Z"]),
        (
            "[skip(1; 1, 2, 3)], nth(1; 5, 6, 7), isempty(empty), isempty(1), isvalid(error)",
            [[2, 3], 6, True, False, False],
        ),
        ("2 | IN(1, 2), IN((1, 3); 3, 4), IN(5)", [True, True, False]),
        ("[2 | recurse(. * .; . < 20)], add(1, 2), (-1.5 | abs, trunc), (1 | toarray)", [[2, 4, 16], 3, 1.5, -1, [1]]),
        ("[limit(3; 1 | repeat(. * 2))], first(range(5; 9)), any(.attributes.a[]; .[2] >= 1)", [[1, 2, 4], 5, True]),
    ],
)
def test_formats_paths_and_regular_expressions(program, gives):
    assert compile_jq(program).find(DOCUMENT) == gives


@pytest.mark.parametrize(
    ("program", "gives"),
    [
        (".id", ["1"]),
        (".attributes.a[0][2] > 0.3", [True]),
        (".attributes.a[0][-1]", [0.5]),
        ('.attributes."c d"[0][2] >= 1.0', [True]),  # unlike the JSONPath of Dolma, 1 is 1.0 here
        (".attributes.a | map(.[2]) | add", [1.5]),
        ("[.attributes.a[] | select(.[2] > 0.7)]", [[[2, 3, 1]]]),
        (".attributes?.x?.y?", []),
        (".attributes.x", [None]),
        (".attributes.x[0]?", []),
        (".attributes.x // 5", [5]),
        ("(false, 1, null, 2) // 3", [1, 2]),
        ('if .n == 3 then "x" elif .n == 4 then 1 else 2 end', ["x"]),
        ("if .n == 4 then 1 end | .n?", [3]),
        ('"a\\(.n + 1)b\\(.id)"', ["a4b1"]),
        ('"\\u00e9\\n\\""', ['é\n"']),
        ("[range(3)], [range(0; 10; 4)]", [[0, 1, 2], [0, 4, 8]]),
        ("{id, n: .n, (.id): 2}", [{"id": "1", "n": 3, "1": 2}]),
        ("{a: (1, 2)}", [{"a": 1}, {"a": 2}]),
        ("reduce .attributes.a[] as $x (0; . + $x[2])", [1.5]),
        ("[foreach (1, 2) as $x (0; . + $x)]", [[1, 3]]),
        (". as $x | .metadata | .tags[] | . + $x.id", ["x1", "y1"]),
        ("def twice(f): f | f; 2 | twice(. * .)", [16]),
        ("def f(g): 2 as $x | g; 1 as $x | f($x)", [1]),
        ("def fac: if . <= 1 then 1 else . * (. - 1 | fac) end; .n | fac", [6]),
        ("def f($x; y): $x + y; f(1, 2; 10)", [11, 12]),
        ("try error({}) catch .", [{}]),
        ("[.[]?] | length", [5]),
        ("[..|numbers]|length", [11]),
        (".text[1:3], .text[-2:], .metadata.tags[1:]", ["el", "lo", ["y"]]),
        ("-.n + 1, .n-1", [-2, 2]),
        ("1 / 2, 4 / 2, 7 % 4, -7 % 4", [0.5, 2.0, 3, -3]),
        ("[(1, 2) + (10, 20)]", [[11, 21, 12, 22]]),
        ("[(true, false) and (true, false)]", [[True, False, False]]),
        ("1 < 2 and (null < false) and (true < 0) and (0 < \"a\") and (\"a\" < []) and ([] < {})", [True]),
        ('"a,b" | split(",") | join("-")', ["a-b"]),
        ('"aXbX" | test("x"; "i"), [scan("X")], gsub("(?<l>[ab])"; .l + .l)', [True, ["X", "X"], "aaXbbX"]),
        ('{"a": {"b": 1}} * {"a": {"c": 2}}', [{"a": {"b": 1, "c": 2}}]),
        ("[3, 1, 2] | sort, min, max, reverse, (sort_by(-.) | first)", [[1, 2, 3], 1, 3, [2, 1, 3], 3]),
        ('[{"k": 1}, {"k": 0}, {"k": 1}] | group_by(.k) | map(length)', [[1, 2]]),
        ("[1, [2, [3]]] | flatten, flatten(1)", [[1, 2, 3], [1, 2, [3]]]),
        ('.metadata | has("year"), (.tags | contains(["x"]) and index("y") == 1)', [True, True]),
        ("[limit(2; .attributes.a[][])], first(range(5)), ([1, 2] | last)", [[0, 5], 0, 2]),
        ("[1 | while(. < 10; . * 2)], (1 | until(. > 10; . * 2))", [[1, 2, 4, 8], 16]),
        ("1.5 | floor, ceil, round, tostring", [1, 2, 2, "1.5"]),
        ("[] | add, any, all, length", [None, False, True, 0]),
        (".attributes.a | any(.[2] > 0.9), all(.[2] > 0.9)", [True, False]),
        ("# a comment\n.id", ["1"]),
    ],
)  # fmt: skip
def test_what_a_program_gives(program, gives):
    assert compile_jq(program).find(DOCUMENT) == gives


@pytest.mark.parametrize(
    ("program", "included", "excluded"),
    [
        ("true", True, True),
        ("empty", False, False),
        ("0", False, False),
        ('"", [], {}, null, false', False, False),
        ("1, 0", False, True),  # an include needs all of it, an exclude any
        ("1, 2", True, True),
    ],
)
def test_include_needs_everything_to_be_truthy_and_exclude_anything(program, included, excluded):
    compiled = compile_jq(program)
    assert (compiled.matches(DOCUMENT), compiled.excludes(DOCUMENT)) == (included, excluded)


@pytest.mark.parametrize(
    ("program", "dolma"),
    [
        (".score", True),
        ("[.score] | last", True),
        ("[.score, 2] | min", True),
        (".score as $x | $x", True),
        ("reduce .score as $x (1; $x)", True),
        (".count == 1, .score", False),
        (".score | tojson | fromjson", True),
        ('"[0.0]" | fromjson | .[0]', True),
        (".score | tostring | tonumber", True),
        ('"1.50" | tonumber | tojson == "1.50"', True),
        (".score + 0", False),
        ("0.0", False),
        (".count", False),
    ],
)
def test_zero_as_it_stands_in_a_document_is_true_in_dolma(program, dolma):
    row = {"score": 0.0, "count": 0}
    assert not compile_jq(program).matches(row)
    assert compile_jq(program, dolma=True).matches(row) is dolma


@pytest.mark.parametrize(
    ("program", "ours", "dolma"),
    [
        ("[(.d[] | . + 1)?]", [2], [2, 3, 1]),  # null + 1 is 1
        ('[try (.d[] | . + 1) catch "e"]', [2, "e"], [2, "e", 3, 1]),
        ('[(1, error("x"), 2)?]', [1], [1, 2]),
        ('[first((error("x"), 2)?)]', [], [2]),
        ('[(if (true, error("x"), false) then 1 else 2 end)?]', [1], [1, 2]),
        ('[((1, error("x"), 2) + (1, 2))?]', [2, 3], [2, 3, 3, 4]),
        ("[(.d[] | select(. + 1 > 1))?]", [1], [1, 2]),
        ('[([1, error("x"), 2])?, 7]', [7], [7]),
        ('[(limit(2; 1, error("x"), 2))?]', [1], [1]),
        ('[(reduce (1, 2) as $x (0, error("x"), 5; . + $x))?]', [3], [3, 8]),
        ('[(foreach (1, 2) as $x (0, error("x"), 5; . + $x))?]', [1, 3], [1, 3, 6, 8]),
        ('[(range(0, "x", 2; 3))?]', [0, 1, 2], [0, 1, 2, 2]),
        ('[(.d[] | ltrimstr("x"))?]', [1, "", 2, None], [""]),
        ('[([], ["a", null], [1, 2] | join(","))?]', ["", "a,", "1,2"], [None, "a,"]),
    ],
)
def test_a_question_mark_ends_where_something_fails_and_goes_on_in_dolma(program, ours, dolma):
    row = {"d": [1, "x", 2, None]}
    assert compile_jq(program).find(row) == [ours]
    assert compile_jq(program, dolma=True).find(row) == [dolma]


def test_a_fold_shows_what_follows_on_a_state_before_its_siblings():
    assert compile_jq("[foreach (1, 2) as $x (0; . + $x, . * 10)]").find(None) == [[1, 3, 10, 0, 2, 0]]


def test_every_replacement_of_every_match_gives_a_text():
    assert compile_jq('[gsub("x"; "1", "2")]').find("xax") == [["1a1", "1a2", "2a1", "2a2"]]
    assert compile_jq('[sub("x"; empty)]').find("x") == [[]]


def test_numbers_of_any_size_are_written_as_in_dolma():
    assert compile_jq("tojson").find([1e16, 1e-5, 0.25, -0.0]) == ["[1e16,1e-5,0.25,-0.0]"]


def test_spans_of_programs_keep_their_scores_in_dolma():
    assert spans(compile_jq(".s", dolma=True).find({"s": [[0, 3, 0.0]]})) == [(0, 3, 0.0)]


def test_nth_takes_the_value_at_a_place():
    assert compile_jq("nth(1; .[])").find([5, 6, 7]) == [6]


@pytest.mark.parametrize(
    ("program", "gives"),
    [
        (".attributes.a[]?[5]?, 1", [None, None, 1]),
        ('[.metadata[]?[]?]', [["x", "y"]]),  # a value without elements is passed over, not the end
        ("(.n.x) == (.zz[]?)", []),  # a failure beside nothing is nothing
        ("[.text[1:]?, .n[1:]?]", [["ello"]]),
    ],
)  # fmt: skip
def test_a_question_mark_passes_over_what_fails_at_its_place(program, gives):
    assert compile_jq(program).find(DOCUMENT) == gives


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (".n.x.y?", "cannot index number"),
        (".attributes.x.y", "cannot index null with"),
        (".attributes.x[0][2] > 1", "cannot index null with 0"),
        (".text.y", "cannot index string"),
        (".n[]", "cannot iterate over number"),
        ('error("why")', "why"),
        ("true | length", "no length"),
        ("{} + 1", "cannot add"),
        ("1 % 0", "divide by zero"),
        ('"x" | tonumber', "parse as number"),
        ('"x" | test("(")', "regular expression"),
    ],
)
def test_a_program_that_fails_says_why(program, message):
    with pytest.raises(JqError, match=message):
        compile_jq(program).find(DOCUMENT)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (".a |", "character 5"),
        (".a[", "character 4"),
        ('"a', "does not end"),
        ("if . then 1", "'end' is missing"),
        ("$x", "variable .x is not known"),
        (".x | sum", "there is no sum/0"),
        ("lenght", "did you mean length"),
        ("@cvs", "there is no @cvs/0 .character 1.; did you mean @csv"),
        (".a = 1", "assigns"),
        (".id | now > 1", "now looks outside of the document.* .character 7."),
        ("[inputs] | length", "inputs looks outside of the document"),
        ("del(.text)", "del is there for changing the document"),
        ("halt", "halt ends the program"),
        ("$.id", "is a JSONPath"),
        ("{,}", "key is missing"),
        ("~", "nothing begins like this"),
    ],
)
def test_what_is_no_program_is_refused_with_its_place(program, message):
    with pytest.raises(UserError, match=message):
        compile_jq(program)


@pytest.mark.parametrize(
    ("program", "fields", "attributes"),
    [
        (".id", {"id"}, set()),
        (".attributes.a[0][2] > .metadata.year", {"attributes", "metadata"}, {"a"}),
        ('.attributes?.a? // [] | length > 0 and .[0] != null', {"attributes"}, {"a"}),
        ('(.attributes.a | if type == "array" then .[0][2] < 0.8 else false end)', {"attributes"}, {"a"}),
        (".attributes.a != null or .flag == true", {"attributes", "flag"}, {"a"}),
        ("def null: .secret; .attributes.a != null", None, None),
        (".attributes | keys", {"attributes"}, None),
        (".attributes | .a, .b", {"attributes"}, {"a", "b"}),
        ("select(.n > 1) | .id", {"n", "id"}, set()),
        (". as $x | 1", None, None),
        ("..", None, None),
        ("length", None, None),
    ],
)  # fmt: skip
def test_needs_are_the_fields_and_attributes_looked_at(program, fields, attributes):
    needs = compile_jq(program).needs()
    assert (needs.fields, needs.attributes) == (fields, attributes)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=1), inner, max_size=2),
    max_leaves=6,
)


@given(VALUES, VALUES, VALUES)
def test_values_of_all_types_are_in_one_order(a, b, c):
    first, second, third = sorted([a, b, c], key=order_key)
    assert compare("<=", first, second)
    assert compare("<=", second, third)
    assert compare("<=", first, third)
    assert compare("<", a, b) + compare("==", a, b) + compare(">", a, b) == 1


@given(VALUES)
def test_constants_and_json_come_back_as_they_are(value):
    assert compile_jq(f"{json.dumps(value)} | tojson | fromjson").find(None) == [value]
