from __future__ import annotations

import pytest
import torch
from continuing import continue_ids

from olmo_model import generate as generation
from olmo_model.completion import generate
from olmo_model.config.commands import GenerateConfig
from olmo_model.decoding import Decoder
from olmo_model.errors import UserError
from olmo_model.generate import Request, continue_all
from olmo_model.model_folder import save_model
from olmo_model.sampling import Sampling, choose
from olmo_model.speculation import Accepted

PROMPT = [5, 9, 12, 40]


def test_greedy_text_is_that_of_whole_passes_without_a_cache(make_model):
    model = make_model()
    ids = list(PROMPT)
    for _ in range(10):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]))[0, -1, :300].argmax()))
    assert continue_ids(model, PROMPT, max_new_tokens=10) == (ids[4:], "length")


def test_draws_follow_the_seed_and_top_one_is_greedy(make_model):
    model = make_model()
    drawn = [continue_ids(model, PROMPT, max_new_tokens=8, temperature=1.0, seed=seed)[0] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    one = continue_ids(model, PROMPT, max_new_tokens=8, temperature=1.0, top_k=1, seed=3)
    assert one == continue_ids(model, PROMPT, max_new_tokens=8)


def test_top_k_draws_among_the_k_likeliest_at_their_rates(make_model):
    model = make_model()
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT]))[0, -1, :300]
    best = logits.topk(3).indices.tolist()
    drawn = [
        continue_ids(model, PROMPT, max_new_tokens=1, temperature=0.7, top_k=3, seed=seed)[0][0] for seed in range(200)
    ]
    assert set(drawn) == set(best)
    expected = torch.softmax(logits[best] / 0.7, dim=0)
    assert drawn.count(best[0]) / 200 == pytest.approx(expected[0].item(), abs=0.1)


def test_it_ends_with_the_document_and_with_the_context(make_model):
    first = continue_ids(make_model(), PROMPT, max_new_tokens=1)[0][0]
    assert continue_ids(make_model(eos_token_id=first), PROMPT, max_new_tokens=5) == ([], "end")
    new, reason = continue_ids(make_model(max_sequence_length=8), PROMPT, max_new_tokens=50)
    assert (len(new), reason) == (5, "context")  # the eighth position still predicts a token
    with pytest.raises(UserError, match="9 tokens; the model reads 1 to 8"):
        continue_ids(make_model(max_sequence_length=8), [5] * 9, max_new_tokens=1)


def test_ids_past_the_vocabulary_are_never_drawn(make_model):
    model = make_model()
    drawn = [
        continue_ids(model, PROMPT, max_new_tokens=8, temperature=50.0, seed=s, vocab_size=30)[0] for s in range(5)
    ]
    assert sum(map(len, drawn)) > 10
    assert max(max(ids, default=0) for ids in drawn) < 30


def test_a_prompt_is_continued_from_a_folder(make_model, tokens_folder, tokenizer, tmp_path):
    model = make_model()
    save_model(tmp_path, model, tokens_folder / "tokenizer.json")
    (result,) = generate(tmp_path, GenerateConfig(prompt="the cat", max_new_tokens=6))
    assert result["prompt_tokens"] == tokenizer.encode("the cat").ids
    assert result["tokens"] == continue_ids(model, result["prompt_tokens"], max_new_tokens=6)[0]
    assert "the cat" + result["text"] == tokenizer.decode(result["prompt_tokens"] + result["tokens"])
    assert generate(tmp_path, GenerateConfig(prompt="", max_new_tokens=2))[0]["prompt_tokens"] == [0]


RAGGED = [(5, 9, 12, 40), (7,), (30, 31, 32, 33, 34, 35, 36, 37, 38), (200, 100), (5, 9, 12, 40), (8, 8, 8)]


def continuations(model, requests, **options):
    return [found for _, found in sorted(continue_all(model, requests, **options))]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 6])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_prompt_gets_the_same_whatever_is_beside_it_in_the_batch(make_model, batch_size, temperature):
    model = make_model()
    requests = [Request(ids=ids, seed=4, sample=number) for number, ids in enumerate(RAGGED)]
    options = {"max_new_tokens": 12, "sampling": Sampling(temperature=temperature, top_p=0.95)}
    alone = [continuations(model, [request], **options)[0] for request in requests]
    assert continuations(model, requests, batch_size=batch_size, **options) == alone
    assert continuations(model, requests[::-1], batch_size=batch_size, **options) == alone[::-1]
    if temperature:
        assert alone[0] != alone[4]  # the same prompt, another sample


def test_a_prompt_enters_when_another_ends(make_model):
    model = make_model()
    whole = continuations(model, [Request(ids=ids) for ids in RAGGED], max_new_tokens=10)
    stops = {number: 1 + number % 3 for number in range(len(RAGGED))}
    seen = dict.fromkeys(stops, 0)

    def watch(number: int, new: int) -> bool:
        seen[number] += 1
        return seen[number] == stops[number]

    found = continuations(model, [Request(ids=ids) for ids in RAGGED], max_new_tokens=10, batch_size=2, watch=watch)
    assert seen == stops
    assert [one.ids for one in found] == [one.ids[: stops[number]] for number, one in enumerate(whole)]
    assert {one.finish_reason for one in found} == {"stop"}


@pytest.mark.parametrize("batch_size", [1, 3, 6])
@pytest.mark.parametrize("temperature", [0.0, 0.3])
@pytest.mark.parametrize("length", [1, 2, 9, 40])
def test_guesses_change_no_token(make_model, batch_size, temperature, length):
    model = make_model(max_sequence_length=32)
    requests = [Request(ids=ids * 2, seed=4, sample=number) for number, ids in enumerate(RAGGED)]
    options = {
        "max_new_tokens": length,
        "sampling": Sampling(temperature=temperature),
        "batch_size": batch_size,
        "stop_ids": {int(continue_ids(model, RAGGED[0] * 2, max_new_tokens=8)[0][-1])},
    }
    accepted, without = Accepted(), Accepted()
    expected = continuations(model, requests, speculative=False, accepted=without, **options)
    assert continuations(model, requests, accepted=accepted, **options) == expected
    assert (without.guessed, without.accepted) == (0, 0)
    if length == 40 and temperature == 0:
        assert 0 < accepted.accepted <= accepted.guessed
        assert accepted.passes < without.passes


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_behind_a_wrong_guess_nothing_is_chosen(make_model, monkeypatch, batch_size, temperature):
    requests = [Request(ids=ids * 2, seed=4) for ids in RAGGED]
    rows = []

    def counted(logits, *rest):
        rows.append(len(logits))
        return choose(logits, *rest)

    monkeypatch.setattr(generation, "choose", counted)
    accepted, sampling = Accepted(), Sampling(temperature=temperature)
    options = {"max_new_tokens": 40, "sampling": sampling, "batch_size": batch_size, "accepted": accepted}
    continuations(make_model(max_sequence_length=64), requests, **options)
    assert accepted.accepted < accepted.guessed
    assert sum(rows) == accepted.passes + accepted.accepted


def test_several_sequences_are_checked_in_few_rows(make_model):
    """All of them get as many rows as the one with most guesses."""
    requests = [Request(ids=(5, 6, 7, 8) * 3), Request(ids=(5,)), Request(ids=(9,))]
    sizes = []

    class Watched(Decoder):
        def extend(self, ids):
            sizes.append((len(ids), len(ids[0])))
            return super().extend(ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "Decoder", Watched)
        continuations(make_model(max_sequence_length=64), requests, max_new_tokens=40)
    assert max(n * m for n, m in sizes if n > 1) <= generation.ROWS_OF_SEVERAL
    assert max(m for n, m in sizes if n > 1) > 1


def test_a_stop_id_ends_a_continuation_and_is_left_out(make_model):
    model = make_model()
    whole = continue_ids(model, PROMPT, max_new_tokens=6)[0]
    (found,) = continuations(model, [Request(ids=tuple(PROMPT))], max_new_tokens=6, stop_ids={whole[2]})
    assert (found.ids, found.finish_reason) == (whole[: whole.index(whole[2])], "stop")


def test_prompts_that_the_model_cannot_read_are_refused_before_anything_is_computed(make_model):
    model = make_model()
    for ids, message in (
        ((), "the prompt has 0 tokens; the model reads 1 to 32; give a prompt"),
        ((5,) * 33, "the prompt has 33 tokens; the model reads 1 to 32; shorten the prompt"),
        ((5, 300), "the prompt holds id 300; the model has ids 0 to 299"),
        ((-1, 5), "the prompt holds id -1; the model has ids 0 to 299"),
    ):
        with pytest.raises(UserError, match=message):
            continuations(model, [Request(ids=(5,)), Request(ids=ids)], max_new_tokens=2)
    assert continuations(model, [], max_new_tokens=2) == []


def test_numbers_that_are_not_finite_are_told(make_model):
    model = make_model()
    model.transformer["wte"].weight.data[7] = torch.nan
    with pytest.raises(UserError, match="not finite"):
        continue_ids(model, [7], max_new_tokens=1)


def test_impossible_options_are_refused():
    with pytest.raises(UserError, match="top_k is 0"):
        GenerateConfig(prompt="", top_k=0)
    with pytest.raises(UserError, match=r"top_p is 1.5"):
        GenerateConfig(prompt="", top_p=1.5)
    with pytest.raises(UserError, match="there is no prompt"):
        GenerateConfig()
    with pytest.raises(UserError, match="both a prompt and a file"):
        GenerateConfig(prompt="a", prompts="b")
    with pytest.raises(UserError, match="a text to stop at is empty"):
        GenerateConfig(prompt="a", stop=("",))
