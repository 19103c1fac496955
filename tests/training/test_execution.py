"""Which block runs when is open: any order gives the weights of one block after the other."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from small import same_weights, small_data, small_network, small_trainer, weights

from blocklearn import Batch, BlockwiseModule, SequentialSchedule
from blocklearn.training.contract import BlockOutput, Carried, Clock
from blocklearn.training.execution import Execution, Steps
from blocklearn.training.learner import Learner


class AllForwardFirst(Execution):
    """Not the package's: all blocks learn, then all are updated, the last first."""

    def run(
        self, learners: Sequence[Learner], carried: Carried, batch: Batch, clock: Clock
    ) -> Steps:
        learned: list[tuple[Learner, BlockOutput]] = []
        for learner in learners:
            if learner.learns(clock):
                output = learner.learn(carried, batch, clock)
                learned.append((learner, output))
                carried = output.carried
            else:
                carried = learner.pass_on(carried, batch, clock)
        for learner, output in reversed(learned):
            learner.update(clock)
            yield learner, output
        return carried


def train(folder: Path, execution: Execution | None, **changes: Any) -> BlockwiseModule:
    seed_everything(0, verbose=False)
    network = small_network(noise="all", execution=execution, **changes)
    small_trainer(folder, max_epochs=4).fit(network, datamodule=small_data())
    return network


OVERLAPPING = [["layer1", "layer2"], ["layer2", "layer3"], ["layer3", "layer4"]]
RECIPES: dict[str, dict[str, Any]] = {
    "simultaneous": {},
    "sequential": {"schedule": SequentialSchedule()},
    "accumulated": {"accumulate_batches": 3, "gradient_clip_norm": 0.5},
    "overlapping": {"blocks": OVERLAPPING},
    "skipping": {"non_finite": "skip"},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_another_interleaving_gives_the_same_weights_to_the_last_bit(
    tmp_path: Path, recipe: str
) -> None:
    changes = RECIPES[recipe]
    ours, theirs = (train(tmp_path, how, **changes) for how in (None, AllForwardFirst()))
    assert same_weights(weights(ours), weights(theirs))


def test_an_execution_that_updates_nothing_learns_nothing(tmp_path: Path) -> None:
    class Lazy(AllForwardFirst):
        def run(self, *args: Any) -> Iterator[tuple[Learner, BlockOutput]]:
            yield from ()

    seed_everything(0, verbose=False)
    before = weights(small_network(noise="all"))
    after = train(tmp_path, Lazy())
    assert same_weights(before, weights(after))


@pytest.mark.parametrize("index", [0, 1, 3])
def test_a_block_of_any_index_is_trained_by_itself_under_a_sequential_schedule(
    tmp_path: Path, index: int
) -> None:
    """It is the first of a walk of one: its window is the whole run."""
    block = small_network(schedule=SequentialSchedule()).walked[index]
    channels = block.trained_stages[0].spec.channels if not index else 8 if index < 3 else 16
    shape = (6, 3, 32, 32) if not index else (6, channels, 8, 8)
    batches = [
        Batch([torch.randn(shape), torch.randn(shape)], torch.zeros(6), torch.arange(6))
        for _ in range(4)
    ]
    before = weights(block)
    loader: Any = torch.utils.data.DataLoader(batches, batch_size=None)  # pyright: ignore
    block.validation_step = None  # pyright: ignore
    small_trainer(tmp_path, max_epochs=2).fit(block, loader)
    assert not same_weights(before, weights(block))
