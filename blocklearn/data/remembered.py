"""What a checkpoint says of the data that its network was trained on."""

from inspect import signature
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule

REMEMBERED = "blocklearn_data"  # in the state of a data module
# arguments that say which data, and how large; none of them names a class or a place to fetch from
ARGUMENTS = (
    "root",
    "image_size",
    "frames",
    "target",
    "sample_rate",
    "batch_size",
    "num_images",
)


class RememberedData(LightningDataModule):
    """Lightning writes the state of a data module into every checkpoint: here its class and plain
    arguments, so that a checkpoint of a plain Trainer can be evaluated from the file alone."""

    def state_dict(self) -> dict[str, Any]:
        kind = type(self)
        taken = {name for part in kind.__mro__ for name in signature(part.__init__).parameters}
        values = {name: _plain(getattr(self, name, None)) for name in ARGUMENTS if name in taken}
        kept = {name: value for name, value in values.items() if value is not None}
        return {REMEMBERED: {"class_path": f"{kind.__module__}.{kind.__qualname__}", **kept}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: a run goes on with the data of its own configuration."""


def _plain(value: Any) -> Any:
    value = str(value.absolute()) if isinstance(value, Path) else value
    return value if isinstance(value, (str, int, float)) else None
