"""The flags of `blocklearn ablate`."""

import argparse
from pathlib import Path

DESCRIPTION = (
    "Every run of a W&B sweep file on this machine, trained and tested, in a folder of its own; "
    "then one table, a picture and the figures as CSV. Killed and started again, it repeats no run "
    "that has ended and goes on with those that had not."
)
EPILOG = (
    "Any other flag is one of blocklearn fit, for every run, e.g. --data.root DIR. "
    "Examples: blocklearn ablate digits_ablations --seeds 2 --parallel 2; blocklearn ablate "
    "bt_ablations --dry_run. The same files work with wandb sweep and wandb agent. More: "
    "docs/ablations.md."
)


def ablate_parser() -> argparse.ArgumentParser:
    """Of its own flags; all others are those of `blocklearn fit`."""
    parser = argparse.ArgumentParser(
        prog="blocklearn ablate",
        usage="%(prog)s FILE [options] [flags of every run]",
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="a path, or the bare name of a shipped sweep")
    parser.add_argument(
        "--seeds", type=_number, metavar="N", help="every setting with seeds 0..N-1"
    )
    parser.add_argument(
        "--parallel",
        type=_number,
        metavar="N",
        help="runs beside one another (default: one for each CUDA device, or one)",
    )
    parser.add_argument(
        "--count", type=_number, metavar="N", help="settings that are tried (default: run_cap)"
    )
    parser.add_argument(
        "--default_root_dir",
        type=Path,
        metavar="DIR",
        help="folder for all runs; the same one goes on (default: runs/ablate_NAME)",
    )
    parser.add_argument(
        "--search_seed", type=int, default=0, help="of random and bayes (default: 0)"
    )
    parser.add_argument(
        "--only", type=int, metavar="INDEX", help="this run alone, counted from 0, as in --dry_run"
    )
    parser.add_argument("--dry_run", action="store_true", help="print the commands, run nothing")
    parser.add_argument("--table", action="store_true", help="show what has ended, run nothing")
    parser.add_argument(
        "--costs",
        action="store_true",
        help="a line for every setting: also what a step holds and computes, counted",
    )
    parser.add_argument(
        "--show",
        action="append",
        default=[],
        metavar="NAME",
        help="a line for every setting, with this figure of metrics.csv, e.g. block4/knn; knn: "
        "that of the last block",
    )
    parser.add_argument(
        "--against",
        metavar="SETTING",
        help="a line for every setting, with how far it is from this one, seed by seed",
    )
    parser.add_argument(
        "--test",
        action="append",
        default=[],
        metavar="NAME",
        help="test the runs in this way too when all have ended: an evaluation or a configuration, "
        'and flags of blocklearn test, e.g. KNN, probe_speaker.yaml, "KNN --evaluation.k [20]"; '
        "{against}: the checkpoint of the --against setting's run of the same seed",
    )
    parser.add_argument(
        "--executor",
        choices=("local", "slurm", "script"),
        default="local",
        help="slurm: a job array, through submitit; script: print a job array for sbatch",
    )
    parser.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="for submitit, e.g. slurm_partition=gpu, timeout_min=600",
    )
    return parser


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"should be a number of at least 1, got {text}")
    return int(text)
