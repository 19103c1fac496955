"""The arguments of each verb beside those of Lightning: what every flag of ours is called, and its
help."""

from typing import Any, Literal

from blocklearn.cli.verbs import LEAVE_NOTHING
from blocklearn.evaluation import Evaluation
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.reporting.loggers import WandbSettings

_OURS = {
    "model",
    "datamodule",
    "dataloaders",
    "train_dataloaders",
    "val_dataloaders",
    "weights_only",
}
_EVALUATION = _OURS | {"ckpt_path", "verbose"}
OF_LIGHTNING = {  # arguments of the Trainer's methods that are not offered, by verb
    "fit": _OURS,
    "validate": _EVALUATION,
    "test": _EVALUATION,
    "predict": _EVALUATION | {"return_predictions"},
    **dict.fromkeys(LEAVE_NOTHING, _OURS),
}


def add_own_arguments(verb: str, parser: Any) -> None:
    """Add to the parser of a verb what Lightning does not know."""
    if verb == "fit":
        parser.add_argument(
            "--resume",
            type=Literal["auto"] | None,
            help=(
                "begin, or go on where --trainer.default_root_dir holds a checkpoint; the same "
                "command does both, for schedulers that start it again."
            ),
        )
        parser.add_argument(
            "--accept_changes",
            type=bool,
            default=False,
            help=(
                "go on with settings that differ from those of the run so far; they are "
                "written to changes.csv."
            ),
        )
        parser.add_argument(
            "--then_test",
            type=bool,
            default=False,
            help=(
                "After training, what blocklearn test finds of the run, in the same run and "
                "folder; its loggers, W&B too, get every block's accuracy as probe/block1, ... and "
                "that of the last block as probe/last."
            ),
        )
    elif verb != "plan":
        parser.add_argument(
            "--trust_config",
            type=bool,
            default=False,
            help=(
                "the configuration beside the checkpoint may name any class; it is your own, "
                "or you know its author."
            ),
        )
    if verb == "test":
        parser.add_argument(
            "--save_as",
            type=str | None,
            help=(
                "name of the folder of the results, in that of the run; without it they lie in "
                "one for each kind of evaluation, where a later one takes the place of an earlier."
            ),
        )
    if verb == "predict":
        parser.add_argument(
            "--split", type=str, default="all", help="of the data, all, train, test, ..."
        )
    parser.add_class_arguments(ProbeSettings, "probe")
    parser.add_argument(
        "--evaluation",
        type=Evaluation | None,
        help="what test does; LinearProbe where null, Overview for several.",
    )
    parser.add_class_arguments(WandbSettings, "wandb")
