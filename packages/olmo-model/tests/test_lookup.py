from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from olmo_model.config.commands import WhichDataConfig, WhichStepsConfig
from olmo_model.config.data import DataSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import SchedulerSettings
from olmo_model.config.training import CheckpointSettings, TrainConfig
from olmo_model.errors import UserError
from olmo_model.lookup import which_data, which_steps
from olmo_model.order import shuffled
from olmo_model.tokens import Tokens
from olmo_model.train import train

T = 16


@pytest.fixture(scope="module")
def run(tokens_folder, tmp_path_factory) -> Path:
    """14 steps of 16 instances, in a first part and a resumed one; an epoch has about 11 steps."""
    folder = tmp_path_factory.mktemp("lookup") / "run"

    def part(steps: int) -> TrainConfig:
        return TrainConfig(
            save_folder=str(folder),
            data=DataSettings(tokens=str(tokens_folder)),
            model=ModelSettings(
                preset="olmo-1m", d_model=32, n_heads=2, n_layers=1, mlp_hidden_size=128, max_sequence_length=T
            ),
            max_duration=str(steps),
            scheduler=SchedulerSettings(warmup="0", t_max="14"),
            threads=1,
            checkpoint=CheckpointSettings(save_interval=5),
        )

    assert train(part(6)) == 0
    assert train(part(14)) == 0
    return folder


def walk(tokens: Tokens) -> list[list[tuple[str, int]]]:
    """For every instance the (document, place in the document) of each of its tokens, by a plain walk."""
    instances = []
    for file, length in enumerate(tokens.lengths):
        rows = tokens.rows(file, list(range(70 if file == 0 else 50)))
        owners = [(row.id, place) for row in rows for place in range(row.end - row.start)]
        instances += [owners[start : start + T] for start in range(0, length - T + 1, T)]
    return instances


def test_documents_of_steps_are_those_of_a_plain_walk(run, tokens_folder):
    owners = walk(Tokens(tokens_folder))
    per_epoch = len(owners) // 16
    assert per_epoch < 14  # so that step 14 lies in the second epoch
    found = which_data(run, WhichDataConfig(step=(1, 7, 14)))
    for row in found["steps"]:
        epoch, index = divmod(row["step"] - 1, per_epoch)
        order = shuffled(len(owners), 6198, epoch)[index * 16 : index * 16 + 16]
        assert (row["epoch"], row["instances"]) == (epoch, order.tolist())
        for number in order.tolist():
            here = [document for document in row["documents"] if document["instance"] == number]
            rebuilt = [(d["id"], place) for d in here for place in range(*d["document_tokens"])]
            assert rebuilt == owners[number]
            assert [d["instance_position"] for d in here] == [
                place
                for place, (name, _) in enumerate(owners[number])
                if place == 0 or owners[number][place - 1][0] != name
            ]


def test_steps_of_a_document_agree_with_documents_of_steps(run):
    every = which_data(run, WhichDataConfig(step=tuple(range(1, 15))))
    for name in ("story-0", "story-69", "story-71", "story-119"):
        expected = [
            (row["step"], document["instance"], np.subtract(*document["document_tokens"][::-1]))
            for row in every["steps"]
            for document in row["documents"]
            if document["id"] == name
        ]
        (found,) = which_steps(run, WhichStepsConfig(doc=name))["documents"]
        assert [(s["step"], s["instance"], s["tokens"]) for s in found["seen"]] == sorted(expected)


def test_what_is_not_there_is_refused(run, write_tokens, tmp_path):
    with pytest.raises(UserError, match="step 15 is not among the steps 1 to 14"):
        which_data(run, WhichDataConfig(step=(15,)))
    with pytest.raises(UserError, match="no document 'story-999'"):
        which_steps(run, WhichStepsConfig(doc="story-999"))
    other = write_tokens(tmp_path / "other", [[("a", [5] * 3000)]])
    with pytest.raises(UserError, match="another fingerprint"):
        which_data(run, WhichDataConfig(step=(1,), tokens=str(other)))
    with pytest.raises(UserError, match="no run here"):
        which_data(tmp_path, WhichDataConfig(step=(1,)))


def test_steps_come_singly_and_as_ranges(run):
    found = which_data(run, WhichDataConfig(step=("2-4,1", 14)))
    assert [row["step"] for row in found["steps"]] == [2, 3, 4, 1, 14]
    with pytest.raises(UserError, match="step 15 is not among"):
        which_data(run, WhichDataConfig(step=("2-1000000000000",)))
    for wrong in ("3-2", "0", "-1", "1-", "x", "1,,2", ""):
        with pytest.raises(UserError, match="step is"):
            WhichDataConfig(step=(wrong,))


def test_characters_are_those_of_the_stories(run, tokens_folder, tmp_path):
    """In the text of the tokens, and in the files of documents where they are given."""
    tokens = Tokens(tokens_folder)
    tokenizer = Tokenizer.from_file(str(tokens.tokenizer_file))
    texts = {}
    (tmp_path / "documents").mkdir()
    for file, count in enumerate((70, 50)):
        lines = []
        for row in tokens.rows(file, range(count)):
            texts[row.id] = tokenizer.decode(tokens.ids(file, row.start, row.end - 1).tolist())
            lines.append(json.dumps({"id": row.id, "text": texts[row.id], "source": "tales"}).encode() + b"\n")
        (tmp_path / "documents" / f"part-{file}.jsonl.gz").write_bytes(gzip.compress(b"".join(lines)))
    counted = which_data(run, WhichDataConfig(step=(1, 2)))
    read = which_data(run, WhichDataConfig(step=(1, 2), documents=str(tmp_path)))
    for steps, origin in ((counted["steps"], "tokens"), (read["steps"], "source")):
        for row in (row for step in steps for row in step["documents"]):
            text = texts[row["id"]]
            first, last = row["characters"]
            ids = tokenizer.encode(text).ids[slice(*row["document_tokens"])]
            assert (tokenizer.decode(ids), row["characters_from"]) == (text[first:last], origin)
            assert row.get("source") == ("tales" if origin == "source" else None)
    (document,) = which_steps(run, WhichStepsConfig(doc="story-3"))["documents"]
    assert sorted(row["characters"] for row in document["seen"][:3])[0][0] == 0


def test_documents_that_are_elsewhere_are_told(run, tmp_path, caplog):
    found = which_steps(run, WhichStepsConfig(doc="story-3", documents=str(tmp_path)))["documents"]
    assert {row["characters_from"] for row in found[0]["seen"]} == {"tokens"}
    assert "1 of 1 documents are not below" in caplog.text
    with pytest.raises(UserError, match="no such folder of documents"):
        which_steps(run, WhichStepsConfig(doc="story-3", documents=str(tmp_path / "none")))
