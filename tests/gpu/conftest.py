"""Each check runs on every device: on the CPU in the ordinary suite, on CUDA with `-m gpu`."""

import pytest
import torch

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)


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
