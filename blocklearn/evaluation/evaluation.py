"""The contract of an evaluation: a network and data to rows of named values."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from lightning.pytorch import Trainer

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.errors import UserError
from blocklearn.evaluation.probe_settings import ProbeSettings


@dataclass(frozen=True)
class Row:
    """What was found of one feature.

    Attributes:
        stage: name of the stage, e.g. `layer1`.
        index: its position, from 1.
        feature: `raw` (global average of the stage), `head` (output of the block's pooling),
            `context` (output of its context network), `finetuned` (the global average under a
            backbone that was trained on), or what an objective or evaluation calls its own.
        values: what was measured, by name, e.g. `top1`.
        settings: how, where it belongs beside the values, e.g. the classifier's learning rate.
    """

    stage: str
    index: int
    feature: str
    values: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Flat, for files."""
        place = {"stage": self.stage, "index": self.index, "feature": self.feature}
        return {**place, **self.settings, **self.values}


class Evaluation(ABC):
    """Subclass it and write `run`; the command line names it by its class path, or by the name of
    the class for those that come with blocklearn.

    Attributes:
        kind: the beginning of its folder's name.
        title: what table and picture are called.
        unit: of the values, for people.
        higher_is_better: whether the largest value is the best.
        learns: whether anything in it depends on the labels of training samples.
    """

    kind: ClassVar[str] = "evaluation"
    title: ClassVar[str] = "Evaluation"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True
    learns: ClassVar[bool] = True

    protocol: ProbeSettings = ProbeSettings()
    _make_trainer: Callable[[int], Trainer] | None = None

    @property
    def main(self) -> str | None:
        """The value that pictures and comparisons show; None for the first."""
        return None

    def dataset(self, data: KeyedDataModule) -> str:
        """Title of what is evaluated on."""
        return data.title

    @abstractmethod
    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> Sequence[Row]:
        """Evaluate a network, which is left as it is.

        Args:
            network: trained, or as it was initialized.
            data: ready (`prepare_data` and `setup` are done); it has `probe_dataloader` of labelled
                training samples and `test_dataloader`.
        """

    def leave(self, folder: Path) -> Sequence[Path]:
        """Write what rows cannot hold, after `run`: pictures and tables. Returns the files; those
        that end in .png are shown at W&B and in reports.

        Args:
            folder: of the results; it is there.
        """
        return ()

    def under(self, protocol: ProbeSettings, make_trainer: Callable[[int], Trainer]) -> Self:
        """The same, with what evaluations share.

        Args:
            protocol: how classifiers are trained, where any are.
            make_trainer: a Trainer for so many epochs, on the device that was asked for.
        """
        self.protocol, self._make_trainer = protocol, make_trainer
        return self

    def trainer(self, epochs: int = 1) -> Trainer:
        """A Trainer for so many epochs.

        Raises:
            UserError: where `under` was not called.
        """
        if self._make_trainer is None:
            raise UserError(
                f"evaluation: {type(self).__name__} needs a Trainer: call under(settings, "
                "make_trainer) before run"
            )
        return self._make_trainer(epochs)

    @property
    def _labelled_part(self) -> float:
        return self.protocol.labelled_part if self.learns else 1.0

    def full_title(self, target: str | None = None) -> str:
        """What table and picture are called; `target` says which of several labellings was
        learned."""
        return full_title(self.title, target, self._labelled_part)

    def name(self, target: str | None = None) -> str:
        """Of the folder of results: one per kind, target and part of the labels: `probe_speaker`,
        `probe_0.1`, `finetune_digit_0.1`. Nothing else is in the name: of two protocols that agree
        in these, as two learning rates do, the later one replaces the earlier one's results."""
        part = None if self._labelled_part == 1 else f"{self._labelled_part:g}"
        return "_".join(word for word in (self.kind, target, part) if word)


def full_title(title: str, target: str | None, labelled_part: float) -> str:
    """With what was learned, and from how much of the labels."""
    told = f"{title} ({target})" if target else title
    share = f" with {100 * labelled_part:.3g}% of the labels"
    return told if labelled_part == 1 else told + share
