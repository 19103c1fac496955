"""Keep the best state of the run beside the last."""

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor


class BestCheckpoint(ModelCheckpoint):
    """`checkpoints/best.ckpt` in the run's folder: the state in which a metric was best, as
    `blocklearn test --model.checkpoint RUN/checkpoints/best.ckpt` takes it. It is compared whenever
    the metric is measured: those with `val_` in their name, and `knn`, at validations
    (`--trainer.check_val_every_n_epoch`). A run that goes on knows the best value so far.

    Args:
        monitor: a metric's name, as in `metrics.csv`: `block4/val_loss`, `block4/knn`.
        mode: whether the smallest (`min`) or the largest (`max`) value is the best.
    """

    def __init__(
        self, monitor: str = "block1/val_loss", mode: Literal["min", "max"] = "min"
    ) -> None:
        super().__init__(
            monitor=monitor, mode=mode, filename="best", enable_version_counter=False, save_top_k=1
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.dirpath = self.dirpath or str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Of the state before, the best value alone counts: the file lies in this run's folder,
        wherever that is now."""
        path = Path(self.dirpath or ".") / "best.ckpt"
        score = state_dict.get("best_model_score")
        known = isinstance(score, Tensor) and path.is_file()
        super().load_state_dict(
            {
                "dirpath": self.dirpath,
                "best_model_score": score if known else None,
                "best_model_path": str(path) if known else "",
                "kth_best_model_path": str(path) if known else "",
                "kth_value": score if known else self.kth_value,
                "best_k_models": {str(path): score} if known else {},
            }
        )
