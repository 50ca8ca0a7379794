"""The encoder gives the ids of the tokenizers library, whatever the text."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_data.kernels.pretokens import LETTER, NUMBER, SPACE
from dolma_data.tokens.byte_pairs import CUTS, GPT2, Encoder, UnsupportedTokenizerError, character_kinds, compile_tables
from dolma_data.tokens.tokenizer import CUT, load_tokenizer

PROSE = "The cat's hat isn't red; we'll see 1234567 cats. Das Mädchen fährt über die Brücke. Привет, мир! " * 3
CODE = "def f(x):\n\n    if x == 0x1F:\n\t\treturn [x, 'y']   \r\n        # ----------------\n" * 3
FRAGMENTS = [
    *("'s", "'S", "'ſ", "'re", "'LL", "'ve", "'d", "'", "''", "ab", "Straße", " ", "  ", "   ", "\t", "\n", "\r\n"),
    *("\n\n ", "\xa0", "\u2028", "\u3000", "\x85", "\x1c", "\u200b", "\ufeff", "\x00", "é", "e\u0301"),
    *(
        "e\u0323\u0301",
        "\u0301",
        "\u1161",
        "\u1100\u1161\u11a8",
        "각",
        "\u212b",
        "\u212a",
        "\u0958",
        "한국어",
        "漢字漢字",
    ),
    *("ไทย", "हिन्दी", "עִבְרִית", "\U00011131\U00011127", "12345", "²³", "٣٤٥", "Ⅷ", "🤦🏽", "\U00010400"),
    *("\U000e0001", "\U000f0000", "\u0378", "-" * 70, "=" * 23, "a" * 24, "abcdefgh", "abcdefghijklmnop", "xyz" * 30),
    *("<|endoftext|>", "<|padding|>", "<|fim_prefix|>", "<|endof", "|||EMAIL_ADDRESS|||", "|||IP_ADDRESS|||"),
    *("||||EMAIL_ADDRESS||||", " " * 25, " " * 60, "@@raw@@", "@@sp"),
]
TEXTS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=6)), max_size=20).map("".join)


def added(
    number: int, content: str, *, normalized: bool = True, special: bool = False, **flags: bool
) -> dict[str, Any]:
    rest = {"single_word": False, "lstrip": False, "rstrip": False} | flags
    return {"id": number, "content": content, "normalized": normalized, "special": special, **rest}


def trained(changes: dict[str, Any], folder: Path) -> Path:
    """A small tokenizer with other parts than it was trained with."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(CUT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|padding|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator([PROSE, CODE, "a" * 40 + " aa aaa aaaa " * 9, "漢字漢字 漢字"], trainer)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(tokenizer.to_str()) | changes))
    return path


def split(expression: str, behavior: str = "Removed", invert: bool = True) -> dict[str, Any]:
    cut = {"type": "Split", "pattern": {"Regex": expression}, "behavior": behavior, "invert": invert}
    return {"type": "Sequence", "pretokenizers": [cut, BYTES | {"use_regex": False}]}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
CL100K = next(expression for expression, (cut, digits) in CUTS.items() if cut == 3 and digits == 3)
ENDS = [added(0, "<|endoftext|>", normalized=False, special=True), added(1, "<|padding|>", special=True)]
SPACES = [added(420 + k, " " * (k + 2)) for k in range(23)]
RAW = added(420, "@@raw@@", normalized=False)
SHAPES = {
    "as trained": {},
    "gpt2": {"pre_tokenizer": BYTES},
    "gpt2 as an expression": {"pre_tokenizer": split(GPT2)},
    "cl100k": {"pre_tokenizer": split(CL100K)},
    "single digits": {"pre_tokenizer": split(CL100K.replace("{1,3}", ""), "Isolated", False)},
    "nfc": {"pre_tokenizer": BYTES, "normalizer": {"type": "NFC"}},
    "spaces": {
        "pre_tokenizer": BYTES,
        "normalizer": {"type": "NFC"},
        "added_tokens": [*ENDS, *SPACES, added(443, "|||EMAIL_ADDRESS|||"), added(444, "e\u0301")],
    },
    "raw and nfc": {"normalizer": {"type": "NFC"}, "added_tokens": [*ENDS, RAW, added(421, "K", normalized=False)]},
    "raw": {"added_tokens": [*ENDS, RAW, added(421, "@@r"), added(422, "\n")]},
}
SPECIAL = {"special tokens are tokens": SHAPES["raw"], "special tokens are tokens, nfc": SHAPES["spaces"]}


def library_ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


def our_ids(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    ids, firsts = encoder.encode([text.encode() for text in texts])
    return [ids[start:end].tolist() for start, end in pairwise(firsts)]


@pytest.fixture(scope="module", params=[*SHAPES, *SPECIAL])
def pair(request, tmp_path_factory) -> tuple[Any, Encoder]:
    path = trained((SHAPES | SPECIAL)[request.param], tmp_path_factory.mktemp("tokenizer"))
    tokenizer = load_tokenizer(path, special_is_text=request.param in SHAPES)
    return tokenizer, Encoder(compile_tables(path, tokenizer), lambda: tokenizer)


@settings(max_examples=150)
@given(texts=st.lists(TEXTS, max_size=4))
def test_ids_are_the_library_s(pair, texts):
    tokenizer, encoder = pair
    assert our_ids(encoder, texts) == library_ids(tokenizer, texts)


def test_long_words_and_prose_are_the_library_s(pair):
    tokenizer, encoder = pair
    texts = [PROSE, CODE, "a" * 5000, "ab" * 700 + "漢字" * 900, "", PROSE]
    assert our_ids(encoder, texts) == library_ids(tokenizer, texts)


@settings(max_examples=100)
@given(
    word=st.one_of(
        st.text(alphabet="acehnrt", min_size=30, max_size=400),
        st.tuples(st.text(alphabet="ae漢", min_size=1, max_size=9), st.integers(20, 90)).map(
            lambda each: each[0] * each[1]
        ),
        st.lists(st.sampled_from(["the", "cats", "isn", "a", "aa", "aaaa", "漢字"]), min_size=20, max_size=90).map(
            "".join
        ),
    ),
    together=st.integers(4, 80),
)
def test_giant_words_are_merged_in_stretches(giants, word, together):
    tokenizer, encoder = giants
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dolma_data.tokens.byte_pairs.MERGED_TOGETHER", together)
        assert our_ids(encoder, ["a cat", word, word + " a"]) == library_ids(tokenizer, ["a cat", word, word + " a"])


@pytest.fixture(scope="module")
def giants(tmp_path_factory) -> tuple[Any, Encoder]:
    path = trained({}, tmp_path_factory.mktemp("tokenizer"))
    tokenizer = load_tokenizer(path)
    return tokenizer, Encoder(compile_tables(path, tokenizer), lambda: tokenizer)


def test_long_texts_are_normalised_in_pieces(pair, monkeypatch):
    tokenizer, encoder = pair
    monkeypatch.setattr("dolma_data.tokens.byte_pairs.NORMALISED_TOGETHER", 3)
    texts = ["e\u0323\u0301 A\u030a\u0301ngstro\u0308m e\u0301e\u0301e\u0301 \u1112\u1161\u11ab" * 5]
    assert our_ids(encoder, texts) == library_ids(tokenizer, texts)


def test_a_remembered_word_can_be_pushed_out(pair, monkeypatch):
    tokenizer, encoder = pair
    monkeypatch.setattr("dolma_data.tokens.byte_pairs.MEMORY", 2)
    small = Encoder(encoder.tables, lambda: tokenizer)
    texts = [" ".join(f"w{k % 7} cat{k % 5}" for k in range(90))] * 2
    assert our_ids(small, texts) == library_ids(tokenizer, texts)


def test_tables_come_back_from_disk(pair, tmp_path):
    _, encoder = pair
    encoder.tables.save(tmp_path / "tables.npz")
    again = Encoder(type(encoder.tables).load(tmp_path / "tables.npz"), encoder.library)
    assert our_ids(again, [PROSE, CODE]) == our_ids(encoder, [PROSE, CODE])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pre_tokenizer": split(r"\w+|\s+|.")}, "an expression of its own"),
        ({"pre_tokenizer": BYTES | {"add_prefix_space": True}}, "puts a space first"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "type Whitespace"),
        ({"normalizer": {"type": "NFKC"}}, "type NFKC"),
        ({"added_tokens": [*ENDS, added(420, "<m>", lstrip=True)]}, "<m>"),
        ({"added_tokens": [*ENDS, added(420, "<m>", single_word=True)]}, "<m>"),
    ],
)
def test_what_the_tables_cannot_hold_is_left_to_the_library(changes, reason, tmp_path):
    path = trained(changes, tmp_path)
    with pytest.raises(UnsupportedTokenizerError, match=reason):
        compile_tables(path, load_tokenizer(path))


def test_kinds_of_characters_are_the_library_s():
    from tokenizers import Regex, pre_tokenizers

    kinds = character_kinds()
    for expression, kind in ((r"\p{L}", LETTER), (r"\p{N}", NUMBER), (r"\s", SPACE)):
        matches = pre_tokenizers.Split(Regex(expression), "removed")
        for first in (0x0, 0x600, 0x2000, 0xA700, 0x1D400, 0x2F800, 0x40000, 0xE0000, 0x10FF00):
            text = "".join(map(chr, range(first, first + 0x100)))
            found = [character for character in text if not matches.pre_tokenize_str(character)]
            assert [character for character in text if kinds[ord(character)] & kind] == found


def corpora(root: Path) -> list[str]:
    """Every text under ``corpora``, whole files where they are not rows."""
    texts = [gzip.decompress(path.read_bytes()).decode() for path in sorted(root.rglob("*.txt.gz"))]
    for path in sorted(root.rglob("*.jsonl.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            texts.extend(value for value in json.loads(line).values() if isinstance(value, str))
    return texts


@pytest.mark.parametrize("name", ["allenai_gpt-neox-olmo-dolma-v1_5", "allenai_dolma2"])
def test_ids_of_real_text_are_the_library_s(data_dir, name):
    path = data_dir / "tokenizers" / f"{name}.json"
    tokenizer = load_tokenizer(path)
    encoder = Encoder(compile_tables(path, tokenizer), lambda: tokenizer)
    texts = [text[:2000] for text in corpora(data_dir / "corpora")][::20]
    assert our_ids(encoder, texts) == library_ids(tokenizer, texts)
