"""Source code, licences, punctuation and random numbers on small texts with exact values."""

from __future__ import annotations

from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from tagger_scores import scores_of

from dolma_data.errors import UserError
from dolma_data.taggers import code, code_comments
from dolma_data.taggers.code_comments import python_comments


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_shapes_of_code_are_those_of_plain_string_methods(text: str) -> None:
    found = scores_of("code_redpajama_taggers_v1", text)
    lines = [len(line) for line in text.splitlines()]
    tokens = regex.findall(r"\w+|[^\w\s]+", text)
    assert found["max_line_length_doc"] == [(0, len(text), max(lines, default=0))]
    assert found["avg_line_length_doc"] == [(0, len(text), sum(lines) / max(len(lines), 1))]
    assert found["alnum_prop_doc"] == [(0, len(text), sum(map(str.isalnum, text)) / max(len(text), 1))]
    assert found["alpha_token_prop_doc"] == [(0, len(text), sum(map(str.isalpha, text)) / max(len(tokens), 1))]
    assert scores_of("whitespace_tokenizer_v1", text) == {"length": [(0, len(text), len(tokens))]}


def test_the_first_block_comment_that_names_copyright() -> None:
    text = "x\n/* Copyright\n * me */\ncode /* other */"
    assert scores_of("code_copyright_comments_v1", text) == {
        "copyright_notice": [(2, 23, 1.0)],
        "doc": [(0, len(text), 21 / len(text))],
    }
    assert scores_of("code_copyright_comments_v1", "# c\n/* plain */") == {"doc": [(0, 15, 0.0)]}


def test_comment_lines_at_the_top_with_their_newlines() -> None:
    text = "# one\n\n// two\n\ncode\n# three\n"
    assert scores_of("code_copyright_comments_v1", text) == {
        "comment_block": [(0, 14, 1.0)],
        "doc": [(0, len(text), 0.5)],
    }
    assert scores_of("code_copyright_comments_v1", "\n\ncode") == {"doc": [(0, 6, 0.0)]}
    assert scores_of("code_copyright_comments_v1", "-- all")["doc"] == [(0, 6, 1.0)]


def test_dolma_leaves_newlines_out_of_comment_lines_and_counts_one_too_many() -> None:
    text = "# one\n\n// two\n\ncode\n"
    differences = ["code-comment-end", "code-comment-fraction"]
    assert scores_of("code_copyright_comments_v1", text, differences=differences) == {
        "comment_block": [(0, 13, 1.0)],
        "doc": [(0, 20, 14 / 20)],
    }
    assert scores_of("code_copyright_comments_v1", "", differences=differences)["doc"] == [(0, 0, -1.0)]


SECRET = "AKIAIOSFODNN7EXAMPLQ"


def test_every_place_of_a_secret_is_found() -> None:
    text = f'x = "{SECRET}"\x0b\ny = 1\nx = "{SECRET}"\n'
    first, second = text.index(SECRET), text.rindex(SECRET)
    found = scores_of("code_secrets_v1", text)
    assert found["SECRET_AWS_Access_Key"] == [(first, first + 20, 1.0), (second, second + 20, 1.0)]
    spans = sum(len(rows) for kind, rows in found.items() if kind != "doc")
    assert found["doc"] == [(0, len(text), spans / len(text.split()))]
    once = scores_of("code_secrets_v1", text, differences=["code-secret-places"])
    assert once["SECRET_AWS_Access_Key"] == [(first, first + 20, 1.0)]
    assert scores_of("code_secrets_v1", "") == {"doc": [(0, 0, -1.0)]}


PIECES = ['x = "{SECRET}"', "password: 'hunter22!x'", "# pragma: allowlist nextline secret", "y = 1", "", " ", "\x0b"]


@given(st.lists(st.sampled_from(PIECES), max_size=40), st.sampled_from(["\n", "\r\n", "\x0c"]), st.integers(1, 90))
def test_secrets_are_those_of_the_package_whatever_is_looked_at_together(lines: list[str], end: str, size: int) -> None:
    from detect_secrets.core.scan import _process_line_based_plugins
    from detect_secrets.settings import default_settings

    text = end.join(lines).replace("{SECRET}", SECRET) + "\n" + end.join(lines[:3])
    with default_settings():
        numbered = list(enumerate(text.splitlines(), start=1))
        expected = list(_process_line_based_plugins(lines=numbered, filename="text.yml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code, "BLOCK", size)
        found = list(code._scan(text))
    assert sorted((secret.line_number, secret.type, secret.secret_value) for secret, _, _ in found) == sorted(
        (secret.line_number, secret.type, secret.secret_value) for secret in expected
    )
    assert all(text[start:].startswith(line) for _, line, start in found)
    assert all(len(text[:start].splitlines()) + 1 == secret.line_number for secret, _, start in found)


PYTHON = '"""Module."""\n\n\nclass A:\n    """Doc."""\n\n    x = 1  # note\n'


def test_comments_of_python_are_its_docstrings_and_hashes() -> None:
    assert python_comments(PYTHON) == len("Doc.\nModule.\n note")
    assert python_comments("x = = 1  # broken\n") == len("broken")
    assert python_comments("") == 0
    for name in ("code_starcoder_taggers_v1", "code_starcoder_taggers_v2"):
        found = scores_of(name, PYTHON, metadata={"ext": "py", "max_stars_count": "12"})
        key = "nl_ratio_doc" if name.endswith("1") else "code_to_comment_ratio_doc"
        assert found[key] == [(0, len(PYTHON), 18 / len(PYTHON))]
        assert found["num_github_stars_doc"] == [(0, len(PYTHON), 12.0)]
        assert found["code_to_text_ratio_html_doc"] == [(0, len(PYTHON), 1.0)]


@pytest.mark.parametrize(
    ("text", "extension", "first", "second"),
    [
        ("/* a */ int b; // c\n", "java", 11 / 20, 11 / 20),
        ("-- a\nselect 1", "sql", 5 / 13, 0.5),
        ("text", "no-such-extension", -1.0, 0.5),
        ("text", None, -1.0, 0.5),
        ("", "py", -1.0, 0.0),
    ],
)
def test_comments_of_other_languages(text: str, extension: str | None, first: float, second: float) -> None:
    metadata = {"ext": extension}
    assert scores_of("code_starcoder_taggers_v1", text, metadata=metadata)["nl_ratio_doc"][0][2] == first
    found = scores_of("code_starcoder_taggers_v2", text, metadata=metadata)
    assert found["code_to_comment_ratio_doc"][0][2] == second


def test_visible_text_of_html() -> None:
    page = "<p>" + "word " * 30 + "</p><script>var a;</script>"
    found = scores_of("code_starcoder_taggers_v2", page, metadata={"ext": "html"})
    assert found["code_to_text_ratio_html_doc"] == [(0, len(page), 150 / len(page))]
    few = scores_of("code_starcoder_taggers_v2", "<p>few</p>", metadata={"ext": "html"})
    assert few["code_to_text_ratio_html_doc"][0][2] == 0.0
    declared = scores_of("code_starcoder_taggers_v2", "<?xml version='1.0'?>")
    assert declared["has_xml_template_doc"] == [(0, 21, 1.0)]


def test_languages_by_extension_from_a_file(tmp_path: Path) -> None:
    table = tmp_path / "languages.json"
    table.write_text('{"foo": "python"}')
    found = scores_of("code_starcoder_taggers_v2", "# c\n", table, metadata={"ext": "foo"})
    assert found["code_to_comment_ratio_doc"] == [(0, 4, 1 / 4)]
    table.write_text("[]")
    with pytest.raises(UserError, match="not an object of names"):
        scores_of("code_starcoder_taggers_v2", "", table)


def test_licences_of_links() -> None:
    html = (
        '<a href="http://creativecommons.org/licenses/by-sa/3.0/de/">a</a>'
        '<a rel="license" href="https://creativecommons.org/publicdomain/zero/1.0/">b</a>'
    )
    metadata = {"html": html}
    assert scores_of("cc_re", "Text", metadata=metadata) == {
        "cc_by-sa_3.0_de": [(0, 4, 1.0)],
        "cc_publicdomain/zero_1.0": [(0, 4, 0.75)],
    }
    assert scores_of("cc_re_fast", "Text", metadata=metadata) == {"cc_by-sa": [(0, 4, 1.0)]}
    assert scores_of("cc_re", "Text") == {}


def test_paragraphs_without_letters() -> None:
    text = "Words.\n* * *\n\n 😀 !\n日本\n-- 1"
    assert scores_of("not_alphanum_paragraph_v1", text) == {"all_punct": [(7, 13, 1.0), (14, 19, 1.0)]}
    assert scores_of("not_alphanum_paragraph_v1", "Words") == {"all_punct": [(0, 5, 0.0)]}


def test_random_numbers_depend_on_seed_source_and_id_alone() -> None:
    def number(text: str, **document: str) -> float:
        return scores_of("random_number_v1", text, **document)["random"][0][2]

    assert number("a", id="1", source="s") == number("b", id="1", source="s")
    numbers = [number("a", id=str(k), source="s") for k in range(200)]
    assert len({*numbers, number("a", id="1", source="t")}) == 201
    assert all(0 <= each < 1 for each in numbers)
    assert 0.4 < sum(numbers) / 200 < 0.6


def test_starcoder_s_filters_look_at_the_beginning_of_a_giant_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_comments, "LONGEST_PARSED", 40)
    python = "# four\ndef f():\n    return 1\nx = 1\n    # not seen, nor is this\n"
    metadata = {"ext": "py"}
    name = "code_starcoder_taggers_v1"
    # What is looked at ends before the last whole line that is not indented.
    assert scores_of(name, python, metadata=metadata)["nl_ratio_doc"] == [(0, len(python), 4 / 29)]
    whole = scores_of(name, python, differences=["starcoder-giant-texts"], metadata=metadata)
    assert whole["nl_ratio_doc"] == [(0, len(python), 26 / 63)]
    page = "<p>" + "word " * 100
    assert scores_of(name, page, metadata={"ext": "html"})["code_to_text_ratio_html_doc"] == [(0, len(page), 0.0)]


def test_comments_that_nothing_closes_take_linear_time() -> None:
    assert scores_of("code_copyright_comments_v1", "/*" * 1_000_000)["doc"] == [(0, 2_000_000, 0.0)]
    assert scores_of("code_copyright_comments_v1", "/*/ copyright */")["copyright_notice"] == [(0, 16, 1.0)]
