"""The boundary policies on the families of tokenizers: byte-level BPE, SentencePiece-like, WordPiece-like."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_tokenize import word_level
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from catwalk_eval.config import Boundary
from catwalk_eval.tokenize import Differences, Encoder

TEXT = ["Question: Which way does the wind blow? Answer: over the hills, yes or no.", "naïve Straße 猫", "the sea"]
POLICIES: tuple[Boundary, ...] = ("separate", "joint", "joint-safe")
FAMILIES = ["byte-level", "real byte-level", "llama", "unigram", "wordpiece"]


def llama_like() -> Tokenizer:
    """A space is put first and every space written as a mark; what has no token is spelled in bytes; <s> begins."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        TEXT * 3, trainers.BpeTrainer(vocab_size=380, special_tokens=names, show_progress=False)
    )
    # byte tokens are ordinary ones
    described = json.loads(tokenizer.to_str())
    described["added_tokens"] = [token for token in described["added_tokens"] if not token["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def unigram_like() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXT * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def wordpiece_like() -> Tokenizer:
    """White space and control characters are dropped, letters lowered, accents taken off."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator(TEXT * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


@pytest.fixture(scope="module", params=FAMILIES)
def encoders(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path
) -> dict[Boundary, Encoder]:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    if request.param == "byte-level":
        file = tokenizer_json
    elif request.param == "real byte-level":
        if "DATA_DIR" not in os.environ:
            pytest.skip("DATA_DIR is not set")
        file = Path(os.environ["DATA_DIR"]) / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json"
    else:
        made = {"llama": llama_like, "unigram": unigram_like, "wordpiece": wordpiece_like}[request.param]()
        made.save(str(file))
    return {policy: Encoder.load(file, policy) for policy in POLICIES}


some_text = st.one_of(
    st.text(max_size=20),
    st.text(st.sampled_from("\n\t ▁\u00a0\u0301\u200b"), max_size=6),
    st.lists(st.sampled_from([" ", "wind", "sea", "Ans", "wer", ":", "\n", "é", "猫", "🙂", "<s>", "[CLS]"])).map(
        "".join
    ),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(context=some_text, continuation=some_text.filter(bool))
def test_no_part_is_ever_empty_and_the_policies_differ_only_where_they_say(
    encoders: dict[Boundary, Encoder], context: str, continuation: str
) -> None:
    pairs = {policy: encoder.pair(context, continuation) for policy, encoder in encoders.items()}
    counted = Differences()
    for policy, encoder in encoders.items():
        pair = pairs[policy]
        assert pair.context_ids
        assert pair.continuation_ids
        assert encoder.pairs([(context, continuation)]) == [pair]
        assert pair.context_ids[: pair.leading] == (encoder.leading or (encoder.prefix,))[: pair.leading]
        for special in encoder.leading:  # once, and never from the text
            assert (pair.context_ids + pair.continuation_ids).count(special) == 1
    assert pairs["joint-safe"] in (pairs["joint"], pairs["separate"])
    encoders["separate"].pairs([(context, continuation)], counted)
    if context:
        assert counted.requests == 1
        assert counted.separate_joint == (pairs["separate"] != pairs["joint"])
        assert counted.separate_joint_safe == (pairs["separate"] != pairs["joint-safe"])
        assert counted.joint_joint_safe == (pairs["joint"] != pairs["joint-safe"])
    else:
        assert counted == Differences()
        assert pairs["joint"] == pairs["separate"]


def test_joint_safe_is_separate_where_a_token_spans_the_join(tmp_path: Path) -> None:
    file = word_level(tmp_path / "tokenizer.json", ["ab"])
    joint, separate, safe = (Encoder.load(file, policy) for policy in ("joint", "separate", "joint-safe"))
    for encoder in (joint, separate):
        assert encoder.pair("b", "ab") == safe.pair("b", "ab")  # a token ends at the join
    assert safe.pair("ba", "b") == separate.pair("ba", "b") != joint.pair("ba", "b")


def test_joint_safe_is_joint_where_what_follows_changes_the_context_but_not_at_the_join(tmp_path: Path) -> None:
    file = word_level(tmp_path / "tokenizer.json", ["▁ab"], own_space=True)
    safe, separate = Encoder.load(file, "joint-safe"), Encoder.load(file, "separate")
    name = safe.tokenizer.token_to_id
    assert safe.pair("a", " ab").continuation_ids == (name("▁ab"),)
    assert safe.pair("a", "b").continuation_ids == separate.pair("a", "b").continuation_ids


def test_a_continuation_without_tokens_is_the_unknown_token(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    wordpiece_like().save(str(file))
    for policy in POLICIES:
        encoder = Encoder.load(file, policy)
        unknown = encoder.tokenizer.token_to_id("[UNK]")
        assert encoder.pair("the sea", " \n").continuation_ids == (unknown,)
        assert encoder.pair("the sea", " \n").context_ids == encoder.pair("the sea", " wind").context_ids
        assert encoder.pair(" ", " sea").context_ids == (encoder.tokenizer.token_to_id("[CLS]"),)


def test_what_lies_beside_the_tokenizer_decides_on_the_begin_token(tmp_path: Path) -> None:
    file = word_level(tmp_path / "tokenizer.json", ["ab"])
    begin, ab = (Encoder.load(file, "separate").tokenizer.token_to_id(name) for name in ("<s>", "ab"))
    settings = tmp_path / "tokenizer_config.json"

    def context_ids(**stated: object) -> tuple[int, ...]:
        settings.write_text(json.dumps({"bos_token": "<s>"} | stated))
        return Encoder.load(file, "separate").pair("ab", "ab").context_ids

    assert context_ids() == (ab,)
    assert context_ids(add_bos_token=True) == (begin, ab)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma2"}))
    assert context_ids() == context_ids(add_bos_token=False) == (begin, ab)  # Gemma needs it
    (tmp_path / "config.json").unlink()
    word_level(tmp_path / "tokenizer.json", ["ab"], begin=True)
    assert context_ids() == context_ids(add_bos_token=True) == (begin, ab)  # not twice
    assert context_ids(add_bos_token=False) == (ab,)
