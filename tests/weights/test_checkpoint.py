from pathlib import Path

import pytest
import torch
from small import (
    OBJECTIVE,
    same_weights,
    small_batch,
    small_data,
    small_network,
    small_trainer,
    weights,
)

from blocklearn import BlockwiseModule, UserError


def saved(tmp_path: Path, network: BlockwiseModule | None = None) -> tuple[BlockwiseModule, Path]:
    network = network or small_network()
    trainer = small_trainer(tmp_path)
    trainer.fit(network, datamodule=small_data())
    path = tmp_path / "checkpoints" / "last.ckpt"
    trainer.save_checkpoint(path)
    return network, path


def test_a_checkpoint_brings_back_every_weight(tmp_path: Path) -> None:
    network, path = saved(tmp_path)
    torch.manual_seed(9)
    assert same_weights(weights(network), weights(small_network(checkpoint=str(path))))


def test_a_network_comes_back_from_the_path_alone(tmp_path: Path) -> None:
    """Case 10: TypeError, no objective."""
    network, path = saved(tmp_path)
    images = small_batch().views[0]
    loaded = BlockwiseModule.load_from_checkpoint(path)
    assert not loaded.training
    assert torch.equal(loaded(images), network.eval()(images))
    features = {
        spec.key: value
        for spec, value in zip(loaded.feature_specs(), loaded.stage_features(images), strict=True)
    }
    expected = dict(
        zip(
            [spec.key for spec in network.feature_specs()],
            network.stage_features(images),
            strict=True,
        )
    )
    assert list(features) == [f"layer{k}/raw" for k in range(1, 5)]
    assert all(torch.equal(value, expected[key]) for key, value in features.items())
    with pytest.raises(
        UserError, match="computes features and cannot be trained; give .* an objective"
    ):
        small_trainer(tmp_path).fit(loaded, datamodule=small_data())


def test_with_its_objective_it_comes_back_whole(tmp_path: Path) -> None:
    network, path = saved(tmp_path)
    loaded = BlockwiseModule.load_from_checkpoint(path, OBJECTIVE, recompute="nothing")
    assert same_weights(weights(network), weights(loaded))
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(UserError, match="was not written by blocklearn fit"):
        BlockwiseModule.load_from_checkpoint(tmp_path / "foreign.ckpt")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"backbone": "resnet50"},
            "trained with backbone resnet18, this configuration says resnet50",
        ),
        ({"blocks": "end_to_end"}, "trained with blocks"),
        ({"backbone_kwargs": {"layers": [1, 1, 1, 1]}}, "trained with backbone_kwargs"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(
    tmp_path: Path, changes: dict, complaint: str
) -> None:
    _, path = saved(tmp_path)
    with pytest.raises(UserError, match=complaint):
        small_network(checkpoint=str(path), **changes)


def test_a_checkpoint_with_another_head_names_the_weights(tmp_path: Path) -> None:
    from functools import partial

    from blocklearn import JointEmbedding, Projector

    _, path = saved(tmp_path)
    objective = partial(JointEmbedding, projector=partial(Projector, widths=[4]))
    with pytest.raises(
        UserError,
        match=r"does not fit this network: other shapes: .*pooling.conv.weight is \(24, 8, 1, 1\)",
    ):
        small_network(checkpoint=str(path), objective=objective)


class Hostile:
    def __reduce__(self):  # what a pickle may carry
        return (Path("/tmp/blocklearn-was-here").touch, ())


def test_a_hostile_checkpoint_is_refused_and_nothing_in_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "blocklearn": {}, "x": Hostile()}, path)
    with pytest.raises(UserError, match="more than tensors and plain data, refused"):
        small_network(checkpoint=str(path))
    assert not Path("/tmp/blocklearn-was-here").exists()


def test_a_missing_a_damaged_and_a_foreign_checkpoint_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file .*none.ckpt"):
        small_network(checkpoint=str(tmp_path / "none.ckpt"))
    _, path = saved(tmp_path)
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UserError, match="cut.ckpt"):
        small_network(checkpoint=str(cut))
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {}}, foreign)
    with pytest.raises(UserError, match="was not written by blocklearn fit"):
        small_network(checkpoint=str(foreign))
    empty = tmp_path / "empty.ckpt"
    empty.touch()
    with pytest.raises(UserError, match="empty.ckpt"):
        small_network(checkpoint=str(empty))


def test_the_trainers_checkpoint_holds_tensors_and_plain_data_only(tmp_path: Path) -> None:
    _, path = saved(tmp_path)
    content = torch.load(path, weights_only=True)
    assert content["blocklearn"]["blocks"] == [["layer1"], ["layer2"], ["layer3"], ["layer4"]]
    assert len(content["optimizer_states"]) == 4
