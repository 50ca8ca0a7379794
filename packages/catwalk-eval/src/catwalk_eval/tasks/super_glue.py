"""Tasks of SuperGLUE (Wang et al. 2019, arXiv 1905.00537) beside BoolQ and COPA.

Prompts: ``superglue.py`` of the lm-evaluation-harness that allenai/catwalk vendors, with the order of answers of
Catwalk's ``tasks_lm.py`` (olmo-paper; it has no CommitmentBank); OLMo's own evaluators (olmo-v1-inloop); the templates
of lm-evaluation-harness 0.4.13, which has a comma more in CommitmentBank.
"""

from __future__ import annotations

from ..fields import Record, number_of, text_of
from ..task import Hub, Task, Wording
from .glue import RAW, detokenize, words

CERTAIN = words("{premise}\nQuestion: {hypothesis}. True, False or Neither?\nAnswer:", "True", "False", "Neither")
CERTAIN_COMMA = words(
    "{premise}\nQuestion: {hypothesis}. True, False, or Neither?\nAnswer:", "True", "False", "Neither"
)

COMMITMENT_BANK = Task(
    name="commitment_bank",
    aliases=("cb",),
    about="how far a writer commits to a clause",
    index="index",
    native_id="index",
    cluster="{premise}",
    hub=Hub("aps/super_glue", "cb"),
    wordings={
        "olmo-v1-inloop": Wording(builder=CERTAIN, primary_metric=RAW),
        "lm-eval": Wording(builder=CERTAIN_COMMA, primary_metric=RAW),
    },
)


def same_sense(record: Record) -> str:
    """Two sentences, and the word as it stands in the first."""
    first, second = text_of(record, "sentence1"), text_of(record, "sentence2")
    word = first[number_of(record, "start1") : number_of(record, "end1")]
    if not word:
        raise ValueError("start1 and end1 are no word of sentence1")
    return (
        f"Sentence 1: {first}\nSentence 2: {second}\n"
        f"Question: Is the word '{word}' used in the same way in the two sentences above?\nAnswer:"
    )


WIC = Task(
    name="wic",
    about="whether a word has one sense in two sentences",
    index="row",
    native_id="row",
    hub=Hub("aps/super_glue", "wic"),
    wordings={
        "olmo-paper": Wording(builder=words(same_sense, "no", "yes"), primary_metric=RAW),
        "lm-eval": Wording(builder=words(same_sense, "no", "yes"), primary_metric=RAW),
    },
)


def pronoun(record: Record) -> str:
    """The passage with its pronoun marked; ``span2_index`` counts words."""
    text, marked = text_of(record, "text"), text_of(record, "span2_text")
    before = " ".join(text.split()[: number_of(record, "span2_index")])
    after = text[len(before) + len(marked) + 1 :]
    passage = detokenize(f"{before} *{marked}*{after}")
    name = text_of(record, "span1_text")
    return (
        f"Passage: {passage}\n"
        f'Question: In the passage above, does the pronoun "*{marked}*" refer to "*{name}*"?\nAnswer:'
    )


WSC = Task(
    name="wsc",
    about="whether a pronoun means a name",
    index="row",
    native_id="row",
    cluster="{text}",
    hub=Hub("aps/super_glue", "wsc.fixed"),
    wordings={
        "olmo-paper": Wording(builder=words(pronoun, "no", "yes"), primary_metric=RAW),
        "lm-eval": Wording(builder=words(pronoun, "no", "yes"), primary_metric=RAW),
    },
)
