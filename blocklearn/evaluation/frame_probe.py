"""Linear probes that tell every 10 ms of an utterance apart, as phones do."""

import sys
from collections.abc import Mapping
from typing import ClassVar

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn.functional import avg_pool1d

from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.errors import UserError
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.linear_classifiers import LinearClassifiers, prepare_evaluation
from blocklearn.evaluation.probe_settings import ProbeSettings


class FrameClassifiers(LinearClassifiers):
    """`LinearClassifiers` to which every frame of an utterance is a sample: the phone probe of
    Greedy InfoMax (arXiv 1905.11786). Its released code probes the last context alone, with weights
    drawn Xavier-normal; here every feature is probed, with weights N(0, 0.01) and bias 0.
    Accuracy is over the frames of all utterances. Where a stage has several positions per frame,
    their mean is the frame. Labels belong to the last frames, as published.

    Args:
        network: what is probed; it is never changed.
        num_classes: of the labels.
        settings: how the probes are trained.
        frame_samples: samples of sound a label; 10 ms in published sets.

    Batches are `Batch`es of whole utterances `(B, 1, L)` with labels `(B, T)`.
    """

    by_frame: ClassVar[bool] = True

    def __init__(
        self,
        network: BlockwiseModule,
        num_classes: int,
        settings: ProbeSettings,
        frame_samples: int = 160,
    ) -> None:
        super().__init__(network, num_classes, settings)
        self.frame_samples = frame_samples
        kept = {spec.key for spec in self.features}
        left = [spec.key for spec in network.feature_specs() if spec.key not in kept]
        if left:
            print(f"No value per frame, and left out: {', '.join(left)}", file=sys.stderr)

    def labelled_features(self, batch: Batch | Mapping[str, Tensor]) -> tuple[list[Tensor], Tensor]:
        """One `(B * T, width)` a feature, without graph, and labels `(B * T,)`.

        Raises:
            UserError: for a feature with fewer frames than labels, by the sample's index.
        """
        assert isinstance(batch, Batch)
        count = batch.label.shape[1]
        features: list[Tensor] = []
        with torch.no_grad():
            for spec, (values, stride) in zip(
                self.features, self.network.frame_features(batch.views[0]), strict=True
            ):
                frames = last_frames(values, self._positions_a_frame(spec.key, stride), count)
                if frames.shape[2] < count:
                    raise UserError(
                        f"probe: sample {', '.join(map(str, batch.index.tolist()))}: {spec.key} "
                        f"has {frames.shape[2]} frames of {self.frame_samples} samples, but there "
                        f"are {count} labels; the sound is cut short, or the labels are another's"
                    )
                features.append(frames.transpose(1, 2).flatten(0, 1))
        return features, batch.label.flatten()

    def _positions_a_frame(self, feature: str, stride: int) -> int:
        if self.frame_samples % stride:
            raise UserError(
                f"probe: {feature} has a position every {stride} samples, of which frames of "
                f"{self.frame_samples} samples hold no whole number; probe a target with one label "
                "a recording"
            )
        return self.frame_samples // stride


def last_frames(values: Tensor, group: int, count: int) -> Tensor:
    """The last frames of a feature, each the mean of the positions in it.

    Args:
        values: `(B, width, P)`, P positions in time.
        group: positions per frame. Groups are counted from the end; the first may be incomplete.
        count: how many frames are wanted.

    Returns:
        `(B, width, T)` with T at most `count`; fewer where there are not so many.
    """
    kept = values[..., -count * group :]
    return kept if group == 1 else avg_pool1d(kept.flip(2), group, ceil_mode=True).flip(2)


def run_frame_probe(
    network: BlockwiseModule, data: KeyedDataModule, settings: ProbeSettings, trainer: Trainer
) -> list[Row]:
    """Train and test a probe on the frames of every feature of `network`. All features of all
    frames would not fit into memory, so they are computed anew in every epoch; `augment` decides
    only whether utterances are shuffled.

    Args:
        network: what is probed.
        data: utterances with a label per frame (`frame_labels`), to train and to test on.
        settings: how the probes are trained.
        trainer: its `max_epochs` must be `settings.epochs`.

    Raises:
        ValueError: where it is not: the learning rate would not come down to 0.
    """
    prepare_evaluation(data, settings, trainer)
    frame_samples = getattr(data, "sample_rate", 16000) // 100
    probe = FrameClassifiers(network, data.num_classes, settings, frame_samples)
    utterances = data.probe_dataloader(
        settings.batch_size, settings.augment, settings.labelled_part
    )
    trainer.fit(probe, train_dataloaders=utterances)
    trainer.test(probe, dataloaders=data.test_dataloader(), verbose=False)
    return probe.rows()


class FrameProbe(Evaluation):
    """A linear classifier on every frame of every feature, where labels are frame by frame: the
    phone probe of Greedy InfoMax (arXiv 1905.11786)."""

    kind: ClassVar[str] = "probe"
    title: ClassVar[str] = "Linear probes"
    unit: ClassVar[str] = "accuracy in %"

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        """
        Raises:
            UserError: for data with one label per sample.
        """
        if not data.frame_labels:
            raise UserError(
                "evaluation: FrameProbe needs a label for every frame, the data has one per "
                "sample: take LinearProbe, or another --data.target"
            )
        return run_frame_probe(network, data, self.protocol, self.trainer(self.protocol.epochs))
