"""Linear probes on every stage of a frozen network, trained together from one pass over the
data."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from lightning.pytorch import Trainer

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.evaluation.cached_features import feature_loader, labelled_features
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.labels_check import check_samples
from blocklearn.evaluation.linear_classifiers import (
    LinearClassifiers,
    linear_classifier,
    prepare_evaluation,
)
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.evaluation.rate_grid import run_rate_grid

__all__ = [  # with what was in this file in blocklearn 0.2
    "LinearClassifiers",
    "LinearProbe",
    "linear_classifier",
    "prepare_evaluation",
    "run_linear_probe",
]


def run_linear_probe(
    network: BlockwiseModule,
    data: KeyedDataModule,
    settings: ProbeSettings,
    trainer: Trainer,
    kinds: Sequence[str] | None = None,
) -> list[Row]:
    """Train and test a probe on every feature of `network`.

    Args:
        network: what is probed.
        data: labelled images to train and to test on.
        settings: how the probes are trained.
        trainer: its `max_epochs` must be `settings.epochs`.
        kinds: of features; null for the default (`blocklearn.blocks.features`).

    Raises:
        ValueError: where it is not: the learning rate would not come down to 0.
        UserError: for labels and features that nothing can be learned from.
    """
    prepare_evaluation(data, settings, trainer)
    probe = LinearClassifiers(network, data.num_classes, settings, kinds)
    if settings.augment:
        check_samples(data)
        train = data.probe_dataloader(settings.batch_size, True, settings.labelled_part)
        test = data.test_dataloader()
    else:
        known, asked = labelled_features(
            network,
            data,
            settings.batch_size,
            settings,
            trainer.strategy.root_device,
            kinds,
        )
        train = feature_loader(known, settings.batch_size)
        test = feature_loader(asked, settings.batch_size, shuffle=False)
    trainer.fit(probe, train_dataloaders=train)
    trainer.test(probe, dataloaders=test, verbose=False)
    return probe.rows()


class LinearProbe(Evaluation):
    """A linear classifier on every feature of the frozen network, trained together from one pass
    over the data: the linear evaluation of arXiv 2302.01647 under the default protocol. Where
    labels are frame by frame it is a `FrameProbe`.

    Args:
        lrs: peak learning rates that are tried in the same pass, each > 0; null for `probe.lr`
            alone. Of every feature the best one counts, by its accuracy on training samples that
            were held out; the test samples have no part in the choice. One rate alone is trained
            on all training samples.
        held_out: part of the training samples of each class that is chosen by, in (0, 1), where
            there are several rates; the others are trained on.
        features: kinds of features, of `raw`, `head`, `context`, `projector` and
            `concatenated`; null for `raw` and what objectives publish.

    Raises:
        ValueError: for a value out of range.
    """

    kind: ClassVar[str] = "probe"
    title: ClassVar[str] = "Linear probes"
    unit: ClassVar[str] = "accuracy in %"

    def __init__(
        self,
        lrs: Sequence[float] | None = None,
        held_out: float = 0.1,
        features: Sequence[str] | None = None,
    ) -> None:
        sound = lrs is None or (len(lrs) > 0 and all(0 < lr < math.inf for lr in lrs))
        if not sound or not 0 < held_out < 1:
            raise ValueError(
                "LinearProbe needs positive, finite lrs, at least one, and held_out between 0 and "
                f"1, got {lrs} and {held_out}"
            )
        self.lrs = None if lrs is None else tuple(lrs)
        self.held_out, self.features = held_out, features

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        trainer, rates = self.trainer(self.protocol.epochs), set(self.lrs or ())
        if len(rates) > 1:
            return run_rate_grid(
                network, data, self.protocol, trainer, sorted(rates), self.held_out, self.features
            )
        settings = replace(self.protocol, lr=rates.pop()) if rates else self.protocol
        return run_linear_probe(network, data, settings, trainer, self.features)
