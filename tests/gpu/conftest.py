"""Each check runs on every device: on the CPU in the ordinary suite, on CUDA with `-m gpu`."""

from pathlib import Path

import pytest
import torch

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On CUDA warnings are told and are no errors, until a GPU has shown which there are."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> torch.device:
    return usable(request.param)


@pytest.fixture(params=[CUDA])
def cuda(request: pytest.FixtureRequest) -> torch.device:
    """For what the CPU has tests of elsewhere, or nothing to show."""
    return usable(request.param)


def usable(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here (torch.cuda.is_available() is false)")
    return torch.device(name)
