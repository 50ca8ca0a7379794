"""Every task in every dialect against prompts written out by hand, on records written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from catwalk_eval.prompts import DIALECTS
from catwalk_eval.tasks import TASKS

ARC = {
    "id": "q7", "question": "Which one melts?", "choices": {"text": ["ice", "salt", "sand"], "label": ["1", "2", "3"]},
    "answerKey": "1",
}  # fmt: skip
GLUE = {"sentence1": 'He did n\'t say " no " .', "sentence2": "He said ( yes ) , at last .", "label": 1, "idx": 3}
MMLU = {"question": " What is 1+1? ", "subject": "high_school_physics", "choices": ["1", "2", "3", "4"], "answer": 1}
RECORDS: dict[str, dict[str, Any]] = {
    "arc_easy": ARC,
    "arc_challenge": ARC,
    "boolq": {"question": "is ice cold", "passage": "Ice -- Ice is frozen water.", "label": 1, "idx": 0},
    "copa": {
        "premise": "The cup broke. ", "choice1": "It fell.", "choice2": "It was full.", "question": "cause", "idx": 5,
        "label": 0,
    },
    "hellaswag": {
        "ind": 11, "activity_label": "Baking", "ctx_a": "How to bake bread. [title] Mix flour. [step] Stir it  well.",
        "ctx_b": "then you", "source_id": "wikihow~1",
        "endings": ["knead it. [title] Rest.", " sleep.", "sing [a song].", "leave."], "label": "0",
    },
    "openbookqa": {
        "id": "8-1", "question_stem": "Bees eat", "choices": {"text": ["nectar", "stones"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    "piqa": {"goal": "open a jar", "sol1": "turn the lid", "sol2": "shake it ", "label": 1},
    "sciq": {
        "question": "What do plants need?", "distractor1": "sand", "distractor2": "iron", "distractor3": "salt",
        "correct_answer": "light", "support": " Plants live on light.",
    },
    "winogrande": {
        "sentence": "The bag held the box since _ was big. ", "option1": "the bag", "option2": "the box", "answer": "1",
    },
    "csqa": {
        "id": "c", "question": " Where do fish live?", "question_concept": "fish", "answerKey": "E",
        "choices": {"label": ["A", "B", "C", "D", "E"], "text": ["air", "desert", "fire", "rock", "sea"]},
    },
    "socialiqa": {
        "context": "Kim lost a key.", "question": "How did Kim feel?", "answerA": "glad", "answerB": "upset",
        "answerC": "tall", "label": "2",
    },
    "mmlu_rc": MMLU,
    "mmlu_mc": MMLU,
    "rte": GLUE,
    "mrpc": GLUE,
    "wnli": GLUE,
    "sst2": {"sentence": "it 's good , is n't it ? ", "label": 1, "idx": 2},
    "qnli": {"question": "Who won?", "sentence": "Nobody won.", "label": 0, "idx": 1},
    "qqp": {"question1": "Why me?", "question2": "Why is it me?", "label": 1, "idx": 4},
    "commitment_bank": {"premise": "I think it rains.", "hypothesis": "it rains", "label": 2, "idx": 0},
    "wic": {
        "word": "bank", "sentence1": "The banks were steep.", "sentence2": "The bank closed.", "start1": 4, "end1": 9,
        "start2": 4, "end2": 8, "label": 0, "idx": 6,
    },
    "wsc": {
        "text": "Ann told Bea that she won .", "span1_index": 0, "span1_text": "Ann", "span2_index": 4,
        "span2_text": "she", "label": 1, "idx": 9,
    },
    "headqa_en": {
        "name": "Exam", "qid": 1, "qtext": "Where is the heart?", "ra": 2,
        "answers": [{"aid": 1, "atext": "In the leg"}, {"aid": 2, "atext": "In the chest"}],
    },
    "logiqa": {
        "label": "c ", "context": "All cats sleep.", "question": "Which follows?",
        "options": ["None.", "Some run.", "Tom sleeps.", "Dogs bark."],
    },
    "mathqa": {
        "Problem": "2 plus 3 ?", "options": "a ) 4 , b ) 5 , c ) 6.5 , d ) 7 , e ) none of these", "correct": "b",
        "Rationale": "", "annotated_formula": "", "linear_formula": "", "category": "general",
    },
}  # fmt: skip

ARC_CLOZE = ("Question: Which one melts?\nAnswer:", [" ice", " salt", " sand"], 0)
ARC_LETTERS = ("Question: Which one melts?\n A. ice\n B. salt\n C. sand\nAnswer:", [" A", " B", " C"], 0)
ARC_DIALECTS = dict.fromkeys(("olmo-paper", "olmo-inloop", "olmo-v1-inloop", "olmes-cf", "lm-eval"), ARC_CLOZE)
ARC_DIALECTS["olmes-mcf"] = ARC_LETTERS
BOOLQ = "Ice -- Ice is frozen water.\nQuestion: is ice cold?\nAnswer:"
YES_NO, NO_YES = (BOOLQ, [" yes", " no"], 0), (BOOLQ, [" no", " yes"], 1)
COPA = ("The cup broke because", [" it fell.", " it was full."], 0)
HELLASWAG = "Baking: How to bake bread.{} Mix flour. Stir it well. Then you"
HELLASWAG_TWO = (HELLASWAG.format("."), [" knead it.. Rest.", " sleep.", " sing .", " leave."], 0)
HELLASWAG_ONE = (HELLASWAG.format(""), [" knead it. Rest.", " sleep.", " sing .", " leave."], 0)
PIQA = [" turn the lid", " shake it "]
SCIQ = [" sand", " iron", " salt", " light"]
SCIQ_TEXT = "Plants live on light.\nQuestion: What do plants need?\nAnswer:"
WINOGRANDE = (
    ["The bag held the box since the bag", "The bag held the box since the box"], [" was big.", " was big."], 0
)  # fmt: skip
CSQA = ("Question:  Where do fish live?\nAnswer:", [" air", " desert", " fire", " rock", " sea"], 4)
SIQA = [" glad", " upset", " tall"]
SIQA_QUESTION = ("Question: Kim lost a key. How did Kim feel?\nAnswer:", SIQA, 1)
SUBJECT = "The following are multiple choice questions (with answers) about high school physics.\n\n"
MMLU_CLOZE = ("Question: What is 1+1?\nAnswer:", [" 1", " 2", " 3", " 4"], 1)
MMLU_LETTERS = " A. 1\n B. 2\n C. 3\n D. 4\nAnswer:"
MMLU_PLAIN = "What is 1+1?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
ABCD = [" A", " B", " C", " D"]
PAIR = 'He did n\'t say " no " .\nQuestion: He said ( yes ) , at last . True or False?\nAnswer:'
RTE, WNLI = (PAIR, [" True", " False"], 1), (PAIR, [" False", " True"], 1)
MEANING = "\nQuestion: Do both sentences mean the same thing?\nAnswer:"
MRPC = 'Sentence 1: He didn\'t say"no".\nSentence 2: He said (yes), at last.' + MEANING
MRPC_RAW = 'Sentence 1: He did n\'t say " no " .\nSentence 2: He said ( yes ) , at last .' + MEANING
FEELING = "\nQuestion: Is this sentence positive or negative?\nAnswer:"
SST2 = ("it's good, isn't it ? " + FEELING, [" negative", " positive"], 1)
COMMITMENT = "I think it rains.\nQuestion: it rains. True, False{} or Neither?\nAnswer:"
CERTAIN = [" True", " False", " Neither"]
SENSE = "Question: Is the word 'banks' used in the same way in the two sentences above?\nAnswer:"
WIC = ("Sentence 1: The banks were steep.\nSentence 2: The bank closed.\n" + SENSE, [" no", " yes"], 0)
REFERS = 'Question: In the passage above, does the pronoun "*she*" refer to "*Ann*"?\nAnswer:'
WSC = ("Passage: Ann told Bea that *she* won.\n" + REFERS, [" no", " yes"], 1)
QNLI = ("Who won?\nNobody won.\nQuestion: Does this response answer the question?\nAnswer:", [" yes", " no"], 0)
QQP = (
    "Question 1: Why me?\nQuestion 2: Why is it me?\nQuestion: Do both questions ask the same thing?\nAnswer:",
    [" no", " yes"],
    1,
)
HEADQA = ("Question: Where is the heart?\nAnswer:", [" In the leg", " In the chest"], 1)
LISTED = "Choices:\nA. None.\nB. Some run.\nC. Tom sleeps.\nD. Dogs bark.\nAnswer:"
LOGIQA = (
    "Passage: All cats sleep.\nQuestion: Which follows?\n" + LISTED,
    [" None.", " Some run.", " Tom sleeps.", " Dogs bark."],
    2,
)
MATHQA = ("Question: 2 plus 3 ?\nAnswer:", [" 4", " 5", " 6.5", " 7", " none of these"], 1)

BEST = "\nChoose the best continuation:\n A. knead it. Rest.\n B. sleep.\n C. sing .\n D. leave.\nAnswer:"

EXPECTED: dict[str, dict[str, tuple[str | list[str], list[str], int]]] = {
    "arc_easy": ARC_DIALECTS,
    "arc_challenge": ARC_DIALECTS,
    "boolq": {
        "olmo-paper": NO_YES,
        "olmo-inloop": YES_NO,
        "olmo-v1-inloop": YES_NO,
        "olmes-cf": YES_NO,
        "olmes-mcf": (
            "Ice -- Ice is frozen water.\nQuestion: is ice cold?\n A. yes\n B. no\nAnswer:", [" A", " B"], 0
        ),
        "lm-eval": NO_YES,
    },
    "copa": {
        "olmo-paper": COPA,
        "olmo-inloop": COPA,
        "olmo-v1-inloop": COPA,
        "lm-eval": ("The cup broke because", ["  it fell.", "  it was full."], 0),
    },
    "hellaswag": {
        "olmo-paper": HELLASWAG_TWO,
        "olmo-inloop": HELLASWAG_ONE,
        "olmo-v1-inloop": HELLASWAG_TWO,
        "olmes-cf": HELLASWAG_ONE,
        "olmes-mcf": (HELLASWAG.format("") + BEST, ABCD, 0),
        "lm-eval": HELLASWAG_TWO,
    },
    "openbookqa": {
        "olmo-paper": ("Bees eat", [" nectar", " stones"], 1),
        "olmo-inloop": ("Question: Bees eat\nAnswer:", [" nectar", " stones"], 1),
        "olmo-v1-inloop": ("Bees eat", [" nectar", " stones"], 1),
        "olmes-cf": ("Question: Bees eat\nAnswer:", [" nectar", " stones"], 1),
        "olmes-mcf": ("Question: Bees eat\n A. nectar\n B. stones\nAnswer:", [" A", " B"], 1),
        "lm-eval": ("Bees eat", [" nectar", " stones"], 1),
    },
    "piqa": {
        "olmo-paper": ("Question: open a jar\nAnswer:", PIQA, 1),
        "olmo-inloop": ("Goal: open a jar\nAnswer:", PIQA, 1),
        "olmo-v1-inloop": ("Question: open a jar\nAnswer:", PIQA, 1),
        "olmes-cf": ("Goal: open a jar\nAnswer:", PIQA, 1),
        "olmes-mcf": ("Goal: open a jar\n A. turn the lid\n B. shake it \nAnswer:", [" A", " B"], 1),
        "lm-eval": ("Question: open a jar\nAnswer:", PIQA, 1),
    },
    "sciq": {
        "olmo-paper": (SCIQ_TEXT, SCIQ, 3),
        "olmo-inloop": (SCIQ_TEXT, SCIQ, 3),
        "olmo-v1-inloop": (SCIQ_TEXT, SCIQ, 3),
        "lm-eval": (SCIQ_TEXT, SCIQ, 3),
    },
    "winogrande": {
        "olmo-paper": WINOGRANDE,
        "olmo-inloop": WINOGRANDE,
        "olmo-v1-inloop": WINOGRANDE,
        "olmes-cf": WINOGRANDE,
        "olmes-mcf": (
            "Fill in the blank: The bag held the box since ___ was big. \n A. the bag\n B. the box\nAnswer:",
            [" A", " B"],
            0,
        ),
        "lm-eval": WINOGRANDE,
    },
    "csqa": {
        "olmo-paper": CSQA,
        "olmo-inloop": CSQA,
        "olmo-v1-inloop": CSQA,
        "olmes-cf": CSQA,
        "olmes-mcf": (
            "Question:  Where do fish live?\n A. air\n B. desert\n C. fire\n D. rock\n E. sea\nAnswer:",
            [*ABCD, " E"],
            4,
        ),
        "lm-eval": (
            "Question: Where do fish live?\nA. air\nB. desert\nC. fire\nD. rock\nE. sea\nAnswer:", [*ABCD, " E"], 4
        ),
    },
    "socialiqa": {
        "olmo-paper": SIQA_QUESTION,
        "olmo-inloop": SIQA_QUESTION,
        "olmo-v1-inloop": SIQA_QUESTION,
        "olmes-cf": SIQA_QUESTION,
        "olmes-mcf": (
            "Question: Kim lost a key. How did Kim feel?\n A. glad\n B. upset\n C. tall\nAnswer:", ABCD[:3], 1
        ),
        "lm-eval": ("Q: Kim lost a key. How did Kim feel?\nA:", SIQA, 1),
    },
    "mmlu_rc": {
        "olmo-inloop": (SUBJECT + MMLU_CLOZE[0], *MMLU_CLOZE[1:]),
        "olmo-v1-inloop": MMLU_CLOZE,
        "olmes-cf": (SUBJECT + MMLU_CLOZE[0], *MMLU_CLOZE[1:]),
        "lm-eval": (
            "The following are questions (with answers) about high school physics.\n\n" + MMLU_CLOZE[0],
            *MMLU_CLOZE[1:],
        ),
    },
    "mmlu_mc": {
        "olmo-paper": (SUBJECT + MMLU_PLAIN, ABCD, 1),
        "olmo-inloop": (SUBJECT + "Question: What is 1+1?\n" + MMLU_LETTERS, ABCD, 1),
        "olmo-v1-inloop": (MMLU_PLAIN, ABCD, 1),
        "olmes-mcf": (SUBJECT + "Question: What is 1+1?\n" + MMLU_LETTERS, ABCD, 1),
        "lm-eval": (SUBJECT + MMLU_PLAIN, ABCD, 1),
    },
    "rte": dict.fromkeys(("olmo-paper", "olmo-v1-inloop", "lm-eval"), RTE),
    "mrpc": {
        "olmo-paper": (MRPC, [" no", " yes"], 1),
        "olmo-v1-inloop": (MRPC, [" yes", " no"], 0),
        "lm-eval": (MRPC_RAW, [" no", " yes"], 1),
    },
    "sst2": {
        "olmo-paper": SST2,
        "olmo-v1-inloop": SST2,
        "lm-eval": ("it 's good , is n't it ? " + FEELING, [" negative", " positive"], 1),
    },
    "commitment_bank": {
        "olmo-v1-inloop": (COMMITMENT.format(""), CERTAIN, 2),
        "lm-eval": (COMMITMENT.format(","), CERTAIN, 2),
    },
    "wnli": dict.fromkeys(("olmo-paper", "lm-eval"), WNLI),
    "qnli": dict.fromkeys(("olmo-paper", "lm-eval"), QNLI),
    "qqp": dict.fromkeys(("olmo-paper", "lm-eval"), QQP),
    "wic": dict.fromkeys(("olmo-paper", "lm-eval"), WIC),
    "wsc": dict.fromkeys(("olmo-paper", "lm-eval"), WSC),
    "headqa_en": dict.fromkeys(("olmo-paper", "lm-eval"), HEADQA),
    "logiqa": dict.fromkeys(("olmo-paper", "lm-eval"), LOGIQA),
    "mathqa": dict.fromkeys(("olmo-paper", "lm-eval"), MATHQA),
}  # fmt: skip


@pytest.mark.parametrize(("name", "dialect"), [(name, dialect) for name in TASKS for dialect in TASKS[name].wordings])
def test_a_prompt_is_the_one_written_out_here(name: str, dialect: str) -> None:
    context, continuations, label = EXPECTED[name][dialect]
    instance = TASKS[name].instance(RECORDS[name], 0, dialect)
    contexts = context if isinstance(context, list) else [context] * len(continuations)
    assert list(instance.contexts) == contexts
    assert list(instance.continuations) == continuations
    assert instance.label == label


def test_every_prompt_written_out_here_belongs_to_a_task_and_a_dialect() -> None:
    for name, expected in EXPECTED.items():
        assert set(expected) == set(TASKS[name].wordings)
        assert set(expected) <= set(DIALECTS)


EMPTY_SUPPORT = RECORDS["sciq"] | {"support": ""}
BARE = "Question: What do plants need?\nAnswer:"


@pytest.mark.parametrize(
    ("dialect", "context"),
    [("olmo-paper", BARE), ("olmo-inloop", BARE), ("olmo-v1-inloop", "\n" + BARE), ("lm-eval", "\n" + BARE)],
)
def test_sciq_without_a_paragraph_begins_with_a_line_break_where_the_harness_does(dialect: str, context: str) -> None:
    assert TASKS["sciq"].instance(EMPTY_SUPPORT, 0, dialect).contexts[0] == context


@pytest.mark.parametrize("edition", [{"answer": True}, {"label": 1}])
def test_boolq_reads_both_editions(edition: dict[str, Any]) -> None:
    record = {"passage": "P.", "question": "is it so"} | edition
    assert TASKS["boolq"].instance(record, 0, "lm-eval").label == 1
    assert TASKS["boolq"].instance(record, 0, "olmo-inloop").label == 0


def test_head_qa_reads_answers_by_column_as_parquet_gives_them() -> None:
    record = RECORDS["headqa_en"] | {"answers": {"aid": [1, 2], "atext": ["In the leg", "In the chest"]}}
    assert TASKS["headqa_en"].instance(record, 0, "lm-eval").continuations == (" In the leg", " In the chest")


def test_what_instances_share_is_their_cluster_and_mmlu_has_its_subject_as_domain() -> None:
    shared = {name: TASKS[name].cluster_of(RECORDS[name]) for name in TASKS}
    assert {name: cluster for name, cluster in shared.items() if cluster is not None} == {
        "boolq": "Ice -- Ice is frozen water.",
        "hellaswag": "wikihow~1",
        "sciq": " Plants live on light.",
        "csqa": "fish",
        "socialiqa": "Kim lost a key.",
        "mmlu_rc": "high_school_physics",
        "mmlu_mc": "high_school_physics",
        "rte": GLUE["sentence1"],
        "wnli": GLUE["sentence1"],
        "commitment_bank": "I think it rains.",
        "wsc": "Ann told Bea that she won .",
        "logiqa": "All cats sleep.",
    }
    assert TASKS["mmlu_mc"].instance(RECORDS["mmlu_mc"], 0, "lm-eval").domain == "high_school_physics"
    long = TASKS["boolq"].cluster_of({"passage": "a" * 81})
    assert long is not None
    assert long.startswith("sha256:")
    assert TASKS["sciq"].cluster_of(EMPTY_SUPPORT) is None


@pytest.mark.parametrize("name", TASKS)
def test_a_field_that_is_missing_or_of_another_kind_is_refused_by_its_name(name: str) -> None:
    """Nothing of a record enters a prompt as the word None."""
    fields = [key for key, value in RECORDS[name].items() if isinstance(value, str | list | dict)]
    used = 0
    for dialect in TASKS[name].wordings:
        for key in fields:
            whole = TASKS[name].instance(RECORDS[name], 0, dialect)
            for wrong in (None, 5.5, [{}], {}):
                try:
                    other = TASKS[name].instance({**RECORDS[name], key: wrong}, 0, dialect)
                except (KeyError, ValueError):
                    used += 1
                    continue
                assert not any("None" in text or "{}" in text for text in (*other.contexts, *other.continuations))
                if wrong != 5.5:
                    assert (other.contexts, other.continuations) == (whole.contexts, whole.continuations)
    assert used > 0
