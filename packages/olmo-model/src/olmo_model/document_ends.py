"""Whether ``model.eos_token_id`` ends the documents of bare token files, and whether their tokenizer is the right one.

Nothing but the ids can tell: a wrong id trains a model that never ends a document. Two tokenizers of OLMo v1 that swap
two ids make it easy to get wrong (``convert.end_of_document``); GPT-2's id is 50256, OLMo 2's 100257.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from .convert.end_of_document import ADDRESS, OLD, RIGHT, WHY
from .errors import UserError
from .ranks import Ranks
from .raw_tokens import RawTokens
from .tokens import Tokens, load_tokenizer

log = logging.getLogger(__name__)
END_TEXTS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|eos|>")
END_IDS = (OLD, 50256, RIGHT, 100257)  # of OLMo's first tokenizer, GPT-2, OLMo v1 and OLMo 2
MEANT = "with data.check_eos false the files are taken as they are"


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What a tokenizer says of its ids: the largest, the text of those added to its vocabulary, which of these are
    special, and the text of the id that is to end a document."""

    largest: int
    added: Mapping[int, str]
    special: frozenset[int]
    end: str | None

    def may_end(self, number: int) -> bool:
        """Whether an id may end a document: one that was added for a purpose, or that does so in a known vocabulary."""
        if not self.added:
            return number in END_IDS
        return number in self.added and (bool(self.added[number].strip()) or number in END_IDS)

    @property
    def likely(self) -> list[int]:
        """The ids whose text says that they end a document, or that stand in its place in OLMo's known way."""
        return [number for number, text in self.added.items() if text in END_TEXTS or text == ADDRESS]

    def named(self, number: int) -> str:
        """An id with its text."""
        return f"{number} ({self.added[number]})" if number in self.added else str(number)


def marks_of(tokens: RawTokens) -> Marks:
    """The marks of the tokenizer of files."""
    tokenizer = load_tokenizer(tokens.tokenizer_file)
    added = tokenizer.get_added_tokens_decoder()
    return Marks(
        largest=max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1),
        added={number: token.content for number, token in added.items()},
        special=frozenset(number for number, token in added.items() if token.special),
        end=tokenizer.id_to_token(tokens.eos_token_id),
    )


@dataclass(frozen=True)
class BareFiles:
    """Token files without a manifest, and what their tokenizer says of its ids."""

    tokens: RawTokens
    marks: Marks

    def check_settings(self) -> None:
        """Refuse what needs no look at the ids: a tokenizer without the id that ends a document, or with ids beyond the
        vocabulary; files of which none ends in that id but most in another that may end a document."""
        tokens, marks, eos = self.tokens, self.marks, self.tokens.eos_token_id
        if marks.largest >= tokens.vocab_size:
            raise UserError(
                f"the tokenizer has ids up to {marks.largest}, not below model.vocab_size {tokens.vocab_size}",
                where=tokens.tokenizer_path,
                fix=f"give the tokenizer that made data.files, and the vocab_size of that; {MEANT}",
            )
        if marks.end is None or (marks.special and eos not in marks.added):
            what = f"no id {eos}" if marks.end is None else f"a piece of text at id {eos}, {marks.end!r}"
            others = ", ".join(map(marks.named, marks.likely))
            raise UserError(
                f"the tokenizer has {what}, which model.eos_token_id says ends a document"
                + (f"; its own id for that is {others}" if others else ""),
                where=tokens.tokenizer_path,
                fix=f"give the tokenizer that made data.files, or its model.eos_token_id; {MEANT}",
            )
        ends = Counter(tokens.last_ids)
        last, files = ends.most_common(1)[0]
        if not ends[eos] and self._may_end(last):
            raise UserError(
                f"no file ends in id {eos}, which model.eos_token_id says ends a document, but {files} of "
                f"{ends.total()} in id {marks.named(last)}{_why(eos, last)}",
                where=tokens.files[tokens.last_ids.index(last)].name,
                fix=f"set model.eos_token_id to {last}; {MEANT}",
            )
        others = ", ".join(marks.named(number) for number in marks.likely if number != eos)
        if ends[eos] and others and eos not in marks.special:
            log.warning(
                "the files end documents in id %s, the tokenizer %s in %s; `olmo-model convert` mends a checkpoint's",
                marks.named(eos),
                tokens.tokenizer_path,
                others,
            )

    def occurrences(self, ids: npt.NDArray[Any]) -> Counter[int]:
        """How often the id that ends a document occurs among ids; where it does not, the others that may be meant."""
        eos = self.tokens.eos_token_id
        count = int((ids == eos).sum())
        if count:
            return Counter({eos: count})
        return Counter({number: int((ids == number).sum()) for number in self.marks.likely})

    def check_files(self, found: Mapping[int, Counter[int]], longest: int) -> None:
        """Refuse a file of more than ``longest`` ids of which none ends a document, by what was ``found`` of each."""
        tokens, eos = self.tokens, self.tokens.eos_token_id
        for number, counts in found.items():
            file, last = tokens.files[number], tokens.last_ids[number]
            if counts[eos] or len(file) <= longest:
                continue
            others = [last] if self._may_end(last) else [other for other, _ in counts.most_common(1)]
            hint = "".join(f"; id {self.marks.named(other)} is{_why(eos, other)}" for other in others)
            raise UserError(
                f"id {eos}, which model.eos_token_id says ends a document, is not among its {len(file):,} ids{hint}",
                where=file.name,
                fix=(f"set model.eos_token_id to {others[0]}" if others else "check model.eos_token_id and the file")
                + f"; {MEANT}",
            )

    def check_largest(self, largest: int, where: str, token: int) -> None:
        """Refuse ids that the tokenizer does not have."""
        if largest > self.marks.largest:
            raise UserError(
                f"token {token} is id {largest}, beyond the tokenizer's {self.marks.largest}",
                where=where,
                fix=f"give the tokenizer that made data.files as data.tokenizer; {MEANT}",
            )

    def _may_end(self, number: int) -> bool:
        return number != self.tokens.pad_token_id and self.marks.may_end(number)


def bare_files(tokens: Tokens, ranks: Ranks) -> BareFiles | None:
    """The tokens where nothing vouches for them and the settings want them checked. All ranks call this."""
    if not isinstance(tokens, RawTokens) or not tokens.check_eos:
        return None
    return BareFiles(tokens, ranks.from_first(lambda: marks_of(tokens)))


def merged(found: Iterable[Mapping[int, Counter[int]]]) -> dict[int, Counter[int]]:
    """What several ranks found of each file, in one, by file."""
    together: dict[int, Counter[int]] = {}
    for part in found:
        for number, counts in part.items():
            together[number] = together.get(number, Counter()) + counts
    return dict(sorted(together.items()))


def _why(one: int, other: int) -> str:
    return f" ({WHY})" if {one, other} == {OLD, RIGHT} else ""
