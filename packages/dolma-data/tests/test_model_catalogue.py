"""Named models: fetched only when asked, checked, recorded; and the taggers that read them, with small models."""

from __future__ import annotations

import http.server
import json
import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dolma_data.batch import Batch
from dolma_data.classifiers import catalogue as model_catalogue
from dolma_data.classifiers.catalogue import MODELS, installed_model, packaged_language_model
from dolma_data.classifiers.fasttext_file import FastTextModel, FastTextSettings, write_fasttext
from dolma_data.errors import UserError
from dolma_data.taggers import TaggerOptions, all_differences, find_tagger


def write_model(path: Path, words: dict[str, list[float]], labels: list[str]) -> Path:
    """Label k gets the softmax of ``4 * mean of words[...][k]``; the end of the line adds nothing but its number."""
    names = ["</s>", *words]
    encoded = [name.encode() for name in names]
    rows = [[0.0] * len(labels), *words.values()]
    model = FastTextModel(
        settings=FastTextSettings(len(labels), 1, "softmax", 0, 0, 0),
        words=np.frombuffer(b"".join(encoded), dtype=np.uint8),
        word_offsets=np.concatenate([[0], np.cumsum([len(name) for name in encoded])]).astype(np.int64),
        labels=tuple(f"__label__{label}" for label in labels),
        label_counts=np.arange(len(labels), 0, -1, dtype=np.int64),
        inputs=np.array(rows, dtype=np.float32),
        outputs=4 * np.eye(len(labels), dtype=np.float32),
        pruned=np.zeros(0, dtype=np.int32),
    )
    with open(path, "wb") as stream:
        write_fasttext(stream, model, [1] * len(names))
    return path


def probability(*sums: float) -> list[float]:
    """Softmax of 4 * mean, plus what the library adds."""
    values = [math.exp(4 * value) for value in sums]
    return [pytest.approx(value / sum(values) + 1e-5, abs=2e-6) for value in values]


def tagged(name: str, model: Path, *texts: str, compat: bool = False) -> list[dict[str, list[tuple[int, int, float]]]]:
    options = TaggerOptions(resources=((name, (model,)),), differences=all_differences() if compat else frozenset())
    batch = Batch([{"id": str(at), "text": text} for at, text in enumerate(texts)])
    found: list[dict[str, list[tuple[int, int, float]]]] = [{} for _ in texts]
    for spans in find_tagger(name).prepare(options).score(batch):
        columns = (spans.documents.tolist(), spans.starts.tolist(), spans.ends.tolist(), spans.scores.tolist())
        for document, start, end, score in zip(*columns, strict=True):
            found[document].setdefault(spans.type, []).append((start, end, score))
    return found


@pytest.fixture
def quality(tmp_path: Path) -> Path:
    return write_model(tmp_path / "quality.bin", {"good": [1, 0], "bad": [0, 1]}, ["hq", "cc"])


@pytest.fixture
def nsfw(tmp_path: Path) -> Path:
    return write_model(tmp_path / "nsfw.bin", {"rude": [1, 0], "kind": [0, 1]}, ["nsfw", "non_nsfw"])


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server on loopback that is the origin of dclm-oh-eli5; yields the folder it serves."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    origin = f"http://127.0.0.1:{server.server_port}/model.bin"
    monkeypatch.setitem(MODELS, "dclm-oh-eli5", replace(MODELS["dclm-oh-eli5"], origin=origin))
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_from_a_file_is_recorded_and_found_by_its_tagger(dolma, quality, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="models get dclm-oh-eli5 --download"):
        find_tagger("dclm-oh-eli5").prepare(TaggerOptions())
    assert dolma("models", "get", "dclm-oh-eli5", "--from", quality) == 0
    path = tmp_path / "cache/dolma-data/models/dclm-oh-eli5.bin"
    assert capsys.readouterr().out == f"{path}\n"
    record = json.loads(path.with_name("dclm-oh-eli5.bin.json").read_bytes())
    assert record["bytes"] == path.stat().st_size
    prepared = find_tagger("dclm-oh-eli5").prepare(TaggerOptions())
    assert prepared.digest == record["digest"]
    assert dolma("models", "list") == 0
    assert f"here: {path}\n    digest: {record['digest']}" in capsys.readouterr().out


def test_another_file_under_a_recorded_name_is_refused(dolma, quality, tmp_path, capsys):
    folder = tmp_path / "models"
    assert dolma("models", "get", "dclm-oh-eli5", "--from", quality, "--folder", folder) == 0
    other = write_model(tmp_path / "other.bin", {"x": [0, 1]}, ["hq", "cc"])
    assert dolma("models", "get", "dclm-oh-eli5", "--from", other, "--folder", folder) == 2
    assert "not the model that its record describes" in capsys.readouterr().err
    assert (folder / "dclm-oh-eli5.bin").read_bytes() == quality.read_bytes()
    content = bytearray(quality.read_bytes())
    content[-1] ^= 1
    (folder / "dclm-oh-eli5.bin").write_bytes(content)
    with pytest.raises(UserError, match="not the model that its record describes"):
        tagged("dclm-oh-eli5", folder / "dclm-oh-eli5.bin", "x")
    (folder / "dclm-oh-eli5.bin").write_bytes(content[:-1])
    with pytest.raises(UserError, match="not the model that its record describes"):
        installed_model("dclm-oh-eli5", folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dclm-oh-eli5", b"<html>not found</html>", "not a fastText model"),
        ("lid.176.bin", b"anything", "not lid.176.bin: the digest is sha256:"),
        ("dclm-oh-elis", b"", "did you mean dclm-oh-eli5?"),
    ],
)
def test_what_is_not_the_model_is_refused_and_leaves_nothing(dolma, tmp_path, capsys, name, content, message):
    (tmp_path / "file").write_bytes(content)
    assert dolma("models", "get", name, "--from", tmp_path / "file", "--folder", tmp_path / "models") == 2
    error = capsys.readouterr().err
    assert message in error
    assert name not in MODELS or f"({tmp_path / 'file'}); get it from {MODELS[name].origin}" in error
    assert not [path for path in tmp_path.rglob("models/*") if path.is_file()]


def test_a_model_without_the_labels_it_must_have_is_refused(dolma, nsfw, tmp_path, capsys):
    assert dolma("models", "get", "dclm-oh-eli5", "--from", nsfw, "--folder", tmp_path / "models") == 2
    assert "it has no label 'cc'" in capsys.readouterr().err


def test_the_network_is_used_when_asked_alone(dolma, quality, served, tmp_path, capsys):
    (served / "model.bin").write_bytes(quality.read_bytes())
    assert dolma("models", "get", "dclm-oh-eli5", "--folder", tmp_path / "models") == 2
    assert "--download to fetch http://127.0.0.1" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
    assert dolma("models", "get", "dclm-oh-eli5", "--download", "--folder", tmp_path / "models") == 0
    assert (tmp_path / "models/dclm-oh-eli5.bin").read_bytes() == quality.read_bytes()


def test_a_failing_download_is_one_line(dolma, served, tmp_path, capsys):
    assert dolma("models", "get", "dclm-oh-eli5", "--download", "--folder", tmp_path / "models") == 2
    assert "cannot be fetched: " in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("models/*") if path.is_file()]


def test_the_packaged_model_is_the_one_whose_digest_is_known(dolma, tmp_path):
    assert dolma("models", "get", "lid.176.ftz", "--from", packaged_language_model(), "--folder", tmp_path) == 0
    assert model_catalogue.installed_model("lid.176.ftz", tmp_path) == tmp_path / "lid.176.ftz"


def test_quality_of_a_text_read_as_one_line(quality):
    good, even, blank = tagged("dclm-oh-eli5", quality, "good\x1cgood\u2028good", "good bad", "")
    assert good == {"score": [(0, 14, probability(3 / 4, 0)[0])]}
    assert even == {"score": [(0, 8, probability(1 / 3, 1 / 3)[0])]}
    assert blank == {"score": [(0, 0, probability(0, 0)[0])]}


def test_poor_quality_is_what_the_better_label_leaves(quality):
    ((_, _, score),) = tagged("dclm-oh-eli5", quality, "bad")[0]["score"]
    low = probability(0, 1 / 2)[1]
    assert 1 - score == low


def test_quality_of_words_between_white_space(tmp_path):
    model = write_model(tmp_path / "m.bin", {"good": [1, 0], "bad": [0, 1]}, ["hq", "lq"])
    found, blank, odd = tagged("dolma17-quality", model, "\u3000good\u00a0good", " \n", "good\x1cgood")
    hq, lq = probability(2 / 3, 0)
    assert found == {"hq": [(0, 10, hq)], "lq": [(0, 10, lq)]}
    assert blank == {}
    assert odd["hq"] == [(0, 9, probability(0, 0)[0])]  # no white space for Unicode: one unknown word


def test_labels_of_a_document_keep_their_prefix(nsfw):
    (found,) = tagged("jigsaw_nsfw_document_v1", nsfw, "rude\nkind rude")
    rude, kind = probability(2 / 4, 1 / 4)
    assert found == {"__label__nsfw": [(0, 14, rude)], "__label__non_nsfw": [(0, 14, kind)]}


def test_labels_of_sentences_and_of_blank_texts(nsfw):
    pytest.importorskip("blingfire", reason="the optional library that finds sentences")
    texts = ["rude . Kind rude.", " \n", "\u3000\n"]
    found, *blank = tagged("jigsaw_nsfw_sencence_v2", nsfw, *texts)
    assert [span[:2] for span in found["__label__nsfw"]] == [(0, 6), (7, 17)]
    assert blank == [{}, {}]
    _, ascii_blank, wide_blank = tagged("jigsaw_nsfw_sencence_v2", nsfw, *texts, compat=True)
    assert ascii_blank["__label__nsfw"] == [(0, 1, probability(0, 0)[0])]
    assert wide_blank["__label__nsfw"] == [(0, 2, probability(0, 0)[0])]


def test_probabilities_above_one_are_allenai_dolmas_alone(tmp_path):
    model = write_model(tmp_path / "m.bin", {"rude": [9, 0]}, ["nsfw", "non_nsfw"])
    for compat, expected in ((False, 1.0), (True, 1.00001)):
        ((_, _, score),) = tagged("jigsaw_nsfw_document_v1", model, "rude", compat=compat)[0]["__label__nsfw"]
        assert score == pytest.approx(expected, abs=1e-7)


def test_lines_of_code_and_prose(tmp_path):
    model = write_model(
        tmp_path / "m.bin", {"def": [9, 0, 0], "once": [0, 9, 0], "####": [0, 0, 9]}, ["code", "prose", "other"]
    )
    text = "def f\n\n  once a\x0c####\ronce b\nabc\nonce c\u2028def g\n \n"
    found, empty = tagged("code_composition", model, text, " \n")
    assert empty == {"boundaries": [(0, 2, 0.0)]}
    values = {kind: spans[0][2] for kind, spans in found.items()}
    # code, prose, other, prose, other (three characters), prose, code: prose follows code once, code prose once
    assert values["boundaries"] == 2
    assert [values[name] for name in ("code", "prose", "other")] == [2, 3, 2]
    assert [values[f"{name}_pct"] for name in ("code", "prose", "other")] == [0.29, 0.43, 0.29]
    sure = 2 * -1e-5 * math.log2(1e-5)  # of two labels that have only what the library adds
    assert values["code_entropy"] == pytest.approx(sure, rel=0.05)
    assert values["other_entropy"] == pytest.approx(sure / 2, rel=0.05)


def test_a_tagger_by_path_needs_a_classifier(tmp_path, nsfw):
    for setting, message in [
        ("fasttext:", "names no model"),
        (f"fasttext:{tmp_path}/no.bin", "no such model"),
        (f"fasttext:{tmp_path}", "no such file"),
        (f"fasttext:gopher_v2={nsfw}", "there is a tagger called 'gopher_v2'"),
    ]:
        with pytest.raises(UserError, match=message):
            find_tagger(setting)
    assert find_tagger(f"fasttext:mine={nsfw}").name == "mine"


def test_two_models_of_one_name_are_refused(dolma, nsfw, write_documents, capsys):
    root = write_documents([{"id": "1", "text": "x", "source": "s"}])
    names = [f"fasttext:m={nsfw}", f"fasttext_paragraphs:m={nsfw}"]
    assert dolma("tag", "--documents", root, "--taggers", *names) == 2
    assert "write the same keys" in capsys.readouterr().err


def test_a_model_is_visible_only_when_it_is_checked(dolma, quality, tmp_path, monkeypatch):
    folder = tmp_path / "models"
    seen = []
    check = model_catalogue._check_content

    def look(*arguments):
        seen.extend(path.name for path in folder.iterdir())
        return check(*arguments)

    monkeypatch.setattr(model_catalogue, "_check_content", look)
    assert dolma("models", "get", "dclm-oh-eli5", "--from", quality, "--folder", folder) == 0
    assert sorted(seen) == ["dclm-oh-eli5.bin.lock.partial", "dclm-oh-eli5.bin.partial"]
    assert sorted(path.name for path in folder.iterdir()) == ["dclm-oh-eli5.bin", "dclm-oh-eli5.bin.json"]
