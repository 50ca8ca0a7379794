"""ai2-olmo's side of the comparison with olmo-model: `python -m parity.olmo_ai2 WORK STAGE`, in the environment that
holds ai2-olmo; nothing of olmo-model is imported there.

``compute`` reads the weights, ids and tokens that olmo-model's side wrote, computes logits, loss and gradients, writes
checkpoints by ai2-olmo's own code, trains, orders data and draws first weights. ``load`` reads the checkpoints that
`olmo-model convert` wrote.
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import torch

from .olmo_ai2_models import compute_initializations, compute_models, load_returned
from .olmo_ai2_training import compute_orders, compute_schedules, compute_trainings


def compute(work: Path) -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    compute_models(work)
    compute_initializations(work)
    compute_orders(work)
    compute_schedules(work)
    compute_trainings(work)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    {"compute": compute, "load": load_returned}[sys.argv[2]](Path(sys.argv[1]))
