"""A run that is asked to end, in this process; with several, and by real schedulers' ways:
tests/test_going_on.py."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging
from small import same_weights, small_data, small_network, small_trainer, weights

from blocklearn.callbacks.last_checkpoint import LastCheckpoint
from blocklearn.callbacks.stop_on_signal import SIGNALS, StopOnSignal, Stopped
from blocklearn.interop.checkpoint_io import StreamingCheckpointIO

EPOCH = 5


class Seen(Callback):
    """What was trained on, and when it was validated."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append((trainer.current_epoch, trainer.global_step, batch.index.tolist()))

    def on_validation_end(self, trainer: Any, *_: Any) -> None:
        self.seen.append("validated")


class Ask(Callback):
    """Sends this process a signal in `hook`, once `step` batches are done."""

    def __init__(self, hook: str, step: int, number: int = signal.SIGTERM) -> None:
        self.step, self.number = step, number
        setattr(self, hook, self._ask)

    def _ask(self, trainer: Any, *_: Any, **__: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def train(
    folder: Path, *asking: Callback, seen: Seen | None = None, resume: bool = False, **changes: Any
) -> Any:
    torch.manual_seed(0)
    kept = LastCheckpoint(folder)
    settings: dict[str, Any] = {
        "max_epochs": 3,
        "limit_val_batches": 2,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": True,
        "callbacks": [*asking, StopOnSignal(kept), seen or Seen(), kept],
        "plugins": [StreamingCheckpointIO()],
    }
    network = small_network(noise="all", accumulate_batches=changes.pop("accumulate_batches", 1))
    trainer = small_trainer(folder, **{**settings, **changes})
    trainer.fit(
        network,
        datamodule=small_data(num_images=8 * EPOCH),
        ckpt_path=kept.path if resume else None,
        weights_only=True,
    )
    return network


@pytest.mark.parametrize(
    ("hook", "step", "saved_at", "changes"),
    [
        ("on_train_batch_start", 1, 2, {}),
        ("on_train_batch_end", 3, 3, {}),
        ("on_train_batch_end", EPOCH, EPOCH, {}),
        ("on_train_batch_end", EPOCH, EPOCH, {"limit_val_batches": 0}),
        ("on_train_batch_end", 3, 3, {"limit_train_batches": 3}),
        ("on_train_batch_end", 3, 3, {"limit_train_batches": 3, "limit_val_batches": 0}),
        ("on_validation_start", EPOCH, EPOCH, {}),
        ("on_validation_batch_start", 2 * EPOCH, 2 * EPOCH, {}),
        ("on_train_batch_start", 6, 8, {"accumulate_batches": 3}),
    ],
)
def test_a_stopped_run_goes_on_with_the_same_samples_to_the_same_weights(
    tmp_path: Path, hook: str, step: int, saved_at: int, changes: dict[str, Any]
) -> None:
    whole, first, second = Seen(), Seen(), Seen()
    never_stopped = train(tmp_path / "whole", seen=whole, **changes)
    with pytest.raises(Stopped) as stop:
        train(tmp_path / "stopped", Ask(hook, step), seen=first, **changes)
    assert (stop.value.status, stop.value.saved) == (143, True)
    assert (
        torch.load(tmp_path / "stopped" / "last.ckpt", weights_only=True)["global_step"] == saved_at
    )
    gone_on = train(tmp_path / "stopped", seen=second, resume=True, **changes)
    assert same_weights(weights(never_stopped), weights(gone_on))
    assert first.seen + second.seen == whole.seen


def test_a_run_stopped_at_the_end_of_an_epoch_and_within_the_next_is_the_same_run(
    tmp_path: Path,
) -> None:
    """The state that is saved in the hook of an epoch's last batch is one from which the second
    stop goes wrong."""
    never_stopped = train(tmp_path / "whole")
    for number, step in enumerate((EPOCH, EPOCH + 2)):
        with pytest.raises(Stopped):
            train(tmp_path / "stopped", Ask("on_train_batch_end", step), resume=number > 0)
    assert same_weights(weights(never_stopped), weights(train(tmp_path / "stopped", resume=True)))


@pytest.mark.parametrize(
    "hook", ["on_validation_batch_start", "on_validation_batch_end", "on_train_batch_end"]
)
def test_a_run_whose_weights_are_averaged_is_stopped_with_its_own_weights(
    tmp_path: Path, hook: str
) -> None:
    """While it is validated the averages take the place of the weights."""

    def average() -> Callback:
        return EMAWeightAveraging(decay=0.5)

    whole, first, second = Seen(), Seen(), Seen()
    never_stopped = train(tmp_path / "whole", average(), seen=whole)
    with pytest.raises(Stopped):
        train(tmp_path / "stopped", average(), Ask(hook, EPOCH), seen=first)
    gone_on = train(tmp_path / "stopped", average(), seen=second, resume=True)
    assert same_weights(weights(never_stopped), weights(gone_on))
    assert first.seen + second.seen == whole.seen


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 143)]
)
def test_every_signal_saves_and_has_its_status(tmp_path: Path, number: int, status: int) -> None:
    before = {each: signal.getsignal(each) for each in SIGNALS}
    with pytest.raises(Stopped) as stop:
        train(tmp_path, Ask("on_train_batch_start", 2, number))
    assert stop.value.status == status
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3
    assert {each: signal.getsignal(each) for each in SIGNALS} == before or all(
        getattr(signal.getsignal(each), "__self__", None) is not None for each in SIGNALS
    )


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    twice = [
        Ask("on_train_batch_start", 2, signal.SIGINT),
        Ask("on_train_batch_start", 2, signal.SIGINT),
    ]
    with pytest.raises(SystemExit):  # as Lightning ends on Ctrl-C
        train(tmp_path, *twice)
    assert not (tmp_path / "last.ckpt").exists()


def test_a_job_of_slurm_is_put_back_into_its_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    for name, value in (
        ("SLURM_JOB_ID", "17"),
        ("SLURM_ARRAY_JOB_ID", "16"),
        ("SLURM_ARRAY_TASK_ID", "3"),
    ):
        monkeypatch.setenv(name, value)
    with pytest.raises(Stopped):
        train(tmp_path / "run", Ask("on_train_batch_start", 1, signal.SIGTERM))
    assert not (tmp_path / "asked").exists(), "whoever ends a job by SIGTERM wants it ended"
    with pytest.raises(Stopped):
        train(tmp_path / "run2", Ask("on_train_batch_start", 1, signal.SIGUSR1))
    assert (tmp_path / "asked").read_text() == "requeue 16_3\n"
    assert not list(tmp_path.rglob("hpc_ckpt*"))
