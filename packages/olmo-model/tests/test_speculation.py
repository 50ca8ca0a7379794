from __future__ import annotations

from olmo_model.speculation import ENOUGH, FIRST, LONGEST_PAUSE, MOST, Lookup


def test_what_followed_the_last_four_tokens_before_is_guessed():
    lookup = Lookup([1, 2, 3, 4, 5, 6, 9, 1, 2, 3, 4])
    assert lookup.guess(3) == [5, 6, 9]
    lookup.add([7])
    assert lookup.guess(3) == []
    lookup.add([1, 2, 3, 4])
    assert lookup.guess(3) == [7, 1, 2]  # the last occurrence counts


def test_the_longest_match_counts():
    long, short = [1, 2, 3, 4, 5, 6, 7, 8], [5, 6, 7, 8]
    assert Lookup([*long, 10, 9, *short, 11, *long]).guess(1) == [10]
    assert Lookup([*long, 10, 9, *short, 11, 9, *short]).guess(1) == [11]


def test_what_repeats_up_to_the_end_is_taken_to_go_on():
    assert Lookup([9, 1, 2, 3, 1, 2, 3, 1]).guess(5) == [2, 3, 1, 2, 3]
    assert Lookup([4] * 6).guess(4) == [4, 4, 4, 4]


def test_the_number_of_guesses_follows_what_was_right():
    lookup = Lookup([4] * 6)
    assert len(lookup.guess(99)) == FIRST
    lookup.learn(FIRST, FIRST)
    assert len(lookup.guess(99)) == min(2 * FIRST, MOST)
    lookup.learn(MOST, 3)
    assert len(lookup.guess(99)) == 4
    assert len(lookup.guess(2)) == 2
    assert lookup.guess(0) == lookup.guess(-1) == []


def test_wrong_guesses_bring_growing_pauses_until_enough_are_right():
    lookup = Lookup([4] * 6)
    pauses = []
    for accepted in (0, 1, 0, 1, 0, 1, 0):
        lookup.learn(7, accepted)
        pause = 0
        while not lookup.guess(9):
            pause += 1
        pauses.append(pause)
    assert pauses == [1, 3, 7, 15, 31, LONGEST_PAUSE, LONGEST_PAUSE]
    assert len(lookup.guess(9)) == ENOUGH
    lookup.learn(2, 2)
    lookup.learn(4, 0)
    assert not lookup.guess(9)
    assert lookup.guess(9)


def test_one_guess_that_was_right_is_enough_where_no_more_were_asked_for():
    lookup = Lookup([4] * 6)
    assert len(lookup.guess(1)) == 1
    lookup.learn(1, 1)
    assert lookup.guess(1) == [4]
    lookup.learn(1, 0)
    assert not lookup.guess(1)


def test_short_sequences_have_no_guesses():
    assert Lookup([7]).guess(5) == Lookup([7] * 4).guess(5) == []
