"""The built-in tasks, by name."""

from __future__ import annotations

from ..task import Task
from .arc import ARC_CHALLENGE, ARC_EASY
from .boolq import BOOLQ
from .commonsense_qa import COMMONSENSE_QA
from .copa import COPA
from .hellaswag import HELLASWAG
from .openbookqa import OPENBOOKQA
from .piqa import PIQA
from .sciq import SCIQ
from .social_iqa import SOCIAL_IQA
from .winogrande import WINOGRANDE

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        ARC_CHALLENGE,
        ARC_EASY,
        BOOLQ,
        COPA,
        COMMONSENSE_QA,
        HELLASWAG,
        OPENBOOKQA,
        PIQA,
        SCIQ,
        SOCIAL_IQA,
        WINOGRANDE,
    )
}
