from __future__ import annotations

import json

import pytest
import torch
import yaml
from continuing import continue_ids

from olmo_model.cli import app
from olmo_model.command_line import run
from olmo_model.completion import generate
from olmo_model.config.commands import ConvertConfig, GenerateConfig
from olmo_model.convert.command import convert
from olmo_model.errors import UserError
from olmo_model.model_folder import save_model


@pytest.fixture
def folder(make_model, tokens_folder, tmp_path):
    """A model folder, with the model itself."""

    def write(**changes):
        model = make_model(**changes)
        place = tmp_path / "model"
        place.mkdir()
        save_model(place, model, tokens_folder / "tokenizer.json")
        return place, model

    return write


def call(*arguments) -> int:
    return run(app, [str(argument) for argument in arguments])


def write_rows(file, *rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_a_file_of_prompts_gives_a_row_for_each_in_order(folder, tokenizer, tmp_path):
    place, model = folder()
    ids = tokenizer.encode("the dog").ids
    file = write_rows(
        tmp_path / "prompts.jsonl",
        {"id": "a", "prompt": "the cat sat on"},
        {"prompt_tokens": ids, "tags": [1]},
        {"prompt": ""},
    )
    output = tmp_path / "out" / "rows.jsonl"
    config = GenerateConfig(prompts=file, max_new_tokens=4, batch_size=2, output=str(output))
    rows = generate(place, config)
    assert [json.loads(line) for line in output.read_text().splitlines()] == rows
    assert [(row["prompt"], row.get("id"), row.get("tags")) for row in rows] == [
        ("the cat sat on", "a", None),
        ("the dog", None, [1]),
        ("", None, None),
    ]
    assert [row["prompt_tokens"] for row in rows] == [tokenizer.encode("the cat sat on").ids, ids, [0]]
    for row in rows:
        assert (row["tokens"], row["finish_reason"]) == continue_ids(model, row["prompt_tokens"], max_new_tokens=4)
        assert row["prompt"] + row["text"] == tokenizer.decode(
            [number for number in row["prompt_tokens"] if number] + row["tokens"], skip_special_tokens=False
        )
    (record,) = (tmp_path / "out" / "provenance").iterdir()
    record = json.loads(record.read_text())
    counts = record["counts"]
    assert counts.pop("passes") + counts.get("accepted_tokens", 0) >= 12
    assert 0 <= counts.pop("accepted_tokens", 0) <= counts.pop("guessed_tokens", 0)
    assert counts | {"tokens": 12} == {
        "prompts": 3,
        "prompt_tokens": sum(len(row["prompt_tokens"]) for row in rows),
        "continuations": 3,
        "tokens": 12,
    }
    assert file in record["inputs"]


def test_several_samples_differ_and_one_seed_gives_the_same_in_any_file(folder, tmp_path):
    place, _ = folder()
    options = {"max_new_tokens": 8, "temperature": 1.0, "top_p": 0.9, "samples": 3, "seed": 7}
    small = write_rows(tmp_path / "small.jsonl", {"prompt": "the cat"})
    large = write_rows(
        tmp_path / "large.jsonl", {"prompt": "a mat and the dog"}, {"prompt": "the cat"}, {"prompt": "rain"}
    )
    first = generate(place, GenerateConfig(prompts=small, **options))
    rows = generate(place, GenerateConfig(prompts=large, batch_size=4, **options))
    assert [(row["prompt"], row["sample"]) for row in rows[2:5]] == [
        ("a mat and the dog", 2),
        ("the cat", 0),
        ("the cat", 1),
    ]
    assert rows[3:6] == first
    assert len({tuple(row["tokens"]) for row in first}) == 3
    other = generate(place, GenerateConfig(prompts=small, **options | {"seed": 8}))
    assert [row["tokens"] for row in other] != [row["tokens"] for row in first]


def test_a_stop_string_cuts_text_and_computing(folder, tokenizer):
    place, model = folder()
    whole, _ = continue_ids(model, tokenizer.encode("the cat").ids, max_new_tokens=20)
    text = tokenizer.decode(whole, skip_special_tokens=False)
    stop = text[6:8]
    (row,) = generate(place, GenerateConfig(prompt="the cat", max_new_tokens=20, stop=(stop, "never")))
    assert row["text"] == text[: text.index(stop)]
    assert row["finish_reason"] == "stop"
    assert row["tokens"] == whole[: len(row["tokens"])]
    assert len(row["tokens"]) < 20
    (row,) = generate(place, GenerateConfig(prompt="the cat", max_new_tokens=20, stop_token=(whole[1],)))
    assert row["tokens"] == whole[: whole.index(whole[1])]


def test_the_text_is_shown_as_it_grows(folder):
    place, _ = folder()
    pieces = []
    (row,) = generate(place, GenerateConfig(prompt="the cat", max_new_tokens=12), pieces.append)
    assert "".join(pieces) == row["text"]
    assert len(pieces) > 3


def test_the_command_prints_prompt_and_text_or_rows(folder, tmp_path, capsys):
    place, _ = folder()
    (row,) = generate(place, GenerateConfig(prompt="the cat", max_new_tokens=5))
    assert call("generate", place, "--prompt", "the cat", "--max-new-tokens", 5) == 0
    assert capsys.readouterr().out == f"the cat{row['text']}\n"
    assert call("generate", place, "--prompt", "the cat", "--max-new-tokens", 5, "--samples", 2) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["text"] for one in rows] == [row["text"]] * 2
    assert call("generate", place, "--prompt", "cat", "--max-new-tokens", 1, "--stop", "a", "--stop", "b") == 0
    file = write_rows(tmp_path / "prompts.jsonl", {"prompt": "the cat"})
    capsys.readouterr()
    assert call("generate", place, "--prompts", file, "--max-new-tokens", 5) == 0
    assert json.loads(capsys.readouterr().out)["text"] == row["text"]


RMS = {"norm": "rms_norm", "norm_eps": 1e-6}


@pytest.mark.parametrize("changes", [{}, RMS | {"n_kv_heads": 2}, RMS | {"norm_after": True, "qk_norm": True}])
def test_an_official_checkpoint_and_its_conversion_say_the_same(folder, tmp_path, changes):
    place, _ = folder(**changes)
    convert(place, tmp_path / "official", ConvertConfig(to="olmo"))
    (tmp_path / "official" / "tokenizer.json").unlink()
    config = GenerateConfig(prompt="the cat", max_new_tokens=6, tokenizer=str(place / "tokenizer.json"))
    assert generate(tmp_path / "official", config)[0]["tokens"] == generate(place, config)[0]["tokens"]


def test_a_folder_without_its_tokenizer_says_what_to_do(folder):
    place, _ = folder()
    (place / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"the tokenizer is missing .*; put .* there, or give --tokenizer FILE"):
        generate(place, GenerateConfig(prompt="a"))


def test_another_models_tokenizer_is_refused(folder, tmp_path):
    place, _ = folder(vocab_size=200, embedding_size=256)
    with pytest.raises(UserError, match=r"the tokenizer has 300 ids, the model 256 rows for them .*config.json"):
        generate(place, GenerateConfig(prompt="a"))
    (place / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    convert(place, tmp_path / "official", ConvertConfig(to="olmo"))
    config = GenerateConfig(prompt="a", tokenizer=str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"the tokenizer has ids up to 299, the model's end at 255 .*tokenizer.json"):
        generate(tmp_path / "official", config)


def test_a_model_of_another_architecture_is_refused(folder):
    place, _ = folder()
    values = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(values | {"model_type": "gpt2"}))
    with pytest.raises(UserError, match=r"model_type is 'gpt2' .*config.json\); give a model of type olmo"):
        generate(place, GenerateConfig(prompt="a"))


def test_an_official_checkpoint_of_another_architecture_is_refused(folder, tmp_path):
    place, _ = folder()
    convert(place, tmp_path / "official", ConvertConfig(to="olmo"))
    file = tmp_path / "official" / "config.yaml"
    values = yaml.safe_load(file.read_text())
    values["model"]["alibi"] = True
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"model.alibi is True"):
        generate(tmp_path / "official", GenerateConfig(prompt="a"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not a row of JSON"),
        ("[1]", "no JSON object"),
        ("{}", "needs either prompt or prompt_tokens"),
        ('{"prompt": "a", "prompt_tokens": [1]}', "needs either prompt or prompt_tokens"),
        ('{"prompt": 5}', "prompt is no text"),
        ('{"prompt": "\\ud800"}', "prompt is no text"),
        ('{"prompt_tokens": "5"}', "no list of whole numbers"),
        ('{"prompt_tokens": [true]}', "no list of whole numbers"),
        ('{"prompt_tokens": []}', "has 0 tokens"),
        ('{"prompt_tokens": [300]}', "holds id 300; the model has ids 0 to 299"),
        (json.dumps({"prompt": "the " * 40}), "tokens; the model reads 1 to 32"),
        ('{"prompt": "a", "text": "b"}', "the key text"),
    ],
)
def test_a_row_that_cannot_be_read_is_told_with_its_line_and_nothing_is_written(folder, tmp_path, line, message):
    place, _ = folder()
    file = tmp_path / "prompts.jsonl"
    file.write_text(f'{{"prompt": "the cat"}}\n\n{line}\n')
    output = tmp_path / "out.jsonl"
    with pytest.raises(UserError) as told:
        generate(place, GenerateConfig(prompts=str(file), output=str(output)))
    assert message in str(told.value)
    assert f"({file}, line 3)" in str(told.value)
    assert not output.exists()


def test_prompts_that_are_not_there_or_too_long_are_told(folder, tmp_path, capsys):
    place, _ = folder()
    (tmp_path / "empty.jsonl").write_text("\n")
    for options, message in (
        (["--prompts", tmp_path / "none.jsonl"], "no such file"),
        (["--prompts", tmp_path / "empty.jsonl"], "holds no prompts"),
        (["--prompt", "the " * 40], "the model reads 1 to 32 (prompt); shorten the prompt"),
        ([], "there is no prompt (options); give either --prompt TEXT or --prompts FILE"),
        (["--prompt", "a", "--top-p", "2"], "top_p is 2.0"),
    ):
        assert call("generate", place, *options) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1


def test_an_empty_prompt_begins_a_document_and_says_so(folder, caplog):
    place, _ = folder()
    with caplog.at_level("INFO"):
        (row,) = generate(place, GenerateConfig(prompt="", max_new_tokens=1))
    assert row["prompt_tokens"] == [0]
    assert "the prompt is empty: the text begins a document (id 0)" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_told(folder):
    place, _ = folder()
    with pytest.raises(UserError, match="there is no CUDA device"):
        generate(place, GenerateConfig(prompt="a", device="cuda"))


def test_bfloat16_is_close_enough_to_say_the_same_where_it_is_clear(folder):
    place, _ = folder()
    (row,) = generate(place, GenerateConfig(prompt="the cat", max_new_tokens=3, precision="bf16"))
    assert len(row["tokens"]) == 3
