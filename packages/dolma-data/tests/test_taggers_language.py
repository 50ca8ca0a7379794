"""Languages of documents and paragraphs: fastText's model, and the libraries that are optional."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from dolma_data.batch import Batch, TooManySpansError
from dolma_data.classifiers.models import Classifier
from dolma_data.errors import UserError
from dolma_data.taggers import TaggerOptions, all_differences, find_tagger, language_libraries, tagger_names

GERMAN = "Die Kinder gingen zur Schule und lernten viele neue Dinge über die Welt."
ENGLISH = "The children went to school and learnt many new things about the world."
MIXED = f"{ENGLISH}\n\n{GERMAN}\n"
MALAY = "Semua orang dilahirkan bebas dan sama rata dari segi maruah dan hak-hak mereka di dunia ini."
Found = dict[str, list[tuple[int, int, float]]]


def scores_of(name: str, text: str, differences: Iterable[str] = ()) -> Found:
    batch = Batch([{"id": "1", "text": "before"}, {"id": "2", "text": text}])
    found: Found = {}
    for spans in find_tagger(name).prepare(TaggerOptions(differences=frozenset(differences))).score(batch):
        columns = (spans.documents, spans.starts, spans.ends, spans.scores)
        for document, start, end, score in zip(*(column.tolist() for column in columns), strict=True):
            if document == 1:
                found.setdefault(spans.type, []).append((start, end, score))
    return found


def test_english_of_paragraphs_and_of_the_document_as_their_mean():
    found = scores_of("ft_lang_id_en_paragraph_with_doc_score_v2", MIXED)
    first, second = found["en"]
    assert (first[:2], second[:2]) == ((0, 72), (73, 146))
    assert first[2] > 0.9 > 0.1 > second[2]
    assert [score for _, _, score in found["not_en"]] == [1 - first[2], 1 - second[2]]
    mean = (72 * first[2] + 73 * second[2]) / 146
    assert found["doc_en"] == [(0, 146, pytest.approx(mean))]
    assert found["doc_not_en"] == [(0, 146, pytest.approx(1 - mean))]
    assert scores_of("ft_lang_id_en_paragraph_v2", MIXED) == {kind: found[kind] for kind in ("en", "not_en")}


def test_an_empty_text_is_in_no_language_of_its_paragraphs():
    found = scores_of("ft_lang_id_en_paragraph_with_doc_score_v2", "")
    assert found == {"doc_en": [(0, 0, 0.0)], "doc_not_en": [(0, 0, 0.0)]}


def test_every_language_of_a_document_and_those_worth_noting():
    found = scores_of("ft_lang_id_doc_v1", GERMAN)
    assert found["de"][0][2] > 0.9
    assert sum(score for ((_, _, score),) in found.values()) == pytest.approx(1.0, abs=0.005)
    worth = scores_of("ft_lang_id_1e2", GERMAN)
    assert worth == {kind: [(0, 72, round(spans[0][2], 2))] for kind, spans in found.items() if spans[0][2] > 0.01}
    assert scores_of("ft_lang_id_en_only_v2", GERMAN) == {"en": found["en"]}
    danish = scores_of("ft_lang_id_1e2", "Kan du sige det")  # Norwegian 0.018, Dutch 0.014; Nynorsk and German 0.009
    assert {kind: score for kind, ((_, _, score),) in danish.items()} == {"da": 0.7, "sv": 0.23, "no": 0.02, "nl": 0.01}


def test_languages_of_paragraphs():
    found = scores_of("ft_lang_id_paragraph_v1", MIXED)
    assert [span[:2] for span in found["de"]] == [(0, 72), (73, 146)]
    assert found["en"][0][2] > 0.9
    assert found["de"][1][2] > 0.9


def test_paragraphs_are_scored_some_at_a_time_with_the_same_values(monkeypatch: pytest.MonkeyPatch):
    text = "\n".join([GERMAN, "12 34", ENGLISH, "", MALAY] * 3)
    names = ("ft_lang_id_paragraph_v1", "ft_lang_id_en_paragraph_with_doc_score_v2")
    whole = [scores_of(name, text) for name in names]
    for module in ("pieces", "classifiers.models"):
        monkeypatch.setattr(f"dolma_data.{module}.PART_PIECES", 2)
    assert [scores_of(name, text) for name in names] == whole


def test_languages_of_a_document_whose_row_would_be_too_large_are_given_up_early(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dolma_data.batch.MAX_LINE_BYTES", 1 << 20)
    monkeypatch.setattr("dolma_data.pieces.PART_PIECES", 1 << 10)
    seen = []
    score = Classifier.scores
    monkeypatch.setattr(Classifier, "scores", lambda self, *args, **more: seen.append(1) or score(self, *args, **more))
    with pytest.raises(TooManySpansError, match="its row of attributes has more than 1 MiB") as caught:
        scores_of("ft_lang_id_paragraph_v1", f"{GERMAN}\n" * 10_000)
    assert caught.value.document == 1
    assert len(seen) < 4


def test_case_makes_no_difference_to_fasttext():
    assert scores_of("ft_lang_id_doc_v1", GERMAN.upper()) == scores_of("ft_lang_id_doc_v1", GERMAN.lower())


def test_codes_of_cld2_and_the_names_that_dolma_takes_for_them():
    pytest.importorskip("pycld2", reason="the optional dependency cld2")
    assert scores_of("cld2_doc_v2", GERMAN) == {"de": [(0, 72, 0.98)]}
    assert scores_of("cld2_doc_v2", GERMAN, all_differences()) == {
        "ge": [(0, 72, 0.98)],
        "un": [(0, 72, 0.0), (0, 72, 0.0)],
    }
    assert list(scores_of("cld2_doc_v2", MALAY)) == ["ms"]
    assert scores_of("cld2_paragraph_v2", MIXED) == {"en": [(0, 72, 0.98)], "de": [(73, 146, 0.98)]}
    assert scores_of("cld2_en_doc_v2", GERMAN) == {"en": [(0, 72, 0.0)], "not_en": [(0, 72, 1.0)]}
    assert scores_of("cld2_en_paragraph_v2", MIXED)["en"] == [(0, 72, 0.98), (73, 146, 0.0)]
    found = scores_of("cld2_en_paragraph_with_doc_score_v2", MIXED)
    assert found["doc_en"] == [(0, 146, pytest.approx(72 * 0.98 / 146))]


def test_text_that_cld2_refuses_is_read_without_what_it_refuses():
    pytest.importorskip("pycld2", reason="the optional dependency cld2")
    assert scores_of("cld2_doc_v2", "\x01" + GERMAN) == {"de": [(0, 73, 0.98)]}


def test_languages_by_langdetect():
    pytest.importorskip("langdetect", reason="the optional dependency langdetect")
    first, second = scores_of("langdetect_en_paragraph_v1", MIXED)["en"]
    assert first[2] > 0.9 > 0.1 > second[2]
    found = scores_of("langdetect_doc_en_v1", GERMAN)
    assert found["not_en"][0][2] == 1 - found["en"][0][2]
    every = scores_of("langdetect_doc_v1", GERMAN)
    assert list(every) == ["de"]
    assert scores_of("langdetect_doc_v1", GERMAN) == every
    assert scores_of("langdetect_paragraph_v1", MIXED)["de"][0][:2] == (73, 146)
    assert scores_of("langdetect_doc_v1", " 12 \n") == {}


class Detector:
    """Stands for lingua's, whose models take half a minute to load: three languages for every text."""

    def compute_language_confidence_values(self, text: str) -> list[SimpleNamespace]:
        values = {"DE": 0.904, "NL": 0.087, "DA": 0.009}
        if "children" in text:
            values["EN"] = 0.75
        return [
            SimpleNamespace(value=value, language=SimpleNamespace(iso_code_639_1=SimpleNamespace(name=code)))
            for code, value in values.items()
        ]


def test_languages_by_lingua(monkeypatch):
    monkeypatch.setattr(language_libraries, "_lingua_detector", Detector)
    every = {"da": [(0, 72, 0.009)], "de": [(0, 72, 0.904)], "nl": [(0, 72, 0.087)]}
    assert scores_of("lingua_doc_v1", GERMAN) == every
    assert scores_of("lingua_1e2", GERMAN) == {"de": [(0, 72, 0.9)], "nl": [(0, 72, 0.09)]}
    assert scores_of("lingua_en_only_v1", GERMAN) == {"en": [(0, 72, 0.0)]}
    assert scores_of("lingua_doc_en_v1", ENGLISH) == {"en": [(0, 71, 0.75)], "not_en": [(0, 71, 0.25)]}
    assert scores_of("lingua_en_par_v1", MIXED)["en"] == [(0, 72, 0.75), (73, 146, 0.0)]
    assert scores_of("lingua_par_v1", MIXED)["de"] == [(0, 72, 0.904), (73, 146, 0.904)]


def test_lingua_looks_at_the_beginning_of_a_giant_text(monkeypatch):
    monkeypatch.setattr(language_libraries, "_lingua_detector", Detector)
    monkeypatch.setattr(language_libraries, "LONGEST_TEXT", len("The childr"))
    assert scores_of("lingua_en_only_v1", ENGLISH) == {"en": [(0, 71, 0.0)]}
    assert scores_of("lingua_en_only_v1", ENGLISH, ["lingua-giant-texts"]) == {"en": [(0, 71, 0.75)]}


def test_cld2_looks_at_the_beginning_of_a_giant_text(monkeypatch):
    pytest.importorskip("pycld2", reason="the optional dependency cld2")
    monkeypatch.setattr(language_libraries, "LONGEST_TEXT", 73)
    assert list(scores_of("cld2_doc_v2", MIXED)) == ["en"]
    assert set(scores_of("cld2_doc_v2", MIXED, ["cld2-giant-texts"])) == {"en", "de"}


def test_guesses_of_paragraphs_are_given_up_where_their_row_would_be_too_large(monkeypatch):
    monkeypatch.setattr(language_libraries, "_lingua_detector", Detector)
    monkeypatch.setattr(language_libraries, "PART_PIECES", 2)
    text = f"{GERMAN}\n" * 5
    assert [span[:2] for span in scores_of("lingua_par_v1", text)["nl"]] == [(73 * k, 73 * k + 73) for k in range(5)]
    monkeypatch.setattr("dolma_data.batch.MAX_LINE_BYTES", 100)
    with pytest.raises(TooManySpansError, match="its row of attributes") as caught:
        scores_of("lingua_par_v1", text)
    assert caught.value.document == 1


@pytest.mark.parametrize(("name", "module"), [("cld2_doc_v2", "pycld2"), ("lingua_1e2", "lingua")])
def test_a_library_that_is_missing_is_named_with_what_installs_it(monkeypatch, name, module):
    language_libraries._lingua_detector.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"pip install 'dolma-data\[\w+\]'"):
        find_tagger(name).prepare(TaggerOptions())


def test_cld3_is_refused_by_name_with_the_reason():
    for name in ("cld3_en_doc_v2", "cld3_en_paragraph_v2", "cld3_en_paragraph_with_doc_score_v2"):
        assert name not in tagger_names()
        with pytest.raises(UserError, match="without a compiler"):
            find_tagger(name)
