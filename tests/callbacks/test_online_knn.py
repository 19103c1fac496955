"""Nearest neighbours while training: the offline figures, and no trace in the run."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from online_runs import digits, figures, narrow, streams, train
from small import same_weights, small_data, small_trainer, weights

from blocklearn import UserError
from blocklearn.callbacks import OnlineKNN, OnlineProbe
from blocklearn.data import Digits
from blocklearn.data.images.digits import ImageArray, load_digits
from blocklearn.distributed.block_parallel import BlockParallelStrategy
from blocklearn.evaluation import KNN
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.optim.warmup_cosine import ConstantLR
from blocklearn.training.monitor_times import Rhythm, require_in_time
from blocklearn.training.monitors import require_monitors
from blocklearn.training.schedule import SequentialSchedule

BLOCKS = [f"block{number}" for number in range(1, 5)]


def test_the_last_figure_is_that_of_the_evaluation_of_the_same_weights(tmp_path: Path) -> None:
    network, trainer = train(tmp_path, OnlineKNN(bank=None))
    online = figures(trainer, "knn")
    data = digits()
    data.setup("test")
    evaluation = KNN(k=[20]).under(ProbeSettings(), lambda _: small_trainer(tmp_path))
    rows = [row for row in evaluation.run(network, data) if row.feature == "raw"]
    offline = {f"block{row.index}/knn": row.values["k20"] for row in rows}
    assert online == pytest.approx(offline, abs=1e-4)  # float32 of a percentage
    assert len({*online.values()}) > 1, "blocks differ"


def test_a_bank_is_at_even_distances_and_has_every_class(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    class Watch(OnlineKNN):
        def _bank(self, network: Any, data: Any) -> Any:
            bank = super()._bank(network, data)
            seen.append(bank.label)
            return bank

    train(tmp_path, Watch(bank=300, queries=50), trainer={"max_epochs": 1})
    assert [len(label) for label in seen] == [300]
    assert set(seen[0].tolist()) == set(range(10))


def test_training_is_the_same_with_and_without_it(tmp_path: Path) -> None:
    ends: list[tuple[Any, ...]] = []

    class Look(Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            ends.append((streams(), [module.training for module in pl_module.modules()]))

    plain, _ = train(tmp_path, Look())
    watched, trainer = train(
        tmp_path, OnlineKNN(every_n_epochs=1), OnlineProbe(1, every_n_epochs=1), Look()
    )
    assert len(figures(trainer, "knn")) == len(figures(trainer, "probe")) == 4
    assert same_weights(weights(plain), weights(watched))
    assert ends[:2] == ends[2:]


def looked(folder: Path, *more: Any, every: int = 5, **trainer: Any) -> list[int]:
    """Epochs, from 1, behind which there was a look."""
    epochs: list[int] = []

    class Watch(OnlineKNN):
        def accuracies(self, network: Any, data: Any, queries: Any) -> dict[str, Any]:
            epochs.append(network.current_epoch + 1)
            return super().accuracies(network, data, queries)

    watch = Watch(every_n_epochs=every, bank=30, queries=30)
    train(folder, watch, *more, trainer={"limit_train_batches": 2, **trainer})
    return epochs


def test_it_looks_every_n_epochs_and_at_the_last_validation(tmp_path: Path) -> None:
    assert looked(tmp_path, max_epochs=7) == [5, 7]
    assert looked(tmp_path, max_epochs=7, check_val_every_n_epoch=2) == [6]
    assert looked(tmp_path, max_epochs=3, every=1, val_check_interval=1) == [1, 2, 3]
    assert looked(tmp_path, max_epochs=7, max_steps=4) == [2]


def test_where_a_callback_monitors_it_every_validation_is_looked_at(tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path / "best", monitor="block3/knn", mode="max")
    assert looked(tmp_path, best, max_epochs=3, enable_checkpointing=True) == [1, 2, 3]
    assert Path(best.best_model_path).is_file()
    assert best.best_model_score is not None
    stop = EarlyStopping("block3/knn", mode="max", patience=100, stopping_threshold=0.0)
    assert looked(tmp_path, stop, max_epochs=3) == [1]


def test_its_names_are_known_before_training() -> None:
    network, rhythm = narrow(), Rhythm(10, 40, True, 1, 1.0, 5)
    windows = [range(10 * number, 10 * number + 10) for number in range(4)]
    stop = EarlyStopping("block2/knn")
    assert require_monitors(network, [stop, OnlineKNN()], small_data(), True) == []
    require_in_time(network.walked, windows, [stop, OnlineKNN()], rhythm)
    with pytest.raises(UserError, match=r"not logged without --trainer.callbacks\+=OnlineKNN"):
        require_monitors(network, [stop], small_data(), True)
    with pytest.raises(UserError, match="there is no validation"):
        require_monitors(network, [stop, OnlineKNN()], small_data(), False)
    late = rhythm._replace(every_n_epochs=10)
    with pytest.raises(UserError, match="first validation would come after 100 batches"):
        require_in_time(network.walked, windows, [stop, OnlineKNN()], late)


def test_fewer_samples_than_k_all_vote(tmp_path: Path) -> None:
    _, trainer = train(tmp_path, OnlineKNN(k=200, bank=30), trainer={"max_epochs": 1})
    assert all(0 < value < 100 for value in figures(trainer, "knn").values())


def test_frozen_blocks_and_those_still_to_learn_have_figures(tmp_path: Path) -> None:
    schedule = SequentialSchedule()
    _, trainer = train(tmp_path, OnlineKNN(bank=60), schedule=schedule, trainer={"max_epochs": 4})
    assert list(figures(trainer, "knn")) == [f"{block}/knn" for block in BLOCKS]


def test_features_that_are_not_finite_have_no_figure(tmp_path: Path) -> None:
    class Spoil(Callback):
        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            with torch.no_grad():
                next(pl_module.walked[2].parameters()).fill_(float("nan"))

    _, trainer = train(
        tmp_path,
        Spoil(),
        OnlineKNN(),
        OnlineProbe(1),
        trainer={"max_epochs": 1},
        lr_schedule=ConstantLR(),
    )
    for kind in ("knn", "probe"):
        finite = np.isfinite(list(figures(trainer, kind).values()))
        assert finite.tolist() == [True, True, False, False]


class Unlabelled(Digits):
    def pretraining_samples(self) -> ImageArray:
        known = load_digits()[0]
        return ImageArray(known.pixels, np.full_like(known.labels, -1))


class Frames(Digits):
    frame_labels = True
    target = "phone"


def test_what_cannot_work_is_refused_in_one_line_before_training(tmp_path: Path) -> None:
    for callback in (OnlineKNN(), OnlineProbe()):
        name = type(callback).__name__
        for told, run in {
            f"{name} needs labels, and the training samples have none": {
                "data": Unlabelled(batch_size=32)
            },
            f"{name} looks when validation ends, and there is none": {
                "trainer": {"limit_val_batches": 0}
            },
        }.items():
            with pytest.raises(UserError, match=told) as error:
                train(tmp_path, callback, **run)
            assert "\n" not in str(error.value)
        trainer = small_trainer(tmp_path, limit_val_batches=1)
        for told, data, strategy in (
            ("one label per sample, the target phone", Frames(), None),
            ("needs all weights in every process", digits(), partial(BlockParallelStrategy)),
        ):
            trainer = small_trainer(tmp_path, limit_val_batches=1)
            trainer.datamodule = data  # pyright: ignore[reportAttributeAccessIssue]
            if strategy:
                trainer._accelerator_connector.strategy = strategy()
            with pytest.raises(UserError, match=f"{name}.*{told}"):
                callback.on_fit_start(trainer, narrow())


@pytest.mark.parametrize(
    "changes", [{"k": 0}, {"temperature": 0.0}, {"bank": 0}, {"every_n_epochs": 0}, {"queries": 0}]
)
def test_values_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs"):
        OnlineKNN(**changes)
