import pytest
import torch

from blocklearn import BlockwiseModule, TemporalInfoNCE, UserError, create_backbone, cut_backbone

PUBLISHED = {  # parameters, positions of 20480 samples, receptive field, hop: the released code's
    "conv1": (5_632, 4095, 10, 5),
    "conv2": (2_097_664, 1023, 45, 20),
    "conv3": (1_049_088, 512, 105, 40),
    "conv4": (1_049_088, 257, 225, 80),
    "conv5": (1_049_088, 128, 465, 160),
}


def test_parameters_lengths_and_hops_are_the_published_ones() -> None:
    x = torch.randn(1, 1, 20480)
    for stage in cut_backbone(create_backbone("gim_speech")):
        with torch.no_grad():
            x = stage(x)
        parameters, length, _, hop = PUBLISHED[stage.spec.name]
        assert sum(p.numel() for p in stage.parameters()) == parameters
        assert x.shape == (1, 512, length)
        assert (stage.spec.channels, stage.spec.stride, stage.spec.layout) == (512, hop, "NCL")


def test_a_position_sees_as_many_samples_as_published() -> None:
    encoder = create_backbone("gim_speech", channels=4).double()
    for parameter in encoder.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 1)  # all positive, so that no ReLU is shut
    x = torch.ones(1, 1, 4000, dtype=torch.float64, requires_grad=True)
    features = x
    for stage in cut_backbone(encoder):
        features = stage(features)
        middle = features.shape[2] // 2
        seen = [
            torch.autograd.grad(features[0, 0, t], x, retain_graph=True)[0].flatten().nonzero()
            for t in (middle, middle + 1)
        ]
        _, _, receptive_field, hop = PUBLISHED[stage.spec.name]
        assert len(seen[0]) == receptive_field
        assert int(seen[1][0] - seen[0][0]) == hop


def test_at_8_khz_a_position_stands_for_10_ms_too() -> None:
    stages = cut_backbone(create_backbone("gim_speech_8k"))
    assert [stage.spec.stride for stage in stages] == [5, 10, 20, 40, 80]
    assert create_backbone("gim_speech_8k", channels=4)(torch.zeros(1, 1, 10240)).shape == (
        1,
        4,
        128,
    )


@pytest.mark.parametrize("name", ["gim_speech", "gim_speech_8k"])
def test_composed_stages_equal_the_encoder(name: str) -> None:
    encoder = create_backbone(name, channels=8)
    x = torch.randn(2, 1, 3000)
    expected = encoder.forward_features(x)  # pyright: ignore
    network = BlockwiseModule(TemporalInfoNCE, backbone=name, backbone_kwargs={"channels": 8})
    named = dict(encoder.named_parameters())
    assert set(network.backbone_state_dict()) == set(named)
    for stage in cut_backbone(encoder):
        x = stage(x)
    assert torch.equal(x, expected)


def test_arguments_that_differ_in_number_are_refused() -> None:
    with pytest.raises(UserError, match=r"kernels, strides and paddings differ in number"):
        create_backbone("gim_speech", strides=[5, 4])
