from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from olmo_model.errors import UserError
from olmo_model.evaluate import (
    Request,
    Scorer,
    accuracies,
    load_requests,
    load_windows,
    perplexity,
    rank_classification,
    sequences_of,
)
from olmo_model.files import digest_file


def naive(model, ids: tuple[int, ...], positions: tuple[int, ...]) -> float:
    """One sequence at a time, all logits at once."""
    with torch.no_grad():
        logs = model(torch.tensor([ids[:-1]]))[0].log_softmax(dim=-1)
    return sum(logs[place - 1, ids[place]].item() for place in positions)


@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_scores_are_those_of_one_sequence_at_a_time(make_model, batch_tokens):
    model = make_model()
    sequences = [
        ((5, 6, 7, 8), (1, 2, 3)),
        ((5, 6), (1,)),
        (tuple(range(2, 35)), (30, 31, 32)),
        ((5, 6, 7, 8), (1, 2, 3)),
        ((5, 6, 7, 8), (3,)),
    ]
    found = Scorer(model, batch_tokens=batch_tokens).score(sequences)
    assert found == pytest.approx([naive(model, *sequence) for sequence in sequences], abs=1e-5)
    assert found[0] == found[3]


def test_perplexity_by_source_and_all(make_model, windows_folder):
    model = make_model()
    windows = load_windows(windows_folder, model.config, digest_file(windows_folder / "tokenizer.json"))
    values = perplexity(Scorer(model, batch_tokens=64), windows)
    odd = [window for window in windows if window.source == "odd"]
    total = sum(naive(model, window.ids, window.scored) for window in odd)
    scored, size = sum(len(window.scored) for window in odd), sum(window.bytes for window in odd)
    assert values["eval/perplexity/odd/CrossEntropyLoss"] == pytest.approx(-total / scored, rel=1e-6)
    assert values["eval/perplexity/odd/bits_per_byte"] == pytest.approx(-total / math.log(2) / size, rel=1e-6)
    assert {name.split("/")[2] for name in values} == {"odd", "even", "all"}


def test_rank_classification_truncates_the_context_at_its_beginning(make_model):
    model = make_model(max_sequence_length=8)
    long = tuple(range(10, 30))
    ends = [(40, 50), (41,), (42, 50, 51)]  # the longest leaves room for six tokens before it, and so do all
    requests = [Request(0, i, 1, long, end, 3, 3, "conditional") for i, end in enumerate(ends)]
    requests += [Request(1, i, 1, long, (40 + i,), 3, 3, "conditional") for i in range(2)]
    found = sequences_of(requests, 8)
    assert [ids for ids, _ in found] == [(*long[-6:], *end) for end in ends] + [(*long[-8:], 40), (*long[-8:], 41)]
    assert [positions for _, positions in found] == [(6, 7), (6,), (6, 7, 8), (8,), (8,)]
    values = rank_classification(Scorer(model, batch_tokens=100), {"t": requests[:3]})
    expected = [naive(model, *sequence) for sequence in found[:3]]
    assert values["eval/downstream/t_acc_raw"] == float(max(range(3), key=lambda i: expected[i]) == 1)


def request(
    doc: int, idx: int, label: int, tokens: int, characters: int, size: int, kind: str = "conditional"
) -> Request:
    return Request(doc, idx, label, (1,), (2,) * tokens, characters, size, kind)


def test_accuracies_by_hand():
    requests = [request(0, 0, 0, 1, 10, 10), request(0, 1, 0, 2, 4, 20)]
    # raw: -2 beats -3; per token: -2 against -1.5; per character: -0.2 against -0.75; per byte: -0.2 against -0.15
    assert accuracies(requests, [-2.0, -3.0]) == {
        "acc_raw": 1.0,
        "acc_per_token": 0.0,
        "acc_per_char": 1.0,
        "acc_per_byte": 0.0,
    }


def test_unconditional_twins_are_subtracted():
    requests = [request(0, i, 0, 1, 1, 1, kind) for kind in ("conditional", "unconditional") for i in range(2)]
    found = accuracies(requests, [-3.0, -2.0, -5.0, -2.5])  # differences 2.0 and 0.5
    assert (found["acc_raw"], found["acc_uncond"]) == (0.0, 1.0)
    assert "acc_uncond" not in accuracies(requests[:3], [-3.0, -2.0, -5.0])


@given(st.integers(1, 5), st.integers(0, 3))
def test_a_tie_of_k_counts_one_in_k(tied, worse):
    requests = [request(0, i, 0, 1, 1, 1) for i in range(tied + worse)]
    assert accuracies(requests, [-1.0] * tied + [-2.0] * worse)["acc_raw"] == 1 / tied
    losing = [request(0, i, 9, 1, 1, 1) for i in range(tied)]
    assert accuracies(losing, [-1.0] * tied)["acc_raw"] == 0.0


def test_requests_of_named_tasks(make_model, requests_folder):
    model, digest = make_model(), digest_file(requests_folder / "tokenizer.json")
    assert len(load_requests(requests_folder, ["animals"], model.config, digest)["animals"]) == 30
    with pytest.raises(UserError, match="no task 'plants'"):
        load_requests(requests_folder, ["plants"], model.config, digest)


def test_artifacts_that_do_not_fit_are_refused(make_model, windows_folder, requests_folder, tmp_path):
    digest = digest_file(windows_folder / "tokenizer.json")
    other = "sha256:" + "0" * 64
    with pytest.raises(UserError, match="another tokenizer than the training tokens"):
        load_windows(windows_folder, make_model().config, other)
    with pytest.raises(UserError, match="another tokenizer than the training tokens"):
        load_requests(requests_folder, None, make_model().config, other)
    with pytest.raises(UserError, match="windows of 16 tokens are longer than the model's 8"):
        load_windows(windows_folder, make_model(max_sequence_length=8).config, digest)
    with pytest.raises(UserError, match="is not below vocab_size 20"):
        load_windows(windows_folder, make_model(vocab_size=20).config, digest)
    with pytest.raises(UserError, match="not a windows artifact"):
        load_windows(requests_folder, make_model().config, digest)
    with pytest.raises(UserError, match="no windows artifact"):
        load_windows(tmp_path, make_model().config, digest)
    text_only = Path(shutil.copytree(requests_folder, tmp_path / "text"))
    manifest = json.loads((text_only / "manifest.json").read_text()) | {"tokenizer_digest": None}
    (text_only / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="catwalk-eval requests --tokenizer"):
        load_requests(text_only, None, make_model().config, digest)
