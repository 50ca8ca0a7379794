from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, processors

from catwalk_eval.config import Boundary
from catwalk_eval.errors import UserError
from catwalk_eval.tokenize import Encoder, tokenizer_file


def word_level(path: Path, words: list[str], *, own_space: bool = False, begin: bool = False) -> Path:
    """A BPE tokenizer of single characters and the given merged words."""
    alphabet = sorted({*"".join(words), *"abA▁ \n"})
    vocabulary = {"<s>": 0, "</s>": 1, **{c: k + 2 for k, c in enumerate(alphabet)}}
    merges = []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    if own_space:  # as Llama's tokenizer.json has it
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(path))
    return path


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    context=st.text(max_size=12),
    continuation=st.text(min_size=1, max_size=12),
    boundary=st.sampled_from(["separate", "joint"]),
)
def test_neither_part_is_ever_empty_and_ids_cover_the_text(
    tokenizer_json: Path, context: str, continuation: str, boundary: Boundary
) -> None:
    encoder = Encoder.load(tokenizer_json, boundary)
    pair = encoder.pair(context, continuation)
    assert pair.context_ids
    assert pair.continuation_ids
    whole = Tokenizer.from_file(str(tokenizer_json))
    if boundary == "separate" or not context:
        assert pair.continuation_ids == tuple(whole.encode(continuation).ids)
        assert pair.context_ids == (tuple(whole.encode(context).ids) or (0,))
    else:
        # a context that is swallowed whole by the first token leaves the prefix token
        both = tuple(whole.encode(context + continuation).ids)
        assert both in (pair.context_ids + pair.continuation_ids, pair.continuation_ids)


def test_a_token_across_the_join_belongs_to_the_continuation(tmp_path: Path) -> None:
    file = word_level(tmp_path / "tokenizer.json", ["ab"])
    joint, separate = Encoder.load(file, "joint"), Encoder.load(file, "separate")
    a, b, ab = (joint.tokenizer.token_to_id(text) for text in ("a", "b", "ab"))
    assert joint.pair("ba", "b").context_ids == (b,)
    assert joint.pair("ba", "b").continuation_ids == (ab,)
    assert separate.pair("ba", "b").context_ids == (b, a)
    assert separate.pair("ba", "b").continuation_ids == (b,)


def test_a_context_swallowed_by_the_first_token_leaves_the_prefix_token(tmp_path: Path) -> None:
    encoder = Encoder.load(word_level(tmp_path / "tokenizer.json", ["ab"]), "joint")
    pair = encoder.pair("a", "b")
    assert pair.context_ids == (0,)
    assert pair.continuation_ids == (encoder.tokenizer.token_to_id("ab"),)


def test_tokenizers_that_put_a_space_first_get_no_second_one(tmp_path: Path) -> None:
    encoder = Encoder.load(word_level(tmp_path / "tokenizer.json", ["▁ab"], own_space=True), "separate")
    assert tuple(encoder.tokenizer.encode(" ab", add_special_tokens=False).ids) == (
        encoder.tokenizer.token_to_id("▁"),
        encoder.tokenizer.token_to_id("▁ab"),
    )
    assert encoder.pair("a", " ab").continuation_ids == (encoder.tokenizer.token_to_id("▁ab"),)
    plain = Encoder.load(word_level(tmp_path / "plain.json", [" ab"]), "separate")
    assert plain.pair("a", " ab").continuation_ids == (plain.tokenizer.token_to_id(" ab"),)


def test_the_begin_token_stands_once_before_every_context(tmp_path: Path) -> None:
    encoder = Encoder.load(word_level(tmp_path / "tokenizer.json", ["ab"], begin=True), "separate")
    ab = encoder.tokenizer.token_to_id("ab")
    assert encoder.pair("ab", "ab").context_ids == (0, ab)
    assert encoder.pair("ab", "ab").continuation_ids == (ab,)
    assert encoder.pair("", "ab").context_ids == (0,)


def test_an_empty_context_is_the_begin_token_else_the_end_token(tmp_path: Path, tokenizer_json: Path) -> None:
    assert Encoder.load(tokenizer_json, "separate").pair("", " sea").context_ids == (0,)  # <|endoftext|>
    file = word_level(tmp_path / "tokenizer.json", ["ab"])
    assert Encoder.load(file, "separate").pair("", "ab").context_ids == (0,)  # <s>, by its usual name
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": None, "eos_token": {"content": "</s>"}}))
    assert Encoder.load(file, "separate").pair("", "ab").context_ids == (1,)  # as the file beside it says


def test_truncation_and_padding_of_the_file_are_not_applied(tmp_path: Path, tokenizer_json: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text = "The wind blew over the hills"
    ours = Encoder.load(tmp_path / "tokenizer.json", "separate").pair(text, " sea")
    assert ours.context_ids == Encoder.load(tokenizer_json, "separate").pair(text, " sea").context_ids
    assert ours.leading == 0


def test_text_that_spells_a_special_token_stays_text(tokenizer_json: Path) -> None:
    encoder = Encoder.load(tokenizer_json, "separate")
    special = encoder.tokenizer.token_to_id("<|endoftext|>")
    assert special is not None
    pair = encoder.pair("a <|endoftext|>", " <|endoftext|> b")
    assert special not in pair.context_ids + pair.continuation_ids


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        tokenizer_file(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(UserError, match="not a tokenizer"):
        Encoder.load(tokenizer_file(tmp_path), "separate")
