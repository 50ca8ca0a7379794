from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from olmo_model.continuation_text import ContinuationText, overlap


def grown(tokenizer, prompt, new, stop=()):
    """Pieces of the text, and the whole of it, up to where it stops."""
    text = ContinuationText(tokenizer, prompt, stop)
    pieces = []
    for number in new:
        pieces.append(text.add(number))
        if text.stopped:
            break
    pieces.append(text.finish())
    assert "".join(pieces) == text.text
    return pieces, text


@given(prompt=st.text(max_size=30), new=st.text(max_size=60))
def test_the_pieces_are_the_text(tokenizer, prompt, new):
    pieces, _ = grown(tokenizer, tokenizer.encode(prompt).ids, tokenizer.encode(new).ids)
    assert "".join(pieces) == new


@given(new=st.lists(st.integers(0, 299), max_size=60))
def test_any_ids_give_the_text_of_all_of_them(tokenizer, new):
    prompt = tokenizer.encode("the cat").ids
    pieces, _ = grown(tokenizer, prompt, new)
    assert "the cat" + "".join(pieces) == tokenizer.decode(prompt + new, skip_special_tokens=False)


def test_a_character_appears_when_it_is_whole(tokenizer):
    ids = tokenizer.encode("é€").ids  # no token joins these bytes
    assert len(ids) == 5
    assert grown(tokenizer, [], ids)[0] == ["", "é", "", "", "€", ""]
    assert grown(tokenizer, [], ids[:3])[0] == ["", "é", "", "\ufffd"]


def test_a_stop_string_ends_the_text_and_is_left_out(tokenizer):
    ids = tokenizer.encode("the cat sat on a mat and on").ids
    pieces, text = grown(tokenizer, [], ids, [" on", "mat"])
    assert (text.text, text.stopped) == ("the cat sat", True)
    assert len(pieces) < len(ids)


def test_a_stop_string_may_span_tokens_and_nothing_of_it_is_shown_before(tokenizer):
    ids = tokenizer.encode("a\n\n##b").ids
    assert grown(tokenizer, [], ids, ["\n\n#"])[0] == ["a", "", "", "", ""]
    pieces, text = grown(tokenizer, [], tokenizer.encode("a\n\nb\n").ids, ["\n\n#"])
    assert pieces == ["a", "", "", "\n\nb", "", "\n"]  # what was held back comes when it is no stop string
    assert (text.text, text.stopped) == ("a\n\nb\n", False)


def test_the_earliest_of_several_stop_strings_counts(tokenizer):
    (number,) = tokenizer.encode("warm").ids[-1:]
    _, text = grown(tokenizer, [], tokenizer.encode("xwarm").ids, ["rm", "ar"])
    assert number >= 0
    assert text.text == "xw"


def test_overlap_is_the_longest_end_that_begins_the_other():
    assert [overlap(text, "abab") for text in ("", "x", "xa", "xab", "xaba", "abab", "xb")] == [0, 0, 1, 2, 3, 2, 0]
