"""Every n-th batch end to end: what it is equal to at both ends, and what it refuses."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from small import (
    OBJECTIVE,
    StopAt,
    same_weights,
    small_batch,
    small_data,
    small_network,
    small_trainer,
)
from small import weights as weights_of
from torch import Tensor

from blocklearn import BlockwiseModule, SequentialSchedule, UserError
from blocklearn.optim.warmup_cosine import ConstantLR
from blocklearn.training.contract import Carried, Clock
from blocklearn.training.mixed_execution import EveryNthEndToEnd

SGD = partial(torch.optim.SGD, lr=0.05)


def train(
    folder: Path,
    steps: int = 3,
    resume: Path | None = None,
    stop: StopAt | None = None,
    **changes: Any,
) -> Any:
    """A network in float64, trained by SGD of one rate."""
    torch.manual_seed(0)
    network = small_network(optimizer=SGD, lr_schedule=ConstantLR(), **changes).double()
    before = weights_of(network)
    options: dict[str, Any] = {"max_epochs": -1, "max_steps": steps, "precision": "64-true"}
    if stop:
        options["callbacks"] = [stop]
    seed_everything(5, verbose=False)
    trainer = small_trainer(folder, **options)
    trainer.fit(network, datamodule=small_data(), ckpt_path=resume, weights_only=False)
    return before, weights_of(network)


def stages(weights: dict[str, Tensor]) -> list[Tensor]:
    return [value for name, value in weights.items() if ".stages." in name]


def last_objective(weights: dict[str, Tensor]) -> list[Tensor]:
    last = max(name.split(".")[1] for name in weights if name.startswith("blocks."))
    return [v for name, v in weights.items() if name.startswith(f"blocks.{last}.objective")]


def test_with_every_batch_it_is_end_to_end_training(tmp_path: Path) -> None:
    """Of the same network, from the same weights; the objectives of the blocks before stand."""
    before, mixed = train(tmp_path, execution=EveryNthEndToEnd(1))
    torch.manual_seed(0)
    whole = small_network(blocks="end_to_end", optimizer=SGD, lr_schedule=ConstantLR()).double()
    state = whole.state_dict()
    names = {".stages.": stages(before), "objective": last_objective(before)}
    for part, values in names.items():
        keys = [name for name in state if part in name]
        for key, value in zip(keys, values, strict=True):
            state[key].copy_(value)
    seed_everything(5, verbose=False)
    options: dict[str, Any] = {"max_epochs": -1, "max_steps": 3, "precision": "64-true"}
    small_trainer(tmp_path, **options).fit(whole, datamodule=small_data())
    after = weights_of(whole)
    close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-12)
    close(stages(mixed), stages(after))
    close(last_objective(mixed), last_objective(after))
    assert all(not torch.equal(a, b) for a, b in zip(stages(mixed), stages(before), strict=True))
    idle = [n for n in before if ".objective." in n and not n.startswith("blocks.3.")]
    assert idle
    assert all(torch.equal(before[name], mixed[name]) for name in idle)


def test_before_its_first_turn_it_is_the_walk_of_one_block_after_the_other(tmp_path: Path) -> None:
    never, always = (
        train(tmp_path, execution=execution, noise="all")[1]
        for execution in (None, EveryNthEndToEnd(8))
    )
    assert same_weights(never, always)
    assert not same_weights(never, train(tmp_path, execution=EveryNthEndToEnd(3), noise="all")[1])


def test_a_run_that_goes_on_is_the_run_that_was_never_cut(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"execution": EveryNthEndToEnd(2), "noise": "all", "steps": 5}
    whole = train(tmp_path, **changes)[1]
    saved = tmp_path / "at3.ckpt"
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, stop=StopAt(3, saved), **changes)
    again = train(tmp_path, resume=saved, **changes)[1]
    assert same_weights(whole, again)


def test_the_last_loss_reaches_all_stages_and_no_objective_before() -> None:
    network, batch, clock = small_network(noise="all"), small_batch(), Clock()
    carried = Carried(batch.views)
    *before, last = network.walked
    for block in before:
        carried = block.chain(carried, batch, clock)
    output = last.local_step(carried, batch, clock)
    output.loss.backward()
    assert not any(view.requires_grad for view in output.carried.views)
    for block in before:
        assert all(p.grad is not None for p in block.stages.parameters())
        assert all(p.grad is None for p in block.objective.parameters())


def test_a_loss_that_is_no_number_updates_no_block(tmp_path: Path) -> None:
    network = small_network(execution=EveryNthEndToEnd(1), non_finite="skip")
    last = network.walked[-1].objective
    forward = last.forward
    last.forward = lambda local: forward(local)._replace(  # pyright: ignore
        loss=forward(local).loss * float("nan")
    )
    before = weights_of(network)
    trainer = small_trainer(tmp_path, max_epochs=-1, max_steps=2)
    trainer.fit(network, datamodule=small_data())
    assert network.watch.skipped == {f"block{number}": 2 for number in range(1, 5)}
    assert same_weights(before, weights_of(network))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": SequentialSchedule()}, "they learn from different batches"),
        (
            {"blocks": [["layer1", "layer2"], ["layer2", "layer3", "layer4"]]},
            "these blocks share ",
        ),
    ],
)
def test_blocks_that_cannot_be_one_chain_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    network = small_network(execution=EveryNthEndToEnd(), **changes)
    with pytest.raises(UserError, match=message):
        small_trainer(tmp_path).fit(network, datamodule=small_data())


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("blocklearn.training.joined.world_size", lambda: 2)
    network = BlockwiseModule(OBJECTIVE, "resnet18", execution=EveryNthEndToEnd())
    with pytest.raises(UserError, match="EveryNthEndToEnd lets gradients cross the borders"):
        small_trainer(tmp_path).fit(network, datamodule=small_data())


def test_a_number_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="EveryNthEndToEnd needs every >= 1, got 0"):
        EveryNthEndToEnd(0)
