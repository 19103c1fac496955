import pytest
import torch
from timm.models.resnet import BasicBlock
from torch import nn

from blocklearn import create_backbone, cut_backbone

UNITS = {"cifar_resnet20": 3, "cifar_resnet32": 5, "cifar_resnet56": 9, "cifar_resnet110": 18}


@pytest.mark.parametrize(("name", "units"), UNITS.items())
def test_a_network_of_6n_plus_2_layers_has_n_units_a_stage(name: str, units: int) -> None:
    """The two beside the stages are the first convolution and the classifier, which is not here."""
    backbone = create_backbone(name)
    convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    on_the_path = [m for m in convolutions if m.kernel_size == (3, 3)]
    assert len(on_the_path) + 1 == int(name.removeprefix("cifar_resnet"))
    assert sum(isinstance(module, BasicBlock) for module in backbone.modules()) == 3 * units


def test_110_layers_have_the_published_1_73_million_parameters() -> None:
    """Classifier for ten classes included."""
    count = sum(p.numel() for p in create_backbone("cifar_resnet110").parameters())
    assert count + 64 * 10 + 10 == 1_730_714


def test_its_maps_are_of_32_16_and_8_positions_a_side() -> None:
    x, shapes = torch.randn(2, 3, 32, 32), []
    with torch.no_grad():
        for stage in cut_backbone(create_backbone("cifar_resnet20")):
            x = stage(x)
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_a_wrong_number_of_stages_is_refused_with_the_flag_to_set() -> None:
    with pytest.raises(
        Exception, match=r"three positive numbers each.*--model.network.backbone_kwargs"
    ):
        create_backbone("cifar_resnet20", layers=[1, 1])
