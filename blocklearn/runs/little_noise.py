"""What Lightning says and nobody needs to act on."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

QUIET = (
    ".*does not have many workers",
    ".*smaller than the logging interval",
    # of ModelCheckpoint, whose state after a batch is meant
    ".*but no pre-optimization state was saved",
    ".*exists and is not empty",  # what resuming is
    ".*in eval mode at the start of training",  # what probing is
    r".*\.grad attribute of a Tensor that is not a leaf",  # which torch.compile looks at
    ".*LeafSpec.*is deprecated",  # Lightning 2.6 on torch 2.15
)
CHATTY = (  # by full name: Lightning sets the level of their parents when it is imported
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
    "lightning.fabric.utilities.distributed",
    "lightning.pytorch.trainer.connectors.signal_connector",
    "lightning_utilities.core.rank_zero",
)


def be_quiet() -> None:
    """From here on, in this process."""
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in QUIET:
        warnings.filterwarnings("ignore", message)


@contextmanager
def quietly() -> Iterator[None]:
    """Inside; afterwards it is as it was."""
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    with warnings.catch_warnings():
        be_quiet()
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
