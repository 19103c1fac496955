"""Pictures of what was logged, when training ends."""

import sys
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from blocklearn.reporting.loggers import log_pictures
from blocklearn.reporting.run_curves import draw_run_curves

FEWEST = 10  # batches of a run that is worth a picture


class DrawCurves(Callback):
    """`curves/curve_METRIC.png` in the run's folder, and at W&B: every metric over time, a curve a
    block. What goes wrong here is told in a line and costs nothing else.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.global_step < FEWEST:
            return
        try:
            pictures = draw_run_curves({"": self.folder}, self.folder / "curves")
        except (OSError, ValueError) as error:
            print(f"The curves were not drawn: {error}", file=sys.stderr)
            return
        log_pictures(trainer.loggers, "curves", pictures)
