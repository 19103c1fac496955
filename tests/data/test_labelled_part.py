from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import small_data

from blocklearn import UserError
from blocklearn.data.images.digits import ImageArray, load_digits
from blocklearn.data.images.folder_parts import ImageFiles
from blocklearn.data.images.torchvision_sets import RGB
from blocklearn.data.labelled_part import read_labels, stratified_part


def test_every_class_keeps_the_same_part() -> None:
    images = load_digits()[0]
    part = stratified_part(images, 0.1, seed=0)
    kept = torch.tensor([part[index][1] for index in range(len(part))]).bincount()
    assert kept.tolist() == [round(0.1 * int(count)) for count in np.bincount(images.labels)]


def test_a_class_keeps_at_least_one_image() -> None:
    part = stratified_part(load_digits()[0], 1e-6, seed=0)
    assert sorted(part[index][1] for index in range(len(part))) == list(range(10))


def test_the_part_depends_on_the_seed_alone() -> None:
    images = load_digits()[0]
    torch.manual_seed(1)
    first = stratified_part(images, 0.1, seed=4).positions
    torch.manual_seed(2)
    assert stratified_part(images, 0.1, seed=4).positions == first
    assert stratified_part(images, 0.1, seed=5).positions != first
    assert first == sorted(set(first))


def test_all_of_it_is_all_of_it() -> None:
    images = load_digits()[0]
    assert stratified_part(images, 1.0, seed=0).positions == list(range(len(images)))


@pytest.mark.parametrize("part", [0.0, -0.1, 1.5])
def test_a_part_out_of_range_is_refused(part: float) -> None:
    with pytest.raises(UserError, match="labelled_part must lie above 0 and be at most 1"):
        stratified_part(load_digits()[0], part, seed=0)


class Torchvisions:
    """As torchvision's sets: labels under a name of their own, an image that must not be
    decoded."""

    def __init__(self, **labels: object) -> None:
        self.__dict__.update(labels)

    def __getitem__(self, index: int) -> object:
        raise AssertionError("decoded")


def test_labels_are_read_without_decoding_an_image() -> None:
    files = ImageFiles([(Path("/nowhere/a.png"), 2), (Path("/nowhere/b.png"), 0)])
    assert read_labels(files).tolist() == [2, 0]
    assert read_labels(RGB(Torchvisions(targets=[1, 0]))).tolist() == [1, 0]
    assert read_labels(RGB(Torchvisions(labels=np.array([1, 3])))).tolist() == [1, 3]
    assert read_labels(ImageArray(np.zeros((2, 4, 4), np.uint8), np.array([5, 6]))).tolist() == [
        5,
        6,
    ]


def test_labels_of_a_data_set_that_does_not_list_them_are_those_of_its_items() -> None:
    class Plain:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return Image.new("RGB", (2, 2)), 10 - index

    assert read_labels(Plain()).tolist() == [10, 9, 8]


def test_the_probe_loader_trains_on_the_part() -> None:
    data = small_data(num_images=64, seed=3)
    data.setup()
    plain = data.probe_dataloader(8, augment=False, labelled_part=0.25)
    labels = torch.cat([batch.label for batch in plain])
    assert labels.bincount().tolist() == [4, 4, 4, 4]
    augmented = data.probe_dataloader(8, labelled_part=0.25)
    assert sorted(int(label) for batch in augmented for label in batch.label) == sorted(
        labels.tolist()
    )
