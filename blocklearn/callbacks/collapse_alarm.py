"""Say so when a block's features collapse."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from blocklearn.callbacks.collapse_bounds import BOUNDS
from blocklearn.distributed.launch import say
from blocklearn.training.lightning_walk import LightningWalk


@dataclass
class Crossing:
    """Of one metric of one block: looks at which it was out of bounds, since which batch, and
    whether that was said."""

    looks: int = 0
    since: int = 0
    said: bool = False


class CollapseAlarm(Callback):
    """Watches what is logged anyway for signs that a block's features have become the same for all
    samples, or lie on one line, and says which metric of which block crossed which bound, since
    which batch, and what usually helps: once, and again where a block recovers and collapses anew.
    It computes nothing and changes no number of a run.

    It looks at the batches that are logged (`--trainer.log_every_n_steps`), at blocks that learn,
    and at these metrics where a run has them: `on_diag`, `off_diag` (BarlowTwins), `std` (VICReg),
    `negative_similarity` (SimCLR), `teacher_similarity` (BYOL), `distance_from_chance` (InfoNCE:
    `|loss / ln(1 + negatives) - 1|`), and those of `--model.metrics+=RankMe`, `FeatureStd` and
    `Uniformity`. Where blocks lie in several processes it looks at the end of epochs, when all
    processes know all blocks' metrics.

    `blocklearn fit` has one that warns. To have it otherwise:
    `--trainer.callbacks+=CollapseAlarm --trainer.callbacks.policy=stop` (or `off`).

    Args:
        policy: `warn`: one line; `stop`: the line, and training ends behind that batch, in all
            processes at once, with the last checkpoint written as at every end; `off`: nothing.
        bounds: other limits by metric, e.g. `{off_diag: 0.5}`; null switches a metric off.
        looks: in a row at which a metric must be out of bounds, >= 1.

    Raises:
        ValueError: for a metric it does not know, or looks below 1.
    """

    def __init__(
        self,
        policy: Literal["warn", "stop", "off"] = "warn",
        bounds: Mapping[str, float | None] | None = None,
        looks: int = 3,
    ) -> None:
        if policy not in ("warn", "stop", "off") or looks < 1:
            raise ValueError(
                "CollapseAlarm needs a policy of warn, stop or off and looks of at least 1, got "
                f"{policy} and {looks}"
            )
        changed = dict(bounds or {})
        unknown = sorted(changed.keys() - BOUNDS.keys())
        if unknown:
            raise ValueError(
                f"CollapseAlarm has no bound for {', '.join(unknown)}; it knows {', '.join(BOUNDS)}"
            )
        self.policy, self.looks = policy, looks
        self.bounds = {
            name: bound._replace(limit=limit)
            for name, bound in BOUNDS.items()
            if (limit := changed.get(name, bound.limit)) is not None
        }
        self._found: dict[str, Crossing] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._found = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.policy == "off" or not isinstance(pl_module, LightningWalk) or pl_module.across:
            return
        every = max(getattr(trainer, "log_every_n_steps", 1), 1)
        if trainer.global_step % every == 0:
            self._look(trainer, pl_module, together=trainer.world_size > 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.policy != "off" and isinstance(pl_module, LightningWalk) and pl_module.across:
            pl_module.share_metrics()  # all processes then look at the same, and agree
            self._look(trainer, pl_module, together=False)

    def _look(self, trainer: Trainer, walk: LightningWalk, together: bool) -> None:
        lines = list(self._new(trainer, walk))
        for line in lines:
            say(line)
        if self.policy != "stop":
            return
        # a metric of the user's own may differ between processes
        stop = (
            trainer.strategy.reduce_boolean_decision(bool(lines), all=False) if together else lines
        )
        if stop:
            trainer.should_stop = True
            say("collapse: training ends here, as CollapseAlarm(policy=stop) asks.")

    def _new(self, trainer: Trainer, walk: LightningWalk) -> Iterator[str]:
        """What is to be said after this batch."""
        batch = trainer.global_step
        for key, name, value in self._values(trainer, walk):
            bound = self.bounds[name]
            crossing = self._found.setdefault(key, Crossing())
            if not bound.crossed(value):
                self._found[key] = Crossing()
                continue
            crossing.looks += 1
            crossing.since = crossing.since if crossing.looks > 1 else batch
            if crossing.looks >= self.looks and not crossing.said:
                crossing.said = True
                block, _, metric = key.partition("/")
                yield (
                    f"collapse: {block}: {metric} is {value:.4g}, {bound.told()}, "
                    f"since batch {crossing.since}: {bound.means}. What usually helps: "
                    f"{bound.helps}."
                )

    def _values(self, trainer: Trainer, walk: LightningWalk) -> Iterator[tuple[str, str, float]]:
        """Key, metric and value of what is known of blocks that learn; of others the values are
        old."""
        step = trainer.global_step - 1
        learning = {
            learner.block.name: learner.block for learner in walk.learners if step in learner.window
        }
        known = trainer.callback_metrics
        for key, value in known.items():
            block, _, rest = key.partition("/")
            name = rest.rpartition("/")[2]
            if block in learning and name in self.bounds and not rest.startswith("val_"):
                yield key, name, float(value)
        if "distance_from_chance" in self.bounds:
            for name, block in learning.items():
                negatives = getattr(getattr(block, "objective", None), "negatives", None)
                if isinstance(negatives, int) and f"{name}/loss" in known:
                    loss = float(known[f"{name}/loss"])
                    distance = abs(loss / math.log(1 + negatives) - 1)
                    yield f"{name}/distance_from_chance", "distance_from_chance", distance
