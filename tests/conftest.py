import logging

import pytest
import torch

torch.set_num_threads(1)  # sums in another order are other sums


@pytest.fixture(autouse=True)
def _quiet_and_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    torch.manual_seed(0)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
