"""Every plan of parallelism gives what one process gives."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from ranks import on_ranks

from olmo_model.config.model import Initialization, ModelConfig
from olmo_model.config.parallel import ParallelSettings
from olmo_model.errors import UserError
from olmo_model.initialization import initialize
from olmo_model.loss import language_model_loss
from olmo_model.model import Transformer
from olmo_model.optim.clipping import clip_by_global_norm
from olmo_model.parallel import (
    draw_first_weights,
    fill,
    gathered,
    grid,
    on_grid,
    recompute,
    rows_by_part,
    rows_by_rank,
    spread,
)
from olmo_model.ranks import joined

MODEL = ModelConfig(
    d_model=32,
    n_heads=4,
    n_layers=2,
    mlp_hidden_size=256,
    max_sequence_length=16,
    vocab_size=120,
    embedding_size=128,
    eos_token_id=0,
    pad_token_id=1,
    weight_tying=False,
)
STEPS, BATCH = 20, 8


def losses(settings: ParallelSettings) -> list[tuple[float, float]]:
    """Loss and gradient norm of every step, of the same batches whatever the ranks."""
    whole = Transformer(MODEL)
    initialize(whole, Initialization(), 3)
    state = whole.state_dict()
    with joined("cpu") as alone:
        ranks = on_grid(alone, settings, MODEL)
        with torch.device("meta"):
            model = Transformer(MODEL)
        spread(model, ranks, settings)
        fill(model.named_parameters(), state.__getitem__, ranks.tensor)
        for name, weight in model.named_parameters():
            assert torch.equal(gathered(name, weight, ranks.tensor), state[name]), name
            weight.detach().zero_()
        draw_first_weights(model, Initialization(), 3, ranks.tensor)
        for name, weight in model.named_parameters():
            assert torch.equal(gathered(name, weight, ranks.tensor), state[name]), name
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
        generator = torch.Generator().manual_seed(0)
        found = []
        for _ in range(STEPS):
            batch = torch.randint(0, 120, (BATCH, 16), generator=generator)
            rows = BATCH // ranks.data_ranks
            mine = batch[ranks.data_rank * rows : (ranks.data_rank + 1) * rows]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(mine)[:, :-1].flatten(0, 1), mine[:, 1:].flatten())
            loss.backward()
            norm = clip_by_global_norm(list(model.parameters()), None).norm
            optimizer.step()
            total = loss.detach().clone()
            if ranks.mesh is not None:
                torch.distributed.all_reduce(total)
            found.append(((total / ranks.world).item(), norm.item()))
        return found


@pytest.fixture(scope="module")
def alone() -> list[tuple[float, float]]:
    torch.set_num_threads(1)
    return losses(ParallelSettings())


@pytest.mark.parametrize(
    ("world", "settings"),
    [
        (2, ParallelSettings(tensor=2)),
        (4, ParallelSettings(reshard_after_forward=False)),
        (4, ParallelSettings(tensor=4)),
        (4, ParallelSettings(replicas=2, tensor=2)),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else f"{value.replicas}x{value.tensor}",
)
def test_every_plan_has_the_losses_of_one_process(world, settings, alone):
    found = on_ranks(world, losses, settings)
    assert all(each == found[0] for each in found)
    for (loss, norm), (expected_loss, expected_norm) in zip(found[0], alone, strict=True):
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert norm == pytest.approx(expected_norm, rel=1e-4)


@given(st.sampled_from(["att_proj", "ff_proj", "attn_out", "ff_out"]), st.sampled_from([1, 2, 4]))
def test_rows_go_to_their_ranks_and_back(name, tensor):
    weight = torch.arange(24 * 2).view(24, 2)
    by_rank = rows_by_rank(f"blocks.0.{name}.weight", weight, tensor)
    assert torch.equal(rows_by_part(f"blocks.0.{name}.weight", by_rank, tensor), weight)


def test_a_rank_holds_whole_heads():
    weight = torch.arange(12).view(12, 1)  # 4 rows each of queries, keys and values
    assert rows_by_rank("blocks.0.att_proj.weight", weight, 2).flatten().tolist() == [
        0,
        1,
        4,
        5,
        8,
        9,
        2,
        3,
        6,
        7,
        10,
        11,
    ]


@pytest.mark.parametrize(
    ("world", "settings", "message"),
    [
        (3, ParallelSettings(replicas=2), r"3 ranks are no multiple of parallel.replicas x parallel.tensor = 2"),
        (6, ParallelSettings(tensor=3), r"parallel.tensor is 3, no divisor of n_heads, 4"),
    ],
)
def test_grids_that_do_not_come_out_are_refused(world, settings, message):
    with pytest.raises(UserError, match=message):
        grid(settings, MODEL, world)


@pytest.mark.parametrize(
    "changes", [{"norm": "rms_norm", "n_kv_heads": 2}, {"norm": "rms_norm", "norm_after": True, "qk_norm": True}]
)
def test_what_tensor_parallelism_cannot_cut_is_refused(changes):
    model = dataclasses.replace(MODEL, **changes)
    with pytest.raises(UserError, match="cuts neither normed queries and keys nor grouped heads"):
        grid(ParallelSettings(tensor=2), model, 2)
    assert grid(ParallelSettings(), model, 2) == 2


def gradients(which: str) -> tuple[float, list[torch.Tensor], int]:
    """Loss, gradients, and how often blocks ran."""
    model = Transformer(dataclasses.replace(MODEL, n_layers=8))
    initialize(model, Initialization(), 3)
    runs = [0]
    for block in model.blocks:
        block.ff_proj.register_forward_hook(lambda *_: runs.__setitem__(0, runs[0] + 1))
    recompute(model, which)
    ids = torch.randint(0, 120, (2, 16), generator=torch.Generator().manual_seed(1))
    loss = language_model_loss(model, ids).total
    loss.backward()
    return loss.item(), [weight.grad for weight in model.parameters()], runs[0]


@pytest.mark.parametrize(
    ("which", "again"),
    [
        ("whole_layer", 8),
        ("one_in_two", 4),
        ("one_in_three", 3),
        ("one_in_four", 2),
        ("one_in_eight", 1),
        ("two_in_three", 5),
        ("three_in_four", 6),
    ],
)
def test_blocks_that_are_computed_again_give_the_same_gradients(which, again):
    loss, expected, _ = gradients("none")
    found, recomputed, runs = gradients(which)
    assert found == loss
    assert all(map(torch.equal, recomputed, expected))
    assert runs == 8 + again
