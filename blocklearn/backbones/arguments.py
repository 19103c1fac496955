"""What a backbone may be built with: plain values, none of which names a file."""

from collections.abc import Mapping
from typing import Any

from blocklearn.errors import UserError

MOST = 1_000_000  # for a single number: layers, channels, pixels
MOST_VALUES = 10_000
# they read files
FORBIDDEN = (
    "checkpoint_path",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "cache_dir",
)


def require_plain_arguments(arguments: Mapping[str, Any]) -> None:
    """Raises:
    UserError: for arguments of a backbone that would read a file, or that no network has.
    """
    for name in FORBIDDEN:
        if name in arguments:
            raise UserError(
                f"backbone: {name} in backbone_kwargs would read a file past all checks; weights "
                "are named by --model.checkpoint, and timm's own are taken with "
                "--model.network.pretrained true"
            )
    require_plain(arguments, "backbone: backbone_kwargs")


def require_plain(value: Any, what: str) -> None:
    waiting, seen = [value], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
        elif not isinstance(value, (str, int, float, bool, type(None))):
            raise UserError(f"{what}: a {type(value).__name__} is no plain value")
        large = isinstance(value, (int, float)) and not -MOST <= value <= MOST
        if large or seen > MOST_VALUES or (isinstance(value, str) and len(value) > 1000):
            told = f"{value} is" if large else f"more than {MOST_VALUES} values are"
            raise UserError(f"{what}: {told} more than any network has")
