"""A linear classifier on every block while it trains."""

from math import cos, pi
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.callbacks.online_evaluation import OnlineEvaluation, share_right
from blocklearn.callbacks.online_features import BlockFeatures, require_labels
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.distributed.collectives import gather_batch
from blocklearn.errors import UserError
from blocklearn.evaluation.linear_probe import linear_classifier
from blocklearn.seeding import keyed_randomness
from blocklearn.training.contract import BlockOutput, Clock, LocalBlock

STREAM = 0x70726F6265  # keys the classifiers' first weights


class OnlineProbe(OnlineEvaluation):
    """`block1/probe`: top-1 accuracy on the test samples, in percent, of a linear classifier that
    learns beside the block, from the features of its training batches, cut off from the graph.
    Feature: the global average of the block's output in the first view; classifier and optimizer
    (SGD, momentum 0.9, a cosine from `lr` to 0 over the run) as for `LinearProbe`. Test samples
    are seen as they are, in eval mode.

    A block's classifier learns while the block does, from all processes' samples, and is kept in
    the run's checkpoints. Samples whose label is -1, or whose features are not finite, are left
    out. A block that has not learned yet has no figure.

    Args:
        every_n_steps: training batches from one that the classifiers learn from to the next, >= 1.
        lr: peak learning rate, > 0.
        weight_decay: added to the gradient, >= 0.
        standardise: affine-free BatchNorm on the features, so that one learning rate suits every
            block.
        every_n_epochs: from one look to the next, >= 1; more in `OnlineEvaluation`.
        queries: test samples that are classified at most, >= 1; null for all.

    Raises:
        ValueError: for a value out of range.
        UserError: when training starts, as for `OnlineEvaluation`, where no sample has a label, and
            for blocks that overlap.
    """

    kinds: ClassVar[tuple[str, ...]] = ("probe",)

    def __init__(
        self,
        every_n_steps: int = 4,
        lr: float = 0.1,
        weight_decay: float = 1e-6,
        standardise: bool = True,
        every_n_epochs: int = 5,
        queries: int | None = None,
    ) -> None:
        super().__init__(every_n_epochs, queries)
        if every_n_steps < 1 or not lr > 0 or not weight_decay >= 0:
            raise ValueError(
                "OnlineProbe needs every_n_steps of at least 1, a positive lr and a weight_decay "
                f"of at least 0, got {every_n_steps}, {lr} and {weight_decay}"
            )
        self.every_n_steps, self.lr, self.weight_decay = every_n_steps, lr, weight_decay
        self.standardise = standardise
        self.classifiers: dict[str, nn.Sequential] = {}
        self.steps: dict[str, int] = {}  # that each has made
        self._optimizers: dict[str, torch.optim.SGD] = {}
        self._label = torch.empty(0)
        self._read: dict[str, Any] | None = None  # from a checkpoint

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        if not isinstance(pl_module, BlockwiseModule):
            return
        data: KeyedDataModule = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        require_labels(data.pretraining_samples(), "OnlineProbe", "training")
        require_labels(data.test_samples(), "OnlineProbe", "test")
        for block in pl_module.walked:
            if block.lends:
                raise UserError(
                    f"trainer.callbacks: OnlineProbe learns from what a block hands on, and "
                    f"{block.name} shares its last stage with the next block, so it hands on less; "
                    "take OnlineKNN"
                )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, BlockwiseModule):
            return
        data: KeyedDataModule = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        self.classifiers, self.steps, self._optimizers = {}, {}, {}
        for block in pl_module.walked:
            name, width = block.name, block.spec.channels
            norms = [nn.BatchNorm1d(width, affine=False)] if self.standardise else []
            with keyed_randomness(pl_module.seed, block.index, STREAM):
                linear = linear_classifier(width, data.num_classes)
            classifier = nn.Sequential(*norms, linear).to(pl_module.device, torch.float32)
            self.classifiers[name], self.steps[name] = classifier, 0
            self._optimizers[name] = torch.optim.SGD(
                classifier.parameters(), self.lr, momentum=0.9, weight_decay=self.weight_decay
            )
        self._go_on()
        pl_module.watching.listeners.append(self._learn)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.classifiers:
            self._label = batch.label

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if isinstance(pl_module, BlockwiseModule):
            pl_module.watching.listeners[:] = [
                listen for listen in pl_module.watching.listeners if listen != self._learn
            ]

    def state_dict(self) -> dict[str, Any]:
        if not self.classifiers:
            return self._read or {}
        return {
            name: {
                "classifier": dict(classifier.state_dict()),
                "optimizer": self._optimizers[name].state_dict(),
                "steps": self.steps[name],
            }
            for name, classifier in self.classifiers.items()
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._read = state_dict

    def _go_on(self) -> None:
        """From what a checkpoint held, where one was loaded."""
        read, self._read = self._read or {}, None
        for name, state in read.items():
            try:
                self.classifiers[name].load_state_dict(state["classifier"])
                self._optimizers[name].load_state_dict(state["optimizer"])
                self.steps[name] = state["steps"]
            except (KeyError, RuntimeError, ValueError) as error:
                raise UserError(
                    f"resume: OnlineProbe's classifier of {name} does not fit the checkpoint's; go "
                    "on with the same classes, blocks and settings of OnlineProbe"
                ) from error

    def _learn(self, block: LocalBlock, output: BlockOutput, clock: Clock) -> None:
        """One step of a block's classifier, within the training step, so that a checkpoint of
        whatever hook holds both or neither."""
        if (clock.step + 1) % self.every_n_steps:
            return
        classifier, optimizer = self.classifiers[block.name], self._optimizers[block.name]
        with torch.no_grad():
            features = gather_batch(block.spec.average(output.carried.views[0]).float())
            label = gather_batch(self._label.to(features.device))
            strange = ~features.isfinite().all(dim=1)  # no wait for the device
            features = features.masked_fill(strange.unsqueeze(1), 0)
            label = label.masked_fill(strange, -1)
        for group in optimizer.param_groups:
            group["lr"] = self.lr * (1 + cos(pi * clock.step / clock.total)) / 2
            group["weight_decay"] = self.weight_decay
        with torch.enable_grad(), torch.autocast(features.device.type, enabled=False):
            loss = cross_entropy(
                classifier.train()(features), label, ignore_index=-1, reduction="sum"
            )
            (loss / (label >= 0).sum().clamp(min=1)).backward()
        optimizer.step()
        optimizer.zero_grad()
        self.steps[block.name] += 1

    def accuracies(
        self, network: BlockwiseModule, data: KeyedDataModule, queries: BlockFeatures
    ) -> dict[str, float | Tensor]:
        return {
            name: self._accuracy(classifier, queries.of_blocks[name], queries.label)
            for name, classifier in self.classifiers.items()
            if self.steps[name]
        }

    def _accuracy(self, classifier: nn.Module, features: Tensor, label: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            predicted = classifier.eval()(features).argmax(dim=1)
        return share_right(predicted == label, features)
