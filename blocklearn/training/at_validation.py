"""Callbacks that measure every block at validations, and under which names."""

from collections.abc import Iterable
from typing import ClassVar

from lightning.pytorch import Callback


class LogsAtValidation(Callback):
    """Subclass it for a callback that logs `blockN/KIND` when validation ends.

    Attributes:
        kinds: names behind the block's, e.g. `("knn",)`.
    """

    kinds: ClassVar[tuple[str, ...]] = ()


def kinds_at_validation(callbacks: Iterable[object]) -> tuple[str, ...]:
    """What these callbacks log of every block."""
    return tuple(
        kind for c in callbacks if isinstance(c, LogsAtValidation) for kind in type(c).kinds
    )


def is_validated(name: str, callbacks: Iterable[object]) -> bool:
    """Whether a name is logged by validations: `block1/val_loss`, `block1/knn`."""
    return "/val_" in name or name.partition("/")[2] in kinds_at_validation(callbacks)
