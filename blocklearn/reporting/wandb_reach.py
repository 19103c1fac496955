"""Whether W&B can be reached, asked before it is started: W&B itself would wait for minutes."""

import netrc
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from blocklearn.reporting.patient_thread import PatientThread

OFFICIAL = "https://api.wandb.ai"


def server() -> str:
    """Address of the server, as W&B finds it."""
    return (os.environ.get("WANDB_BASE_URL") or OFFICIAL).rstrip("/")


def has_key() -> bool:
    """Whether W&B can log in without asking anybody."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = server().split("//")[-1].split("/")[0]
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def what_is_wrong(seconds: float) -> str | None:
    """Why the server cannot be used; None where it answers.

    Args:
        seconds: to wait at most, for the name of the server to be resolved too.
    """
    try:
        return PatientThread().wait_for(lambda: _ask(server(), seconds), seconds + 0.5)
    except TimeoutError:
        return f"{server()} does not answer within {seconds:.0f} s"


def _ask(url: str, seconds: float) -> str | None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
            return None
    except urllib.error.HTTPError as answer:
        answer.close()
        return f"{url} answers with status {answer.code}" if answer.code >= 500 else None
    except urllib.error.URLError as error:
        # W&B has an opinion of its own on certificates
        return (
            None
            if isinstance(error.reason, ssl.SSLError)
            else _described(url, error.reason, seconds)
        )
    except Exception as error:
        return _described(url, error, seconds)


def _described(url: str, error: object, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"{url} does not answer within {seconds:.0f} s"
    told = (
        error.strerror
        if isinstance(error, OSError) and error.strerror
        else str(error) or type(error).__name__
    )
    return f"{url} cannot be reached ({told})"
