from __future__ import annotations

from olmo_model.speculation import FIRST, LONGEST_PAUSE, MOST, Lookup


def test_what_followed_the_last_tokens_before_is_guessed():
    lookup = Lookup([1, 2, 3, 4, 5, 6, 9, 2, 3])
    assert lookup.guess(3) == [4, 5, 6]
    lookup.add([7])
    assert lookup.guess(3) == []
    lookup.add([2, 3])
    assert lookup.guess(3) == [7, 2, 3]  # the last occurrence counts


def test_the_longest_match_counts():
    assert Lookup([5, 2, 3, 10, 6, 2, 3, 11, 5, 2, 3]).guess(1) == [10]


def test_what_repeats_up_to_the_end_is_taken_to_go_on():
    assert Lookup([9, 1, 2, 3, 1, 2, 3]).guess(5) == [1, 2, 3, 1, 2]
    assert Lookup([4, 4, 4, 4]).guess(4) == [4, 4, 4, 4]


def test_the_number_of_guesses_follows_what_was_right():
    lookup = Lookup([4] * 5)
    assert len(lookup.guess(99)) == FIRST
    lookup.learn(FIRST, FIRST)
    assert len(lookup.guess(99)) == min(2 * FIRST, MOST)
    lookup.learn(MOST, 2)
    assert len(lookup.guess(99)) == 3
    assert len(lookup.guess(2)) == 2
    assert lookup.guess(0) == lookup.guess(-1) == []


def test_wrong_guesses_bring_growing_pauses_until_one_is_right():
    lookup = Lookup([4] * 5)
    pauses = []
    for _ in range(7):
        lookup.learn(1, 0)
        pause = 0
        while not lookup.guess(9):
            pause += 1
        pauses.append(pause)
    assert pauses == [1, 3, 7, 15, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert len(lookup.guess(9)) == 1
    lookup.learn(1, 1)
    lookup.learn(1, 0)
    assert not lookup.guess(9)
    assert lookup.guess(9)


def test_short_sequences_have_no_guesses():
    assert Lookup([7]).guess(5) == Lookup([7, 7]).guess(5) == []
