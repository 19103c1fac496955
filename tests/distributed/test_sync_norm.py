import pytest
import torch
from small import small_batch, small_network
from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct
from torch import nn

from blocklearn import UserError
from blocklearn.distributed.sync_norm import SyncedBatchNorm, synchronise_norms


def network() -> nn.Sequential:
    shared = nn.BatchNorm2d(4)
    return nn.Sequential(
        nn.Conv2d(3, 4, 1), shared, BatchNormAct2d(4), nn.Sequential(shared), nn.BatchNorm2d(4)
    )


def test_in_a_single_process_nothing_changes_but_the_class() -> None:
    plain, synced = network(), network()
    synced.load_state_dict(plain.state_dict())
    parameters = dict(synced.named_parameters())
    synchronise_norms(synced)
    assert not any(type(module) in (nn.BatchNorm2d, BatchNormAct2d) for module in synced.modules())
    assert all(parameter is parameters[name] for name, parameter in synced.named_parameters())
    for training in (True, False):
        x = torch.randn(5, 3, 4, 4)
        assert torch.equal(plain.train(training)(x), synced.train(training)(x))
    assert plain.state_dict().keys() == synced.state_dict().keys()
    assert all(
        torch.equal(value, synced.state_dict()[name]) for name, value in plain.state_dict().items()
    )


def test_a_norm_that_sits_in_two_places_stays_one() -> None:
    model = network()
    synchronise_norms(model)
    assert isinstance(model[1], SyncedBatchNorm)
    assert model[3].get_submodule("0") is model[1]


def test_the_whole_network_keeps_its_names_and_features() -> None:
    model, batch = small_network().eval(), small_batch()
    names, features = list(model.state_dict()), model(batch.views[0])
    synchronise_norms(model)
    synchronise_norms(model)  # a second time changes nothing
    assert list(model.state_dict()) == names
    assert torch.equal(model(batch.views[0]), features)


def test_off_the_cpu_timms_version_of_torchs_own_takes_over_and_keeps_the_activation() -> None:
    model = network().to("meta")
    names = list(model.state_dict())
    synchronise_norms(model)
    assert isinstance(model[1], nn.SyncBatchNorm)
    assert model[3].get_submodule("0") is model[1]
    assert isinstance(model[2], SyncBatchNormAct)
    assert isinstance(model[2].act, nn.ReLU)
    assert list(model.state_dict()) == names


def test_a_norm_of_an_unknown_class_is_refused_by_name() -> None:
    class Odd(nn.BatchNorm2d):
        pass

    with pytest.raises(UserError, match="0.1: a Odd cannot be synchronised"):
        synchronise_norms(nn.Sequential(nn.Sequential(nn.Identity(), Odd(3))))
