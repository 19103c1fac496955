import pytest
import torch

from blocklearn.distributed.launch import Devices, asks_for_several, is_first_process, one_of


@pytest.mark.parametrize(
    ("accelerator", "devices", "num_nodes", "several"),
    [
        ("cpu", "auto", 1, False),
        ("cpu", 1, 1, False),
        ("cpu", 2, 1, True),
        ("cpu", "2", 1, True),
        ("cpu", 1, 2, True),
        ("gpu", [3], 1, False),
        ("gpu", "3,", 1, False),
        ("gpu", [0, 1], 1, True),
        ("gpu", "0,1", 1, True),
        ("gpu", -1, 1, True),
        ("auto", "auto", 1, True),
        ("cpu", -1, 1, False),
    ],
)
def test_several_processes_are_several_devices_or_machines(
    monkeypatch: pytest.MonkeyPatch,
    accelerator: str,
    devices: Devices,
    num_nodes: int,
    several: bool,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert asks_for_several(accelerator, devices, num_nodes) == several


@pytest.mark.parametrize(("devices", "first"), [(2, 1), ("auto", 1), ([2, 3], [2]), ("2,3", [2])])
def test_one_device_is_the_first_of_those_asked_for(devices: Devices, first: Devices) -> None:
    assert one_of(devices) == first


def test_a_process_by_itself_is_the_first() -> None:
    assert is_first_process()
