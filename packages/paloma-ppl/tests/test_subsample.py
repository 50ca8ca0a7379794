from hypothesis import given
from hypothesis import strategies as st

from paloma_ppl.subsample import DomainSketch, choose_groups, group_key


def sketches_of(members: dict[str, list[str]], fraction: float) -> dict[str, DomainSketch]:
    sketches = {}
    for domain, groups in members.items():
        sketches[domain] = DomainSketch()
        for group in groups:
            sketches[domain].add(group_key(42, group), fraction)
    return sketches


def splits(members: dict[str, list[str]], fraction: float = 0.05, minimum: int = 3) -> dict[str, str]:
    choice = choose_groups(sketches_of(members, fraction), fraction, minimum)
    named = {group_key(42, group)[1]: group for groups in members.values() for group in groups}
    return {named[digest]: split for digest, split in choice.split.items()}


@given(sizes=st.lists(st.integers(3, 200), min_size=1, max_size=4), fraction=st.floats(0.01, 0.25))
def test_every_domain_with_three_groups_gives_val_test_and_training(sizes: list[int], fraction: float) -> None:
    members = {f"d{k}": [f"d{k}-{i}" for i in range(size)] for k, size in enumerate(sizes)}
    chosen = splits(members, fraction)
    for groups in members.values():
        assert {chosen.get(group) for group in groups} == {"val", "test", None}


def test_choice_does_not_depend_on_order_repetition_or_other_domains() -> None:
    groups = [f"g{i}" for i in range(500)]
    alone = splits({"d": groups})
    assert splits({"d": groups[::-1] * 2, "e": [f"h{i}" for i in range(300)]}) | alone == splits(
        {"d": groups, "e": [f"h{i}" for i in range(300)]}
    )
    assert alone.items() <= splits({"d": groups[::-1], "e": [f"h{i}" for i in range(300)]}).items()


def test_in_a_large_domain_a_further_group_changes_no_other_group() -> None:
    before = splits({"d": [f"g{i}" for i in range(1000)]})
    after = splits({"d": [f"g{i}" for i in range(1001)]})
    assert {group: split for group, split in after.items() if group != "g1000"} == before


def test_share_of_groups_is_the_fraction() -> None:
    chosen = splits({"d": [f"g{i}" for i in range(20_000)]}, 0.1)
    for split in ("val", "test"):
        assert abs(list(chosen.values()).count(split) / 20_000 - 0.1) < 0.01


def test_group_in_two_domains_has_one_split_and_both_domains_are_served() -> None:
    shared = [f"s{i}" for i in range(4)]
    chosen = splits({"d": [*shared, "d1"], "e": [*shared, "e1"]})
    for groups in ([*shared, "d1"], [*shared, "e1"]):
        assert {"val", "test", None} <= {chosen.get(group) for group in groups}


def test_too_few_groups_or_documents_stay_in_training_by_name() -> None:
    sketches = sketches_of({"two": ["a", "b"], "few": ["c", "d", "e"], "enough": list("fghij")}, 0.05)
    choice = choose_groups(sketches, 0.05, 5)
    assert choice.left_in_training == ["few", "two"]
    assert len(choice.split) == 2


def test_memory_of_a_sketch_is_bounded() -> None:
    sketch = DomainSketch()
    for number in range(20_000):
        sketch.add(group_key(1, str(number)), 0.001)
    assert sketch.documents == 20_000
    assert len(sketch.lowest) <= 256
    assert len(sketch.drawn) < 100
