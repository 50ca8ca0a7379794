import random

from paloma_ppl.near_duplicates import NearDuplicates, signature


def words(seed: int, count: int) -> list[str]:
    generator = random.Random(seed)
    return [f"w{generator.randrange(5000)}" for _ in range(count)]


def test_a_copy_with_a_few_changed_words_is_found_and_other_text_is_not() -> None:
    near = NearDuplicates()
    original = words(1, 400)
    near.add("val", "s", "original", " ".join(original))
    changed = [*original]
    changed[50] = changed[200] = "other"
    near.add("test", "s", "copy", " ".join(changed).upper())
    for number in range(30):
        near.add("test", "s", f"t{number}", " ".join(words(100 + number, 400)))
        near.add("val", "s", f"v{number}", " ".join(words(200 + number, 400)))
    report = near.report()
    assert (report["pairs"], report["test_documents"]) == (1, 1)
    assert report["first"][0]["test"] == ["s", "copy"]
    assert report["first"][0]["val"] == ["s", "original"]
    assert abs(report["first"][0]["similarity"] - 386 / 406) < 0.15  # ten of 396 runs changed on either side


def test_signature_estimates_the_share_of_common_runs() -> None:
    common, a, b = words(1, 2000), words(2, 1000), words(3, 1000)
    first, second = signature(" ".join(common + a)), signature(" ".join(common + b))
    assert first is not None
    assert second is not None
    assert abs(float((first == second).mean()) - 0.5) < 0.2
    assert signature("four words only here") is None
