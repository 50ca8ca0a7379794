from hypothesis import given
from hypothesis import strategies as st

from paloma_ppl.passages import passage_size, passages

TEXT = st.text(st.sampled_from("ab \n\té語."), max_size=3000)


@given(text=TEXT, size=st.integers(1, 300))
def test_passages_laid_end_to_end_are_the_text_and_none_is_blank(text: str, size: int) -> None:
    found = passages(text, size)
    assert "".join(found) == text
    assert all(passage.strip() for passage in found) or len(found) == 1


def test_a_chapter_begins_a_passage() -> None:
    body = "The sea was calm that day.\n\n" * 8
    found = passages(f"Chapter I\n\n{body}Chapter II\n\n{body}KAPITEL 3\n\n{body}", 250)
    assert [passage.split("\n")[0] for passage in found] == ["Chapter I", "Chapter II", "KAPITEL 3"]


def test_paragraphs_run_together_up_to_the_size() -> None:
    found = passages("".join(f"Paragraph {number} is here.\n\n" for number in range(40)), 100)
    assert {passage.count("\n\n") for passage in found} == {4}


def test_a_paragraph_without_end_is_cut_at_white_space_or_anywhere() -> None:
    assert all(passage.endswith(" ") for passage in passages("word " * 2000, 500)[:-1])
    assert max(map(len, passages("x" * 20_000, 500))) <= 1100


def test_size_gives_about_64_passages_within_bounds() -> None:
    assert (passage_size(1000), passage_size(64_000), passage_size(10_000_000)) == (500, 1000, 8000)
