"""A training step makes no GPU wait for the host, looked for without a GPU; on one:
tests/gpu/test_training.py."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from device_steps import objective
from small import small_batch, small_network
from test_configs import METHODS
from test_methods import method
from waits import STAND_IN, learners_of, like_a_gpu, take_step

from blocklearn import LARS, BlockwiseModule
from blocklearn.objectives.taught import Taught

READ_LABELS = {  # in every batch, to refuse samples without one
    *("auglocal", "dgl", "infopro", "man", "predsim", "supcon"),
    *("supervised", "supervised_end_to_end"),
}


def waits_of(network: BlockwiseModule) -> list[str]:
    """Of two steps, the first of which may set things up."""
    with like_a_gpu() as waits:
        for module in network.modules():
            if isinstance(module, Taught):  # it asks once whether it has begun
                module._has_begun = True
        learners, batch = learners_of(network.to(STAND_IN)), small_batch()
        views, label, index = [v.to(STAND_IN) for v in batch.views], batch.label, batch.index
        batch = batch._replace(views=views, label=label.to(STAND_IN), index=index.to(STAND_IN))
        waits.calls.clear()
        take_step(learners, batch, 0)
        take_step(learners, batch, 1)
        return waits.calls


@pytest.mark.parametrize(
    ("optimizer", "clip"),
    [(torch.optim.AdamW, None), (LARS, None), (partial(torch.optim.SGD, lr=0.1), 1.0)],
    ids=["adamw", "lars", "clipped sgd"],
)
def test_a_step_of_the_recipe_waits_for_nothing(optimizer: Any, clip: float | None) -> None:
    changes: dict[str, Any] = {"noise": "all", "gradient_clip_norm": clip}
    assert not waits_of(small_network(objective=objective(True), optimizer=optimizer, **changes))


@pytest.mark.slow
@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_a_step_waits_for_no_method(path: Path) -> None:
    if path.stem in READ_LABELS:
        pytest.skip("it reads its labels, to refuse samples that have none")
    network = method(path)
    network.rule = replace(network.rule, optimizer=partial(torch.optim.SGD, lr=0.1))
    assert not waits_of(network)


def test_what_waits_is_found() -> None:
    with like_a_gpu() as waits:
        number = torch.zeros((), device=STAND_IN)
        number.new_tensor(3)
        number.copy_(torch.ones(()))
        assert len(waits.calls) == 2
        with pytest.raises(RuntimeError, match="meta"):
            number.item()
