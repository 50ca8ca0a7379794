"""fastText files and their scores: equal to the library's own, and to small models worked out by hand."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dolma_data.batch import Batch
from dolma_data.classifiers.catalogue import packaged_language_model
from dolma_data.classifiers.fasttext_file import FastTextModel, FastTextSettings, read_fasttext, write_fasttext
from dolma_data.classifiers.models import load_classifier, prepare_classifier
from dolma_data.errors import UserError
from dolma_data.kernels.lowercase import GROWTH, lowercase, lowercase_tables
from dolma_data.pieces import paragraphs, sentences, whole_texts

LANGUAGES = packaged_language_model()
assert LANGUAGES is not None


def batch_of(*texts: str) -> Batch:
    return Batch([{"id": str(at), "text": text} for at, text in enumerate(texts)])


def model_of(
    words: list[str], rows: list[list[float]], outputs: list[list[float]], **settings: object
) -> FastTextModel:
    encoded = [word.encode() for word in words]
    offsets = np.concatenate([[0], np.cumsum([len(word) for word in encoded])]).astype(np.int64)
    chosen = {"word_ngrams": 1, "loss": "softmax", "buckets": 0, "min_characters": 0, "max_characters": 0, **settings}
    return FastTextModel(
        settings=FastTextSettings(dimension=len(rows[0]), **chosen),  # type: ignore[arg-type]
        words=np.frombuffer(b"".join(encoded), dtype=np.uint8),
        word_offsets=offsets,
        labels=tuple(f"__label__{at}" for at in range(len(outputs))),
        label_counts=np.arange(len(outputs), 0, -1, dtype=np.int64),
        inputs=np.array(rows, dtype=np.float32),
        outputs=np.array(outputs, dtype=np.float32),
        pruned=np.zeros(0, dtype=np.int32),
    )


def scores_of(model: FastTextModel, *texts: str, lower: bool = False) -> np.ndarray:
    batch = batch_of(*texts)
    return prepare_classifier(model, "").scores(batch.buffer, whole_texts(batch), lower=lower)


@cache
def library_model() -> object:
    fasttext = pytest.importorskip("fasttext", reason="the fastText library, against which ours is compared")
    return fasttext.load_model(str(LANGUAGES))


def library_scores(library: object, labels: tuple[str, ...], texts: list[str]) -> np.ndarray:
    scores = np.zeros((len(texts), len(labels)))
    places = {label: at for at, label in enumerate(labels)}
    for row, text in enumerate(texts):
        line = text.lower().replace("\n", " ").strip() + "\n"
        for score, label in library.f.predict(line, -1, 0.0, "strict"):  # type: ignore[attr-defined]
            scores[row, places[label.removeprefix("__label__")]] = score
    return scores


def check_against_library(texts: list[str], tolerance: float) -> None:
    classifier = load_classifier(LANGUAGES)
    batch = batch_of(*texts)
    found = classifier.scores(batch.buffer, whole_texts(batch), lower=True)
    expected = library_scores(library_model(), classifier.labels, texts)
    # The library leaves out labels below 0.00001; at that edge rounding decides.
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    english = classifier.scores_of("en", batch.buffer, whole_texts(batch), lower=True)
    np.testing.assert_array_equal(english, found[:, classifier.labels.index("en")])


def test_scores_of_a_model_worked_out_by_hand():
    model = model_of(["a", "b"], [[1.0], [4.0]], [[2.0], [0.0]])
    odds = np.exp(2.0 * np.array([1.0, 4.0, 2.0]))  # the averages 1, 4 and (1 + 1 + 4) / 3, times 2 against 0
    found = scores_of(model, "a", "b unknown", "a\nb a", "unknown", "")
    np.testing.assert_allclose(found[:3, 0], odds / (1 + odds) + 1e-5, rtol=1e-6)
    assert found[3:].tolist() == [[0, 0], [0, 0]]  # nothing known, nothing said


def test_the_end_of_a_line_is_a_word_and_ends_it_where_it_is_spelt_out():
    model = model_of(["</s>", "a"], [[3.0], [1.0]], [[1.0], [0.0]])
    averages = np.array([2.0, 3.0, 2.0])
    found = scores_of(model, "a", "", "a </s> a a a a")
    np.testing.assert_allclose(found[:, 0], 1 / (1 + np.exp(-averages)) + 1e-5, rtol=1e-6)


def test_independent_labels_take_their_own_probability():
    model = model_of(["a"], [[1.0]], [[9.0], [-9.0], [0.0]], loss="ova")
    assert scores_of(model, "a")[0] == pytest.approx([1.00001, 0.00001, 0.50001], abs=1e-7)


def test_labels_in_the_text_are_not_read():
    model = model_of(["a"], [[1.0]], [[1.0], [0.0]])
    assert scores_of(model, "a __label__0 __label__other").tolist() == scores_of(model, "a").tolist()


@given(st.text(st.characters(codec="utf-8"), max_size=30))
@example("ΑΣ ΣΑ Σ Α.Σ.Β Α.Σ. Α'Σ' ΟΔΟΣ")
@example("İstanbul ȺȺȺ 𐐀 ẞ Ⅷ \U000e0041Σ")
def test_lower_case_is_that_of_python(text):
    encoded = text.encode()
    buffer = np.frombuffer(encoded, dtype=np.uint8)
    output = np.zeros(GROWTH * len(encoded) + 1, dtype=np.uint8)
    end = lowercase(buffer, 0, len(buffer), *lowercase_tables(), output, 0)
    assert output[:end].tobytes().decode() == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "The children went to school by bus.",
        "DIE KINDER\nGINGEN\tZUR\rSCHULE.",
        "ΟΔΥΣΣΕΑΣ ΣΟΦΟΣ İSTANBUL'DA",
        "Это предложение написано по-русски.",
        "\u00a0日本語の文章です。\u3000",
        "</s> the rest is not read",
        "__label__en ist ein Wort wie andere __label__nonsense",
        "a\x00b\x0bc\x0cd\x1ce\u2028f",
        "x" * 5000,
        "😀 ẞ ǅ \U0010ffff",
    ],
)
def test_languages_are_those_of_the_library(text):
    check_against_library([text], tolerance=1e-5)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=60), max_size=5))
def test_languages_of_any_texts_are_those_of_the_library(texts):
    check_against_library(texts, tolerance=1.1e-5)


def test_languages_of_real_sentences_are_those_of_the_library():
    folder = os.environ.get("DATA_DIR")
    if folder is None:
        pytest.skip("DATA_DIR is not set: no real sentences")
    with gzip.open(Path(folder) / "classifiers/langid/langid.jsonl.gz") as stream:
        texts = [json.loads(line)["text"] for line in stream]
    assert len(texts) == 19_736
    check_against_library(texts, tolerance=1.1e-5)


def test_scores_do_not_depend_on_what_stands_beside():
    classifier = load_classifier(LANGUAGES)
    texts = ["The children went to school.", "Die Kinder gingen zur Schule.", "Die Kinder", ""] * 3
    batch = batch_of(*texts)
    together = classifier.scores(batch.buffer, whole_texts(batch), lower=True)
    for row, text in zip(together, texts, strict=True):
        alone = batch_of(text)
        np.testing.assert_array_equal(classifier.scores(alone.buffer, whole_texts(alone), lower=True)[0], row)


def test_scores_do_not_depend_on_what_was_read_before():
    model = read_fasttext(LANGUAGES)
    used, pieces = prepare_classifier(model, ""), "The Children Went to School. " + "x" * 30
    batch, other = batch_of(pieces), batch_of("Die Kinder. the children went " * 50)
    for lower in (True, False):
        fresh = prepare_classifier(model, "").scores(batch.buffer, whole_texts(batch), lower=lower)
        used.scores(other.buffer, whole_texts(other), lower=not lower)
        for _ in range(2):
            np.testing.assert_array_equal(used.scores(batch.buffer, whole_texts(batch), lower=lower), fresh)


@pytest.mark.parametrize("loss", ["softmax", "hs", "ova", "ns"])
def test_a_written_model_is_read_as_it_was(tmp_path, loss):
    settings = {"loss": loss, "buckets": 7, "min_characters": 2, "max_characters": 3, "word_ngrams": 2}
    rows = np.arange(2 * 9).reshape(9, 2).tolist()
    model = model_of(["</s>", "wörd"], rows, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], **settings)
    stream = io.BytesIO()
    write_fasttext(stream, model, [5, 3])
    path = tmp_path / "model.bin"
    path.write_bytes(stream.getvalue())
    read = read_fasttext(path)
    assert read.settings == model.settings
    assert read.words.tobytes() == "</s>wörd".encode()
    assert read.labels == model.labels
    np.testing.assert_array_equal(read.inputs, model.inputs)
    np.testing.assert_array_equal(read.outputs, model.outputs)
    fasttext = pytest.importorskip("fasttext", reason="the fastText library, which has to read our files")
    library = {label: score for score, label in fasttext.load_model(str(path)).f.predict("wörd x\n", -1, 0, "strict")}
    ours = scores_of(read, "wörd x")[0]
    assert ours == pytest.approx(
        [library.get(label, 0.0) for label in model.labels], abs=2e-3 if loss == "ns" else 1e-5
    )


def test_a_model_that_is_cut_off_anywhere_is_refused(tmp_path):
    content = LANGUAGES.read_bytes()
    path = tmp_path / "cut.ftz"
    for size in [1, 4, 8, 60, 100, 5_000, 200_000, 500_000, len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match="fastText model"):
            read_fasttext(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello, world", "not a fastText model"),
        (struct.pack("<2i", 793712314, 99) + bytes(64), "version 99"),
        (struct.pack("<2i12id", 793712314, 12, 4, 5, 1, 1, 5, 1, 3, 2, 0, 0, 0, 100, 0.1) + bytes(64), "word vectors"),
    ],
)
def test_what_is_no_classifier_is_refused(tmp_path, content, message):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_fasttext(path)


@given(st.lists(st.text(st.sampled_from("ab \n\t\x1c\u00a0\u3000é日"), max_size=12), max_size=4))
def test_paragraphs_are_lines_with_their_newline_that_are_not_blank(texts):
    batch = batch_of(*texts)
    pieces = paragraphs(batch)
    expected = []
    for document, text in enumerate(texts):
        at = 0
        for line in text.split("\n"):
            end = min(at + len(line) + 1, len(text))
            if line.strip():
                expected.append((document, at, end, line.strip()))
            at = end
    places = zip(pieces.byte_starts.tolist(), pieces.byte_ends.tolist(), strict=True)
    read = [batch.text_of(start, end) for start, end in places]
    columns = (pieces.documents.tolist(), pieces.starts.tolist(), pieces.ends.tolist(), read)
    assert list(zip(*columns, strict=True)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Hello world. This is. A new one!\n\nNew",
        "ünï. Ça va? 日本。語です。",
        "\u00a0x. 😀😀 ok. Yes 😀",
        "A\x00b. C d.",
        "one",
    ],
)
def test_sentences_are_those_of_blingfire(text):
    blingfire = pytest.importorskip("blingfire", reason="the optional library that finds sentences")
    pieces = sentences(batch_of("before.", text))
    places = zip(pieces.documents.tolist(), pieces.starts.tolist(), pieces.ends.tolist(), strict=True)
    found = [(start, end) for document, start, end in places if document == 1]
    assert found == blingfire.text_to_sentences_and_offsets(text)[1]


def test_blank_texts_have_no_sentences():
    pytest.importorskip("blingfire", reason="the optional library that finds sentences")
    assert len(sentences(batch_of("", " \n \u00a0 "))) == 0
