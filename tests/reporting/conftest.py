import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from reporting.wandb_server import KEY


@pytest.fixture
def wandb_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """W&B with a key, and as it is for a new user otherwise."""
    monkeypatch.delenv("WANDB_MODE")
    settings = {
        "API_KEY": KEY,
        "SILENT": "true",
        "ERROR_REPORTING": "false",
        "CONFIG_DIR": str(tmp_path / "settings"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    return monkeypatch


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
