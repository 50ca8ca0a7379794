"""Muon: momentum whose every matrix is made orthogonal before it moves the weights (Jordan et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from ..parallel import gathered, part_of, rows_by_rank

COEFFICIENTS = (3.4445, -4.775, 2.0315)  # of the quintic iteration (Jordan et al. 2024)
SMALLEST = 1e-7
MATCHED = 0.2  # root mean square of AdamW's updates, which Muon's are scaled to (Liu et al. 2025, section 2.2)


def parts(name: str, rows: int, columns: int) -> tuple[int, ...]:
    """Rows of the matrices that a weight is made of: queries, keys and values in ``att_proj`` (as many rows of queries
    as columns), up and gate in ``ff_proj``; else the weight is one matrix."""
    if name.endswith("att_proj.weight") and rows > columns:
        return columns, (rows - columns) // 2, (rows - columns) // 2
    if name.endswith("ff_proj.weight"):
        return rows // 2, rows // 2
    return (rows,)


def orthogonalised(matrix: Tensor, iterations: int) -> Tensor:
    """U V^T of the matrix U S V^T, roughly (singular values between about 0.7 and 1.2), by Newton-Schulz iterations.

    ``matrix`` [rows, columns] is a whole matrix, no shard of one. In bfloat16 on a GPU, in float32 on a processor,
    which has no fast bfloat16; the result has the type of the matrix.
    """
    x = matrix.to(torch.bfloat16) if matrix.is_cuda else matrix.float()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / x.norm().clamp(min=SMALLEST)  # the largest singular value is at most 1 now
    a, b, c = COEFFICIENTS
    for _ in range(iterations):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)


def update_of(matrix: Tensor, rows: tuple[int, ...], iterations: int) -> Tensor:
    """What the learning rate multiplies: each part of ``matrix`` orthogonalised by itself and scaled by
    0.2 sqrt(max(rows, columns)), so that one learning rate and decay serve Muon and AdamW (Liu et al. 2025)."""
    pieces = torch.split(matrix, list(rows))
    return torch.cat([orthogonalised(part, iterations) * (MATCHED * math.sqrt(max(part.shape))) for part in pieces])


class Muon(torch.optim.Optimizer):
    """Muon for the groups marked ``orthogonal`` and AdamW, fused, for the others.

    Groups carry the names of their weights. A sharded weight (DTensor) is gathered for its orthogonalisation, one
    weight at a time, and every rank computes it whole; the state stays sharded as the weight is. A step with
    ``found_inf`` 1 changes nothing.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        groups: Any,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        momentum: float,
        nesterov: bool,
        iterations: int,
        tensor: int = 1,
    ) -> None:
        """``tensor`` ranks share each matrix (``parallel``); its rows are then put in order first."""
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "momentum": momentum,
            "nesterov": nesterov,
            "iterations": iterations,
        }
        super().__init__(groups, defaults)
        self.tensor = tensor

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of all weights that have a gradient."""
        assert closure is None
        for group in self.param_groups:
            if group["orthogonal"]:
                for name, weight in zip(group["names"], group["params"], strict=True):
                    if weight.grad is not None:
                        self._move_matrix(name, weight, group)
            else:
                self._move_elements(group)

    def _move_matrix(self, name: str, weight: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        assert weight.grad is not None
        mean = state["momentum"].lerp(weight.grad, 1 - group["momentum"])
        direction = weight.grad.lerp(mean, group["momentum"]) if group["nesterov"] else mean
        whole = gathered(name, direction, self.tensor)
        update = update_of(whole, parts(name, *whole.shape), group["iterations"])
        update = part_of(rows_by_rank(name, update, self.tensor), weight)
        moved = weight * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * update
        if self.found_inf is not None:
            mean = torch.where(self.found_inf != 0, state["momentum"], mean)
            moved = torch.where(self.found_inf != 0, weight, moved)
        state["momentum"].copy_(mean)
        weight.copy_(moved)

    def _move_elements(self, group: dict[str, Any]) -> None:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            return
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] = {
                    "step": torch.zeros((), dtype=torch.float32, device=weight.device),
                    "exp_avg": torch.zeros_like(weight),
                    "exp_avg_sq": torch.zeros_like(weight),
                }
        states = [self.state[weight] for weight in weights]
        adamw(
            weights,
            [weight.grad for weight in weights if weight.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            found_inf=self.found_inf,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
