"""Tasks of GLUE (Wang et al. 2018, arXiv 1804.07461): pairs of sentences, and one of sentiment.

Prompts: ``glue.py`` of the lm-evaluation-harness that allenai/catwalk vendors (olmo-paper: the sets rc20 of
allenai/OLMo-Eval, with the order of answers of Catwalk's ``tasks_lm.py``), OLMo's own evaluators (olmo-v1-inloop), the
templates of lm-evaluation-harness 0.4.13, which no longer takes out the spaces of tokenised text.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..fields import Gold, Record, Text, render, text_of
from ..task import Cloze, Hub, Task, Wording

SPACE_BEFORE = re.compile(r" (['.,])")
RAW = "acc_raw"


def detokenize(text: str) -> str:
    """The text without the spaces that a tokenizer of words has left (``general_detokenize``)."""
    for old, new in ((" n't", "n't"), (" )", ")"), ("( ", "("), ('" ', '"'), (' "', '"')):
        text = text.replace(old, new)
    return SPACE_BEFORE.sub(r"\1", text)


def detokenized(template: str) -> Callable[[Record], str]:
    """A template whose sentences are detokenised first."""

    def text(record: Record) -> str:
        fields = {
            key: detokenize(text_of(record, key)) for key in ("sentence", "sentence1", "sentence2") if key in record
        }
        return render(template, fields)

    return text


def words(context: Text, *choices: str, gold: Gold = "label") -> Cloze:
    """Fixed answers after a context."""
    return Cloze(context=context, choices=choices, gold=gold)


def other(record: Record) -> int:
    """The label's place where the answers stand the other way round."""
    if record["label"] not in (0, 1):
        raise ValueError(f"label is {record['label']!r}, neither 0 nor 1")
    return 1 - int(record["label"])


FOLLOWS = "{sentence1}\nQuestion: {sentence2} True or False?\nAnswer:"
SAME = "Sentence 1: {sentence1}\nSentence 2: {sentence2}\nQuestion: Do both sentences mean the same thing?\nAnswer:"
FEELING = "{sentence}\nQuestion: Is this sentence positive or negative?\nAnswer:"
RESPONSE = "{question}\n{sentence}\nQuestion: Does this response answer the question?\nAnswer:"
SAME_QUESTION = (
    "Question 1: {question1}\nQuestion 2: {question2}\nQuestion: Do both questions ask the same thing?\nAnswer:"
)

RTE = Task(
    name="rte",
    about="whether a sentence follows from a text",
    index="index",
    native_id="index",
    cluster="{sentence1}",
    hub=Hub("nyu-mll/glue", "rte"),
    wordings={
        "olmo-paper": Wording(builder=words(FOLLOWS, "True", "False"), primary_metric=RAW),
        "olmo-v1-inloop": Wording(builder=words(FOLLOWS, "True", "False"), primary_metric="acc_per_char_bare"),
        "lm-eval": Wording(builder=words(FOLLOWS, "True", "False"), primary_metric=RAW),
    },
)

MRPC = Task(
    name="mrpc",
    about="whether two sentences say the same",
    index="index",
    native_id="index",
    hub=Hub("nyu-mll/glue", "mrpc"),
    wordings={
        "olmo-paper": Wording(builder=words(detokenized(SAME), "no", "yes"), primary_metric=RAW, positive=1),
        "olmo-v1-inloop": Wording(
            builder=words(detokenized(SAME), "yes", "no", gold=other), primary_metric="f1", positive=0
        ),
        "lm-eval": Wording(builder=words(SAME, "no", "yes"), primary_metric=RAW, positive=1),
    },
)

SST2 = Task(
    name="sst2",
    aliases=("sst",),
    about="whether a sentence of a film review is positive",
    index="index",
    native_id="index",
    hub=Hub("nyu-mll/glue", "sst2"),
    wordings={
        "olmo-paper": Wording(builder=words(detokenized(FEELING), "negative", "positive"), primary_metric=RAW),
        "olmo-v1-inloop": Wording(builder=words(detokenized(FEELING), "negative", "positive"), primary_metric=RAW),
        "lm-eval": Wording(builder=words(FEELING, "negative", "positive"), primary_metric=RAW),
    },
)

WNLI = Task(
    name="wnli",
    about="whether a sentence with its pronoun filled in is true",
    index="index",
    native_id="index",
    cluster="{sentence1}",
    hub=Hub("nyu-mll/glue", "wnli"),
    wordings={
        "olmo-paper": Wording(builder=words(FOLLOWS, "False", "True"), primary_metric=RAW),
        "lm-eval": Wording(builder=words(FOLLOWS, "False", "True"), primary_metric=RAW),
    },
)

QNLI = Task(
    name="qnli",
    about="whether a sentence answers a question",
    index="index",
    native_id="index",
    hub=Hub("nyu-mll/glue", "qnli"),
    wordings={
        "olmo-paper": Wording(builder=words(RESPONSE, "yes", "no"), primary_metric=RAW),
        "lm-eval": Wording(builder=words(RESPONSE, "yes", "no"), primary_metric=RAW),
    },
)

QQP = Task(
    name="qqp",
    about="whether two questions ask the same",
    index="index",
    native_id="index",
    hub=Hub("nyu-mll/glue", "qqp"),
    wordings={
        "olmo-paper": Wording(builder=words(SAME_QUESTION, "no", "yes"), primary_metric=RAW, positive=1),
        "lm-eval": Wording(builder=words(SAME_QUESTION, "no", "yes"), primary_metric=RAW, positive=1),
    },
)
