"""What labels and features must be like before anything is learned from them: one place for all
evaluations."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.labelled_part import read_labels
from blocklearn.distributed.launch import say
from blocklearn.errors import UserError


def check_labels(data: KeyedDataModule, train: Tensor, test: Tensor) -> None:
    """Say in one line which classes are tested and not learned, since none of their samples can be
    right.

    Args:
        data: whose they are.
        train: `(N,)` labels of the samples that are learned from.
        test: `(M,)` labels of those that are tested.

    Raises:
        UserError: where a part is empty or has samples without a label, for labels beyond
            `num_classes`, and where all training samples are of one class.
    """
    for part, labels in (("training", train), ("test", test)):
        check_part(data, part, labels)
    learned = train.unique().tolist()
    if len(learned) == 1:
        raise UserError(
            f"evaluation: all {len(train)} training samples of {data.title} are of one class, "
            f"{_name(data, learned[0])}: there is nothing to tell apart"
        )
    if unknown := [label for label in test.unique().tolist() if label not in learned]:
        names = [_name(data, label) for label in unknown]
        count = int(torch.isin(test, torch.tensor(unknown)).sum())
        listed = ", ".join([*names[:10], *(["..."] if len(names) > 10 else [])])
        say(
            f"evaluation: {data.title} has no training samples of {len(names)} of its "
            f"{data.num_classes} classes ({listed}); "
            f"their {count} test samples can only be wrong"
        )


def check_part(data: KeyedDataModule, part: str, labels: Tensor) -> None:
    """
    Args:
        data: whose they are.
        part: `training` or `test`.
        labels: `(N,)` of all its samples.

    Raises:
        UserError: where it is empty, has samples without a label, or labels beyond `num_classes`.
    """
    if not len(labels):
        raise UserError(f"evaluation: {data.title} has no {part} samples")
    if missing := int((labels < 0).sum()):
        raise UserError(
            f"evaluation: {missing} of {len(labels)} {part} samples of {data.title} have no "
            "label; name labelled images, one folder a class, with --data.probe_root"
        )
    if int(labels.max()) >= data.num_classes:
        raise UserError(
            f"evaluation: {data.title} has a {part} label {int(labels.max())}, but its "
            f"num_classes is {data.num_classes}: labels count from 0"
        )


def require_sample_labels(data: KeyedDataModule, who: str) -> None:
    """
    Args:
        data: whose labels are looked at.
        who: the evaluation's class.

    Raises:
        UserError: for data with a label per frame.
    """
    if data.frame_labels:
        raise UserError(
            f"evaluation: {who} needs one label per sample, the target {data.target} has one per "
            "frame; choose another --data.target"
        )


def check_samples(data: KeyedDataModule) -> bool:
    """`check_labels` before anything is computed, where labels are known without reading the
    samples: returns whether they are. Every class keeps a sample in a part of the labels.

    Raises:
        UserError: as `check_labels`.
    """
    if data.frame_labels:
        return False
    parts = data.probe_samples(), data.test_samples()
    if any(getattr(samples, "labels", None) is None for samples in parts):
        return False
    train, test = map(read_labels, parts)
    check_labels(data, train, test)
    return True


def check_features(
    title: str, part: str, columns: Mapping[str, Tensor], keys: Sequence[str]
) -> None:
    """Args:
        title: of the data.
        part: `training` or `test`.
        columns: `(N, D)` each.
        keys: `STAGE/KIND` of those that are looked at.

    Raises:
        UserError: for a feature that is not finite; it names the first.
    """
    for key in keys:
        strange = ~columns[key].isfinite().all(dim=1)
        if count := int(strange.sum()):
            raise UserError(
                f"evaluation: the feature {key} is not finite for {count} of {len(strange)} {part} "
                f"samples of {title} (NaN or infinite): the network diverged there; take an "
                "earlier checkpoint"
            )


def _name(data: KeyedDataModule, label: int) -> str:
    names: Sequence[str] | None = getattr(data, "classes", None)
    return names[label] if names else str(label)
