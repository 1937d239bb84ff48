"""Everything a run needs in memory, made ready: models, prompts, state, and the plan that fits them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx

from align_contracts import Artifact
from align_mlx.compute import choose
from align_mlx.guard import Guard
from align_mlx.loading import load_policy
from align_mlx.resident import Resident
from align_mlx.reward import Scorer, load_scorer
from align_mlx.rollout import Prompt
from align_mlx.train_state import TrainState
from align_mlx.world import ALONE, World
from align_rl import data as rl_data
from align_rl.config import RLConfig
from align_rl.data import RLData
from align_rl.evaluation import Evaluator, File
from align_rl.kept import lesson_rows, write_rows
from align_rl.loop import Keep, Record, nothing, train
from align_rl.methods.base import Experience, Method
from align_rl.methods.make import make_method
from align_rl.plan import plan
from align_rl.rollout import Rollout
from align_rl.watch import Watch


@dataclass(frozen=True)
class Ready:
    """A run that can begin.

    Attributes:
        config: the settings, nothing left open.
        resident: the base with the SFT adapter.
        scorer: the reward model over it.
        method: PPO or GRPO.
        rows: prompts and answers.
        state: the state that the run goes on from.
    """

    config: RLConfig
    resident: Resident
    scorer: Scorer
    method: Method
    rows: RLData
    state: TrainState

    def evaluator(self, file: File, watch: Watch | None = None) -> Evaluator:
        """Give what measures the policy and keeps the evaluation points."""
        rows = self.rows
        fixed = rows.validation, rows.validation_ids, rows.chosen
        return Evaluator(self.method, self.resident, self.scorer, *fixed, self.config, file, watch or self.watch(None))

    def watch(self, folder: Path | None) -> Watch:
        """Give the run's guard, which writes into the run folder; None: a trial, which leaves nothing behind."""
        guard = Guard(self.method.name, folder, self.config.skip_nonfinite_rows, self.resident, self.method.world)
        rows = self.rows
        numbered = zip([*rows.train, *rows.validation], [*rows.train_ids, *rows.validation_ids], strict=True)
        return Watch(guard, self.method, self.scorer, self.config, {prompt.number: name for prompt, name in numbered})

    def keeper(self, file: File) -> Keep:
        """Give what keeps some of the answers that were learned from, beside the evaluation points."""
        names = {prompt.number: name for prompt, name in zip(self.rows.train, self.rows.train_ids, strict=True)}

        def keep(iteration: int, prompts: Sequence[Prompt], rollout: Rollout, experience: Experience) -> None:
            rows = lesson_rows(self.resident, prompts, names, rollout, experience)
            write_rows(file(f"eval/{iteration:04d}_rollout.jsonl"), rows)

        return keep

    def train(
        self,
        *,
        evaluate: Callable[[TrainState, float], Record],
        log: Callable[[Record], None],
        keep: Keep = nothing,
        watch: Watch | None = None,
        reached: Callable[[TrainState], None] = lambda state: None,
    ) -> None:
        """Run the loop, see `align_rl.loop.train`."""
        train(
            self.method,
            self.resident,
            self.scorer,
            self.rows.train,
            self.config,
            self.state,
            evaluate=evaluate,
            log=log,
            keep=keep,
            watch=watch or self.watch(None),
            reached=reached,
        )


def prepare(
    config: RLConfig,
    sft: Artifact,
    rm: Artifact,
    data: Artifact,
    begin: Callable[[TrainState], object] = lambda state: None,
    world: World = ALONE,
) -> Ready:
    """Load, encode, initialise, plan.

    Args:
        config: the settings.
        sft, rm, data: the opened inputs.
        begin: called with the fresh state before anything is planned; may put an older run's state in its place.
        world: the processes of the run.

    Raises:
        ConfigError: the inputs leave nothing to train on.
        PreflightError: the run does not fit the memory.
    """
    compute = choose(config.compute_form, config.compute_dtype)
    resident = load_policy(sft, compute)
    scorer = load_scorer(rm, resident if rm.details.backbone == "policy" else None, compute)
    rows = rl_data.load(data, resident, config)
    state = TrainState.start(make_method(config, resident, scorer).params(mx.random.key(config.seed)))
    begin(state)
    config = plan(config, resident, scorer, rows.train, state, world)
    scorer = replace(scorer, token_budget=config.token_budget)
    return Ready(config, resident, scorer, make_method(config, resident, scorer, world), rows, state)
