"""What holds between the artifacts of a recipe: nothing held out is trained on, and all is as the stages left it."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import pytest
from builders.damage import Check
from builders.files import edit_json, write, write_json, write_rows
from builders.memory import growth
from builders.recipe_folder import THIRTEEN, TWELVE, recipe

from artifact_checks.contamination import Found, look_up
from artifact_checks.identities import Identities, key
from artifact_checks.suite import count_words

FIRST, SECOND = "mixed/documents/a.jsonl.gz:1", "mixed/documents/a.jsonl.gz:2"
HELD_OUT = f"is held out: 'v1' of 'wiki', wiki/val/val-00000000.jsonl.gz:1, has {THIRTEEN!r}"


def complaints(check: Check, folder: Path) -> list[str]:
    """What the check of a recipe's folder complains of; its artifacts by themselves are good."""
    status, lines = check(folder)
    failed = [line for line in lines if line.startswith("failed: ")]
    found = [line.removeprefix(f"{folder}/") for line in lines if not line.startswith(("ok: ", "failed: "))]
    assert all(line.startswith(f"failed: recipe {folder} (") for line in failed), lines
    assert (status, len(failed)) == ((1, 1) if found else (0, 0))
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        (" - — … 🙂 | ", 0),
        ("Don't can’t", 2),
        ("3.14 and 1,000,000", 3),
        ("state-of-the-art", 4),
        ("snake_case x+y", 3),
        ("naïve cafe\u0301", 2),
        ("日本", 2),
        ("example.com, a@b.c", 3),
        (THIRTEEN, 13),
        (TWELVE, 12),
    ],
)
def test_words_are_those_of_unicode_s_annex_29_that_hold_a_letter_or_digit(text: str, words: int) -> None:
    assert count_words(text) == words


def test_a_good_folder_is_recognised_beside_its_artifacts(check: Check, tmp_path: Path) -> None:
    folder = recipe(tmp_path)

    status, lines = check(folder)

    assert status == 0
    assert lines == [
        f"ok: recipe {folder} (3 stages, 1 held-out lines and 4 documents not in 3 of training)",
        f"ok: decontamination_set {folder}/decontamination (1 paragraphs, 4 documents)",
        f"ok: documents {folder}/mixed (3 rows)",
        f"ok: suite {folder}/suite (3 documents, 4 held out)",
    ]
    assert check(folder / "recipe.json") == (0, lines[:1])


@pytest.mark.parametrize("text", [THIRTEEN, f"Before\n\t {THIRTEEN} \r\nafter"], ids=["alone", "among others"])
def test_a_held_out_line_in_training_is_found(text: str, check: Check, tmp_path: Path) -> None:
    found = complaints(check, recipe(tmp_path, text))

    assert found == [f"{SECOND}: a line of the training document 'a1' {HELD_OUT}"]


def test_a_held_out_line_in_many_documents_is_named_once(check: Check, tmp_path: Path) -> None:
    folder = recipe(tmp_path, THIRTEEN)
    more = [{"id": f"n{k}", "text": f"{THIRTEEN}\n{THIRTEEN}", "source": "web"} for k in range(3)]
    write_rows(folder / "mixed/documents/b.jsonl", more)

    _, lines = check(folder / "recipe.json")

    assert [line for line in lines if THIRTEEN in line] == [
        f"{folder}/{SECOND}: a line of the training document 'a1' and of 3 more {HELD_OUT}"
    ]


@pytest.mark.parametrize(
    "text", [THIRTEEN + " x", THIRTEEN.lower(), THIRTEEN.replace(" ", "\n"), f"\u200b{THIRTEEN}", TWELVE]
)
def test_other_lines_and_shorter_ones_may_stand_in_training(text: str, check: Check, tmp_path: Path) -> None:
    assert complaints(check, recipe(tmp_path, text)) == []


def test_a_line_with_the_hash_of_a_held_out_one_hides_none_and_is_none(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def length_of_lines(*parts: str) -> int:
        return key(*parts) if len(parts) > 1 else len(parts[0])

    monkeypatch.setattr("artifact_checks.identities.key", length_of_lines)
    monkeypatch.setattr("artifact_checks.contamination.key", length_of_lines)
    equal = THIRTEEN.upper()

    assert complaints(check, recipe(tmp_path / "one", equal)) == []
    found = complaints(check, recipe(tmp_path / "two", f"{equal}\n{THIRTEEN}\n{THIRTEEN.title()}"))
    assert found == [f"{SECOND}: a line of the training document 'a1' {HELD_OUT}"]


def test_lines_of_exempt_sources_may_stand_in_training(check: Check, tmp_path: Path) -> None:
    assert complaints(check, recipe(tmp_path, THIRTEEN, exempt=("wiki",))) == []
    assert len(complaints(check, recipe(tmp_path / "other", THIRTEEN, exempt=("code",)))) == 1


def test_without_a_decontamination_set_nothing_is_exempt(check: Check, tmp_path: Path) -> None:
    folder = recipe(tmp_path, THIRTEEN, exempt=("wiki",))
    shutil.rmtree(folder / "decontamination")
    shutil.rmtree(folder / ".recipe")

    assert complaints(check, folder) == [f"{SECOND}: a line of the training document 'a1' {HELD_OUT}"]


def test_the_set_s_minimum_of_words_holds(check: Check, tmp_path: Path) -> None:
    folder = recipe(tmp_path)
    shutil.rmtree(folder / ".recipe")
    edit_json(folder / "decontamination/manifest.json", lambda m: m["rule"].update(minimum_words=12))

    (found,) = complaints(check, folder)

    assert found.startswith(f"{FIRST}: a line of the training document 'b1' is held out: 'v1' of 'wiki'")


@pytest.mark.parametrize("name", ["v1", "u1"], ids=["of a split", "of a group"])
def test_a_held_out_document_in_training_is_found_even_of_an_exempt_source(
    name: str, check: Check, tmp_path: Path
) -> None:
    folder = recipe(tmp_path, identity=("wiki", name), exempt=("wiki",))

    assert complaints(check, folder) == [f"{SECOND}: the training document {name!r} of 'wiki' is held out"]


def test_the_same_id_of_another_source_is_another_document(check: Check, tmp_path: Path) -> None:
    assert complaints(check, recipe(tmp_path, identity=("web", "v1"))) == []


WHITE = ("", " ", "\t\u00a0", "\u3000\r", "\x0b\x1f")
AROUND: tuple[tuple[str, ...], ...] = ((), ("",), ("short", ""), (TWELVE, f"{THIRTEEN} x"))


def test_a_planted_line_is_found_whatever_stands_around_it() -> None:
    held_out = Identities()
    held_out.add(THIRTEEN)
    for before, after, left, right in product(AROUND, AROUND, WHITE, WHITE):
        found: dict[str, Found] = {}
        text = "\n".join([*before, f"{left}{THIRTEEN}{right}", *after])

        look_up({"id": "d", "text": text}, Path("f"), 1, held_out, len(THIRTEEN), found)

        assert found == {THIRTEEN: Found(Path("f"), 1, "d")}, text


def test_a_run_that_has_not_finished_is_a_problem(check: Check, tmp_path: Path) -> None:
    folder = recipe(tmp_path)
    edit_json(folder / "recipe.json", lambda log: log.update(finished=None))

    assert complaints(check, folder) == ["recipe.json: the run has not finished; the last stage that did is mix"]


def test_a_stage_that_was_begun_again_is_a_problem(check: Check, tmp_path: Path) -> None:
    folder = recipe(tmp_path)
    write_json(folder / ".recipe/mix.json", {"begun": "other"})

    assert complaints(check, folder) == [".recipe/mix.json: the stage mix was begun and has not finished"]


def test_what_a_stage_wrote_has_to_be_there_unchanged(check: Check, tmp_path: Path) -> None:
    folder = recipe(tmp_path)
    shutil.rmtree(folder / "decontamination")
    edit_json(folder / "mixed/funnel.json", lambda funnel: funnel.update(replaced_spans={"rule": 1}))

    assert complaints(check, folder) == [
        "decontamination: the stage decontamination-set wrote this, but it is missing",
        "mixed: not as the stage mix left it",
    ]


def test_a_folder_may_be_moved_and_gain_provenance(check: Check, tmp_path: Path) -> None:
    folder = recipe(tmp_path).rename(tmp_path / "elsewhere")
    write(folder / "suite/wiki.partial/half", b"x")
    write(folder / "mixed/provenance/20260101T000000-mix-0123abcd.json.partial", b"{")
    assert complaints(check, folder) == []

    edit_json(folder / "mixed/funnel.json", lambda funnel: funnel.update(replaced_spans={"rule": 1}))

    assert complaints(check, folder) == ["mixed: not as the stage mix left it"]


def test_what_was_made_from_another_suite_is_a_problem(check: Check, tmp_path: Path) -> None:
    folder = recipe(tmp_path)
    shutil.rmtree(folder / ".recipe")
    edit_json(folder / "decontamination/manifest.json", lambda m: m.update(suite_digest="sha256:" + "0" * 64))

    (found,) = complaints(check, folder)

    assert found.startswith(
        f"decontamination/manifest.json: suite_digest is 'sha256:{'0' * 64}', but the content gives"
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "missing"), (b"{", "not valid JSON"), (b"{}", "'recipe' is a required property")],
    ids=["gone", "cut", "empty"],
)
def test_a_log_that_is_gone_or_damaged_is_a_problem(
    content: bytes | None, complaint: str, check: Check, tmp_path: Path
) -> None:
    folder = recipe(tmp_path, THIRTEEN)
    (folder / "recipe.json").unlink()
    if content is not None:
        write(folder / "recipe.json", content)

    found = complaints(check, folder)

    assert found[0].startswith("recipe.json: ")
    assert complaint in found[0]
    assert found[1:] == [f"{SECOND}: a line of the training document 'a1' {HELD_OUT}"]


def test_other_recipes_stay_unrecognised(check: Check, tmp_path: Path) -> None:
    write_json(tmp_path / "recipe.json", {"recipe": "soup", "ingredients": ["water"]})

    assert check(tmp_path) == (2, [])


def test_training_documents_are_streamed(tmp_path: Path) -> None:
    """20 MB of training documents, and a process that may use little more than its libraries."""
    folder = recipe(tmp_path)
    text = "a word and another one. " * 40
    for number in range(10):
        rows = [{"id": f"{number}-{k}", "text": f"{k}{text}\n{text}{k}", "source": "s"} for k in range(1_000)]
        write_rows(folder / f"mixed/documents/{number}.jsonl", rows)
    imports = "from pathlib import Path; import artifact_checks.contamination as c; import artifact_checks.report as r"
    code = f"o = Path({str(folder)!r}); print(c.check_contamination(o / 'suite', o / 'mixed', 13, set(), r.Report()))"

    lines, grown = growth(imports, code)

    assert lines == ["1 held-out lines and 4 documents not in 10,003 of training"]
    assert grown < 8_000  # KiB; the documents alone are 19,000
