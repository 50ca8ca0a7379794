"""The built-in tasks, by name."""

from __future__ import annotations

from ..task import Task
from .arc import ARC_CHALLENGE, ARC_EASY
from .boolq import BOOLQ
from .commonsense_qa import COMMONSENSE_QA
from .copa import COPA
from .exams import HEADQA_EN, LOGIQA, MATHQA
from .glue import MRPC, QNLI, QQP, RTE, SST2, WNLI
from .hellaswag import HELLASWAG
from .mmlu import MMLU_MC, MMLU_RC
from .openbookqa import OPENBOOKQA
from .piqa import PIQA
from .sciq import SCIQ
from .social_iqa import SOCIAL_IQA
from .super_glue import COMMITMENT_BANK, WIC, WSC
from .winogrande import WINOGRANDE

CORE = (ARC_CHALLENGE, ARC_EASY, BOOLQ, COPA, HELLASWAG, OPENBOOKQA, PIQA, SCIQ, WINOGRANDE)
MORE = (COMMONSENSE_QA, SOCIAL_IQA, MMLU_RC, MMLU_MC, RTE, MRPC, SST2, COMMITMENT_BANK)
AUXILIARY = (HEADQA_EN, LOGIQA, MATHQA, QNLI, QQP, WIC, WNLI, WSC)

TASKS: dict[str, Task] = {task.name: task for task in (*CORE, *MORE, *AUXILIARY)}
ALIASES: dict[str, str] = {alias: task.name for task in TASKS.values() for alias in task.aliases}
