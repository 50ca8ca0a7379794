from __future__ import annotations

from tagger_scores import scores_of

TEXT = """A line of words. And another! Is it?
Please turn on JavaScript to read this page.
We use cookies to serve you.
Two words.
No full stop at its end
She said "Come in. It is late."  """


def test_lines_on_javascript_and_policies_are_marked_with_their_newline() -> None:
    found = scores_of("c4_lines_v1", TEXT)
    lines = {name: [TEXT[start:end] for start, end, _ in found[name]] for name in found if name.startswith("lines")}
    assert lines == {
        "lines_with_javascript": ["Please turn on JavaScript to read this page.\n"],
        "lines_with_policy_notice": ["We use cookies to serve you.\n"],
    }


def test_sentences_are_counted_in_the_lines_that_are_left() -> None:
    found = scores_of("c4_lines_v1", TEXT)
    assert found["sentence_count"] == [(0, len(TEXT), 3 + 1 + 2)]
    assert found["sentence_count_of_punctuated_lines"] == [(0, len(TEXT), 3 + 2)]


def test_a_blank_text_has_no_sentence() -> None:
    assert scores_of("c4_lines_v1", "\n \n")["sentence_count"] == [(0, 3, 0)]
