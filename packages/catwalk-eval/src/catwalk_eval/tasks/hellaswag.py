"""HellaSwag: the ending that people find sensible (Zellers et al. 2019, arXiv 1905.07830).

Scored from its published requests (``DATA/hellaswag/rc_0shot_from_5shot/requests.jsonl.gz``): the cleaned
``ACTIVITY: CONTEXT`` and ending are the same in both dialects, only the scoring differs.
"""

from __future__ import annotations

from ..task import Task, Wording

HELLASWAG = Task(
    name="hellaswag",
    about="the sensible ending of a description",
    native_id="ind",
    published="rc_0shot_from_5shot",
    wordings={
        "olmo-paper": Wording(builder=None, primary_metric="acc_per_token"),
        "olmo-inloop": Wording(builder=None, primary_metric="acc_per_char"),
    },
)
