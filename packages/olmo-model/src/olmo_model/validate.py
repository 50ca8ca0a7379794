"""Every check of a training run that needs no training."""

from __future__ import annotations

from pathlib import Path

from .config.training import TrainConfig
from .evaluate import load_requests, load_windows
from .id_check import check_ids
from .plan import make_plan
from .presets import parameter_count
from .ranks import ALONE
from .restoring import newest_whole_checkpoint
from .run_folder import RunFolder, as_begun
from .tokens import load_tokenizer


def validate(config: TrainConfig) -> str:
    """Check settings, data, machine, run folder and evaluation data; nothing is written and no weight is made.

    Returns a line that says what would be trained. Whatever does not hold is a UserError.
    """
    run = RunFolder(Path(config.save_folder))
    plan = make_plan(as_begun(config))
    check_ids(plan.tokens, plan.sequence_length)
    facts = {
        "tokens_fingerprint": plan.tokens.fingerprint,
        "tokenizer_digest": plan.tokens.tokenizer_digest,
        "remote": plan.tokens.remote,
    }
    newest = newest_whole_checkpoint(run.root, ALONE, tidy=False)
    standing = run.check(facts, plan.resolved(), plan.max_steps, newest)
    load_tokenizer(plan.tokens.tokenizer_file)
    chosen, digest = config.evaluation, plan.tokens.tokenizer_digest
    if chosen.windows:
        load_windows(chosen.windows, plan.model, digest, sources=chosen.sources, limit=chosen.limit)
    if chosen.requests:
        load_requests(chosen.requests, chosen.tasks, plan.model, digest, limit=chosen.limit)
    begun = f"from step {standing.step} on" if standing.step else "from the beginning"
    return (
        f"the configuration holds: {parameter_count(plan.model):,} parameters, {plan.max_steps:,} steps of "
        f"{plan.tokens_per_step:,} tokens, {begun}, on {plan.device}"
    )
