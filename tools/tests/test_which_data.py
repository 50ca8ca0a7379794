"""From documents to `which-data`: the characters that it names are those that the tokens were made of."""

from __future__ import annotations

import gzip
import json
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from dolma_data.cli import execute
from dolma_data.tokens.spans import character_spans
from olmo_model.config.commands import WhichDataConfig, WhichStepsConfig
from olmo_model.config.data import DataSettings
from olmo_model.config.model import ModelSettings
from olmo_model.config.optimization import SchedulerSettings
from olmo_model.config.training import TrainConfig
from olmo_model.lookup import which_data, which_steps
from olmo_model.train import train

T = 8
TEXTS = {
    "plain": "The cat sat on the mat, and the dog ran to the red house.",
    "padded": "  \n\t the cat came in  from the rain \n\n",
    "composed": "Un café très chaud à Besançon; über Öl und Größe.",
    "decomposed": unicodedata.normalize("NFD", "  Un café très chaud à Besançon; über Öl und Größe.\n"),
    "stacked": "a\u0323\u0302 e\u0302\u0323 q\u0307\u0323\u0301 \u0301lone \u1e9b\u0323 the s\u0323\u0307 end \u0338",
    "jamo": unicodedata.normalize("NFD", " 고양이가 집에 있다. 한국어 글 각힣"),
    "broken jamo": "\u1100\u1161\u11a8 \u1161\u1100 가\u11a8 \uac01\u11a8 the end",
    "singletons": "\u212b \u2126 \u1f71 \ufb1d \u2adc 豈 the cat",
    "vowel signs": "\u09c7\u09be \u09c7\u09d7 \u0bc6\u0bbe \u1025\u102e \U00011131\U00011127",
    "marks alone": "\u0301\u0300\u0327",
    "pictures": "👩\u200d👩\u200d👧 e\u0301 👍🏽 \U0001d15e the dog",
    "spaces": "e\u0301   e\u0301\n\n  \u00a0e\u0301\u3000e\u0301 ",
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Documents, and a run that saw one epoch of them."""
    root = tmp_path_factory.mktemp("characters")
    rows = [{"id": name, "text": text, "source": "made"} for name, text in TEXTS.items()]
    (root / "corpus/documents").mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "corpus/documents/a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS.values(), trainer)
    tokenizer.save(str(root / "tokenizer.json"))
    arguments = {
        "--documents": root / "corpus", "--destination": root / "tokens",
        "--tokenizer.name-or-path": root / "tokenizer.json",
    }  # fmt: skip
    assert execute(["tokens", *(str(part) for pair in arguments.items() for part in pair)]) == 0
    shape = {"preset": "olmo-1m", "d_model": 16, "n_heads": 2, "n_layers": 1, "mlp_hidden_size": 128}
    config = TrainConfig(
        save_folder=str(root / "run"),
        data=DataSettings(tokens=str(root / "tokens")),
        model=ModelSettings(**shape, max_sequence_length=T),
        global_batch_size=1,
        max_duration="1ep",
        scheduler=SchedulerSettings(warmup="0"),
        log_interval=1,
        threads=1,
    )
    assert train(config) == 0
    return root, root / "run"


def parts_of(root: Path) -> dict[str, tuple[np.ndarray[Any, Any], list[int]]]:
    """Of every document the spans of its tokens, by dolma-data, and the ids."""
    tokenizer = Tokenizer.from_file(str(root / "tokens/tokenizer.json"))
    ids = {name: tokenizer.encode(text, add_special_tokens=False).ids for name, text in TEXTS.items()}
    return {name: (character_spans(text, ids[name], tokenizer), ids[name]) for name, text in TEXTS.items()}


def test_characters_of_every_instance_are_those_of_its_tokens(seen: tuple[Path, Path]) -> None:
    root, run = seen
    tokenizer = Tokenizer.from_file(str(root / "tokens/tokenizer.json"))
    expected = parts_of(root)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    found = which_data(run, WhichDataConfig(step=(f"1-{last}",), documents=str(root / "corpus")))
    rows = [row for step in found["steps"] for row in step["documents"]]
    assert {row["id"] for row in rows} == set(TEXTS)
    for row in rows:
        text, (spans, ids) = TEXTS[row["id"]], expected[row["id"]]
        first, last = row["document_tokens"]
        start, end = row["characters"]
        assert row["characters_from"] == "source"
        last = min(last, len(ids))  # without the end of the document
        if first == last:
            assert [start, end] == [len(text)] * 2
            continue
        assert [start, end] == [spans[first][0], spans[last - 1][1]]
        decoded = tokenizer.decode(ids[first:last])
        shared = (first and spans[first - 1][1] > start) or (last < len(ids) and spans[last][0] < end)
        assert shared or "\ufffd" in decoded or unicodedata.normalize("NFC", text[start:end]) == decoded


@pytest.mark.parametrize("name", TEXTS)
def test_the_parts_of_a_document_cover_its_text(seen: tuple[Path, Path], name: str) -> None:
    root, run = seen
    config = WhichStepsConfig(doc=name, documents=str(root / "corpus"))
    (document,) = which_steps(run, config)["documents"]
    parts = sorted(row["characters"] for row in document["seen"])
    assert sum(row["tokens"] for row in document["seen"]) == document["document_length"]
    assert (parts[0][0], parts[-1][1]) == (0, len(TEXTS[name]))
    assert all(here[1] >= after[0] for here, after in pairwise(parts))
