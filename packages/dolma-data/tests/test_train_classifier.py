"""``train-classifier``: from labelled lines to a tagger, and what its report says."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_data.classifiers.report import f1, make_report, threshold_curve, wilson
from dolma_data.classifiers.training import Example, split_examples, train_classifier
from dolma_data.config.train_classifier import ClassifierSettings, TrainClassifierConfig
from dolma_data.errors import UserError
from dolma_data.files import digest_file

np = pytest.importorskip("numpy")
GREEK = "αβγδεζηθικλμ"
LATIN = "abcdefghijkl"
SMALL = ClassifierSettings(dimension=4, buckets=4096, epochs=20)


def words_of(alphabet: str, at: int) -> str:
    return " ".join(alphabet[at % len(alphabet) :][:3] + alphabet[(at * k) % len(alphabet)] for k in range(1, 5))


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "examples.jsonl"
    rows = [
        {"text": f"{words_of(alphabet, at)} n{at}", "label": label}
        for at in range(200)
        for alphabet, label in ((GREEK, "greek"), (LATIN, "latin"))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config_of(documents: Path, output: Path, **more: object) -> TrainClassifierConfig:
    return TrainClassifierConfig(documents=(str(documents),), output=output, settings=SMALL, **more)  # type: ignore[arg-type]


def test_two_alphabets_are_told_apart_and_the_model_is_a_tagger_at_once(dolma, labelled, tmp_path, capsys):
    assert (
        dolma("train-classifier", "--documents", labelled, "--output", tmp_path / "script", "--settings.buckets", 4096)
        == 0
    )
    assert capsys.readouterr().out.startswith("accuracy 1.000 (0.")
    report = json.loads((tmp_path / "script/report.json").read_bytes())
    assert report["accuracy"]["value"] == 1.0
    documents = tmp_path / "corpus/documents/a.jsonl"
    documents.parent.mkdir(parents=True)
    documents.write_text(json.dumps({"id": "1", "text": "abc def\nβγδ εζη", "source": "s"}) + "\n")
    script = tmp_path / "script"
    names = [f"fasttext:{script}", f"fasttext_paragraphs:lines={script}", f"fasttext:file={script}/model.bin"]
    assert dolma("tag", "--documents", tmp_path / "corpus", "--taggers", *names) == 0
    rows = {
        name: json.loads((tmp_path / f"corpus/attributes/{name}/a.jsonl").read_bytes())
        for name in ("script", "lines", "file")
    }
    (whole,) = rows["script"]["attributes"]["script__script__greek"]
    assert whole[:2] == [0, 15]
    assert rows["file"]["attributes"]["file__file__greek"] == [whole]
    latin, greek = rows["lines"]["attributes"]["lines__lines__greek"]
    assert (latin[:2], greek[:2]) == ([0, 8], [8, 15])
    assert latin[2] < 0.1 < 0.9 < greek[2]
    manifest = json.loads((tmp_path / "corpus/attributes/script/manifest.json").read_bytes())
    assert manifest["taggers"][0]["digest"] == digest_file(script / "model.bin")


def test_the_library_gives_what_we_do_with_a_model_of_ours(labelled, tmp_path):
    fasttext = pytest.importorskip("fasttext", reason="the fastText library, which has to read our files")
    from dolma_data.batch import Batch
    from dolma_data.classifiers.models import load_classifier
    from dolma_data.pieces import whole_texts

    train_classifier(config_of(labelled, tmp_path / "model"))
    classifier = load_classifier(tmp_path / "model/model.bin")
    library = fasttext.load_model(str(tmp_path / "model/model.bin"))
    texts = ["abc bcd", "βγδ unknown εζη", "", "a"]
    batch = Batch([{"text": text} for text in texts])
    for row, text in zip(classifier.scores(batch.buffer, whole_texts(batch)), texts, strict=True):
        expected = {
            label.removeprefix("__label__"): score for score, label in library.f.predict(text + "\n", -1, 0.0, "strict")
        }
        assert dict(zip(classifier.labels, row, strict=True)) == pytest.approx(expected, abs=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(labelled, tmp_path):
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_classifier(config_of(labelled, tmp_path / name, seed=seed))
        digests.append(digest_file(tmp_path / name / "model.bin"))
    assert digests[0] == digests[1] != digests[2]


def test_sources_of_documents_are_labels_too(tmp_path):
    path = tmp_path / "documents/a.jsonl"
    path.parent.mkdir()
    sources = {"wiki": LATIN, "news": LATIN, "forum": GREEK, "other": "xyz"}
    rows = [
        {"id": f"{source}{at}", "text": f"{words_of(alphabet, at)} n{at}", "source": source}
        for source, alphabet in sources.items()
        for at in range(20)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = {"wiki": "good", "news": "good", "forum": "poor"}
    report = train_classifier(config_of(tmp_path, tmp_path / "model", label_field="source", labels=labels))
    assert {label: row["examples"] for label, row in report["labels"].items()} == {"good": 8, "poor": 4}
    (record,) = (tmp_path / "model/provenance").iterdir()
    assert json.loads(record.read_bytes())["counts"] == {"read": 80, "kept": 60, "dropped": 20, "failed": 0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[" * 5000 + "]" * 5000, "nested too deep"),
        ('{"text": "a"}', "no text at label"),
        ('{"text": 1, "label": "x"}', "text is no text"),
        ('{"text": "a", "label": "x y"}', "white space"),
        ('{"text": "a", "label": "x\\u0000y"}', "NUL"),
    ],
)
def test_a_line_without_text_and_label_stops_the_command(labelled, tmp_path, line, message):
    with open(labelled, "a") as stream:
        stream.write(line + "\n")
    with pytest.raises(UserError, match=message):
        train_classifier(config_of(labelled, tmp_path / "model"))
    report = train_classifier(config_of(labelled, tmp_path / "model", max_failed=1))
    assert report["examples"] == 80


def test_settings_that_cannot_work_are_refused(labelled, tmp_path):
    with pytest.raises(UserError, match="no line has the label 'wki'"):
        train_classifier(config_of(labelled, tmp_path / "m", labels={"greek": "a", "latin": "b", "wki": "c"}))
    with pytest.raises(UserError, match="found: greek"):
        train_classifier(config_of(labelled, tmp_path / "m", labels={"greek": "greek"}))
    with pytest.raises(UserError, match="has no held-out example"):
        train_classifier(config_of(labelled, tmp_path / "m", held_out=0.001))
    assert not (tmp_path / "m/model.bin").exists()


@given(
    st.lists(st.tuples(st.sampled_from(["a b", "A  b", "c", "d", "e", "f", "g", "h", "i"]), st.sampled_from("xy"))),
    st.floats(0.1, 0.9),
    st.integers(0, 3),
)
def test_equal_texts_never_stand_on_both_sides(rows, held_out, seed):
    examples = [Example(text, label) for text, label in rows]
    training, testing = split_examples(examples, held_out, seed)
    assert sorted(map(repr, training + testing)) == sorted(map(repr, examples))
    sides = [{" ".join(example.text.lower().split()) for example in side} for side in (training, testing)]
    assert not sides[0] & sides[1]
    backwards = split_examples(examples[::-1], held_out, seed)
    assert {example.text for example in backwards[1]} == {example.text for example in testing} or len(set(rows)) > len(
        {text for text, _ in rows}
    )


def test_the_split_keeps_the_share_of_each_label():
    examples = [Example(f"text {at}", "rare" if at % 10 == 0 else "common") for at in range(1000)]
    _, testing = split_examples(examples, 0.2, 0)
    assert sum(example.label == "rare" for example in testing) == 20
    assert len(testing) == 200


def test_intervals_are_those_of_wilson():
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(2, 4)  # of 3 predicted and 3 actual, 2 are hits: 4 are either
    assert f1(2, 3, 3) == {"value": pytest.approx(2 / 3), "low": 2 * low / (1 + low), "high": 2 * high / (1 + high)}


def test_report_of_four_examples():
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])
    report = make_report(["a", "b"], scores, np.array([0, 0, 1, 1]))
    assert report["accuracy"]["value"] == 0.5
    assert report["confusion"] == {"a": {"a": 1, "b": 1}, "b": {"a": 1, "b": 1}}
    row = report["labels"]["a"]
    assert (row["examples"], row["predicted"], row["hits"]) == (2, 2, 1)
    assert row["precision"]["value"] == row["recall"]["value"] == row["f1"]["value"] == 0.5
    curve = {point["threshold"]: point for point in row["curve"]}
    assert curve[0.4] == {"threshold": 0.4, "precision": 2 / 3, "recall": 1.0, "f1": 0.8, "kept": 0.75}
    assert curve[0.95] == {"threshold": 0.95, "precision": None, "recall": 0.0, "f1": 0.0, "kept": 0.0}
    assert row["best_threshold"]["f1"] == 0.8


def test_a_curve_without_examples_has_no_values():
    assert threshold_curve(np.zeros(0), np.zeros(0, dtype=bool))[0]["precision"] is None


@pytest.mark.parametrize(
    ("file", "field", "floor"),
    [("spam/sms-spam.jsonl.gz", "label", 0.98), ("langid/langid.jsonl.gz", "lang", 0.95)],
)
def test_real_labelled_text_is_learnt(tmp_path, file, field, floor):
    folder = os.environ.get("DATA_DIR")
    if folder is None:
        pytest.skip("DATA_DIR is not set: no labelled text")
    path = tmp_path / "part.jsonl"
    with gzip.open(Path(folder) / "classifiers" / file) as stream:
        path.write_bytes(b"".join(stream.readlines()[::2]))
    config = TrainClassifierConfig(documents=(str(path),), output=tmp_path / "model", label_field=field)
    assert train_classifier(config)["accuracy"]["value"] >= floor


def test_training_that_diverges_gives_no_model(dolma, labelled, tmp_path, capsys):
    options = ("--settings.learning-rate", "1e308", "--settings.epochs", "1", "--settings.buckets", "1000")
    assert dolma("train-classifier", "--documents", labelled, "--output", tmp_path / "model", *options) == 2
    assert "training diverged: the loss is nan" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_a_model_that_no_memory_holds_is_one_line(dolma, labelled, tmp_path, capsys):
    options = ("--settings.buckets", 10**13)
    assert dolma("train-classifier", "--documents", labelled, "--output", tmp_path / "model", *options) == 2
    assert capsys.readouterr().err.startswith("error: not enough memory")
