"""Records for tasks whose data sets are not at hand: written for this comparison, in the shape of the data sets."""

from __future__ import annotations

from typing import Any

Records = list[dict[str, Any]]

PAIRS = [
    ('He did n\'t say " no " .', "He said ( yes ) , at last .", 1),
    ("The river rose for three days and the bridge was closed.", "The bridge was closed.", 0),
    ("No train left the station on Sunday.", "A train left on Sunday.", 1),
    ("Mia sold the boat to her brother, who had long wanted it.", "Her brother bought the boat.", 0),
]
SENTENCES: Records = [
    {"sentence1": first, "sentence2": second, "label": label, "idx": number}
    for number, (first, second, label) in enumerate(PAIRS)
]


def numbered(rows: Records) -> Records:
    return [{**row, "idx": number} for number, row in enumerate(rows)]


RECORDS: dict[str, Records] = {
    "rte": SENTENCES,
    "mrpc": SENTENCES,
    "wnli": SENTENCES,
    "sst2": numbered([
        {"sentence": "it 's good , is n't it ? ", "label": 1},
        {"sentence": "two hours that feel like ten . ", "label": 0},
        {"sentence": "a warm and funny ( if long ) story ", "label": 1},
    ]),
    "qnli": numbered([
        {"question": "Who won the race?", "sentence": "The race was won by nobody.", "label": 0},
        {"question": "When did it rain?", "sentence": "Umbrellas are sold at the corner.", "label": 1},
        {"question": "Where is the lake?", "sentence": "The lake lies north of the town.", "label": 0},
    ]),
    "qqp": numbered([
        {"question1": "Why me?", "question2": "Why is it me?", "label": 1},
        {"question1": "How do bees fly?", "question2": "How do planes fly?", "label": 0},
        {"question1": "What is tea made of?", "question2": "Which leaves make tea?", "label": 1},
    ]),
    "commitment_bank": numbered([
        {"premise": "I think it rains.", "hypothesis": "it rains", "label": 0},
        {"premise": "She never said that the door was open.", "hypothesis": "the door was open", "label": 2},
        {"premise": "He doubts that it works.", "hypothesis": "it works", "label": 1},
    ]),
    "wic": numbered([
        {"word": "bank", "sentence1": "The banks were steep.", "sentence2": "The bank closed.", "start1": 4, "end1": 9,
         "start2": 4, "end2": 8, "label": 0},
        {"word": "run", "sentence1": "They run every day.", "sentence2": "I run too.", "start1": 5, "end1": 8,
         "start2": 2, "end2": 5, "label": 1},
    ]),
    "wsc": numbered([
        {"text": "Ann told Bea that she won .", "span1_index": 0, "span1_text": "Ann", "span2_index": 4,
         "span2_text": "she", "label": 1},
        {"text": "The cup did n't fit in the bag because it was wide.", "span1_index": 7, "span1_text": "the bag",
         "span2_index": 9, "span2_text": "it", "label": 0},
    ]),
    "headqa_en": [
        {"name": "Exam", "qid": 1, "qtext": "Where is the heart?", "ra": 2,
         "answers": [{"aid": 1, "atext": "In the leg"}, {"aid": 2, "atext": "In the chest"}]},
        {"name": "Exam", "qid": 2, "qtext": "Which of these is a bone?", "ra": 1,
         "answers": [{"aid": 1, "atext": "Femur"}, {"aid": 2, "atext": "Liver."}, {"aid": 3, "atext": "Skin"}]},
    ],
    "logiqa": [
        {"label": "c", "context": "All cats sleep. Tom is a cat.", "question": "Which follows?",
         "options": ["None.", "Some cats run.", "Tom sleeps.", "Dogs bark."]},
        {"label": "a", "context": "If it rains the street is wet. The street is dry.", "question": "What is true?",
         "options": ["It does not rain.", "It rains.", "The street is new.", "Nobody knows."]},
    ],
    "mathqa": [
        {"Problem": "2 plus 3 ?", "options": "a ) 4 , b ) 5 , c ) 6.5 , d ) 7 , e ) none of these", "correct": "b",
         "Rationale": "", "annotated_formula": "", "linear_formula": "", "category": "general"},
        {"Problem": "a box holds 12 eggs , how many do 4 hold ?",
         "options": "a ) 16 , b ) 24 , c ) 36 , d ) 48 , e ) 60", "correct": "d",
         "Rationale": "", "annotated_formula": "", "linear_formula": "", "category": "general"},
    ],
}  # fmt: skip
