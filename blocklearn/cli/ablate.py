"""`blocklearn ablate`: all runs of a sweep file, and one table of what they found."""

import argparse
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocklearn.errors import UserError

if TYPE_CHECKING:
    from blocklearn.ablation.outcome import Outcome
    from blocklearn.ablation.search import Search
    from blocklearn.ablation.sweep_file import Sweep
    from blocklearn.ablation.trials import Trial, TrialMaker

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


def run_ablate(args: list[str]) -> None:
    """Check all, run what is missing, and show what was found.

    Raises:
        SystemExit: with status 1 where a run failed, and that of a signal where one came.
    """
    options, of_every_run = _parser().parse_known_args(args)
    options.of_every_run = of_every_run
    sweep, maker, search = _prepare(options)
    if options.table:
        _show(_ended(search, maker), sweep, maker.folder, options)
        return
    trials = [trial for settings in search.examples() for trial in maker.of(settings)]
    config = _check(trials, sweep)
    if options.dry_run:
        _print_commands(trials, sweep)
    elif options.executor == "script":
        _print_script(trials, sweep, maker, options)
    elif options.executor == "slurm":
        _send(trials, sweep, maker, options)
    else:
        _run_here(search, sweep, maker, config, options)


def _parser() -> argparse.ArgumentParser:
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


def _prepare(options: Any) -> "tuple[Sweep, TrialMaker, Search]":
    from blocklearn.ablation.sweep_file import find_sweep, read_sweep
    from blocklearn.ablation.trials import TrialMaker

    sweep = read_sweep(find_sweep(options.file)).with_flags(options.of_every_run)
    folder = options.default_root_dir or Path("runs") / f"ablate_{sweep.path.stem}"
    maker = TrialMaker(sweep, folder, list(range(options.seeds)) if options.seeds else None)
    search = _search(sweep, maker, options)
    if options.only is None:
        return sweep, maker, search
    return sweep, *_only(options.only, search, maker)


def _search(sweep: "Sweep", maker: "TrialMaker", options: Any) -> "Search":
    from blocklearn.ablation.search import grid, random_search, require_count

    if sweep.method == "grid":
        return grid(sweep, options.count or sweep.run_cap)
    count = require_count(sweep, options.count)
    if sweep.method == "random":
        return random_search(sweep, count, options.search_seed)
    if options.executor != "local" or options.only is not None:
        raise UserError(
            f"{sweep.path.name}: method bayes chooses a setting by what others gave: run it with "
            "--executor local, in one job, or write method: random"
        )
    from blocklearn.ablation.optuna_search import OptunaSearch
    from blocklearn.ablation.recorded import known_settings

    known = known_settings(maker, sweep.metric)
    return OptunaSearch(sweep, count, options.search_seed, known)


def _only(index: int, search: "Search", maker: "TrialMaker") -> "tuple[TrialMaker, Search]":
    from blocklearn.ablation.search import ListedSearch
    from blocklearn.ablation.trials import TrialMaker

    every = [(s, trial) for s in search.examples() for trial in maker.of(s)]
    if not 0 <= index < len(every):
        raise UserError(f"ablate: --only {index}: runs are counted from 0 to {len(every) - 1}")
    settings, trial = every[index]
    seeds = None if maker.seeds is None or trial.seed is None else [trial.seed]
    alone = TrialMaker(maker.sweep, maker.folder, seeds)
    for other in search.examples():  # in their order, which names may depend on
        alone.of(other)
    return alone, ListedSearch([settings])


def _check(trials: "Sequence[Trial]", sweep: "Sweep") -> Any:
    """Refuse what any of the runs would refuse, and folders of other runs."""
    from blocklearn.cli.parse_trials import parse_trials

    config = parse_trials(trials, sweep.path.name)
    for trial in trials:
        trial.require_own_folder()
    return config


def _print_commands(trials: "Sequence[Trial]", sweep: "Sweep") -> None:
    for trial in trials:
        print(shlex.join(["blocklearn", *trial.arguments]))
    if sweep.method == "bayes":
        print(
            "These show what the settings may be; bayes chooses them one after another.",
            file=sys.stderr,
        )


def _print_script(
    trials: "Sequence[Trial]", sweep: "Sweep", maker: "TrialMaker", options: Any
) -> None:
    from blocklearn.ablation.job_script import job_script

    for trial in trials:
        trial.record()
    table = _table_command(options, maker)
    print(job_script(trials, maker.folder.name, table, options.parallel), end="")


def _send(trials: "Sequence[Trial]", sweep: "Sweep", maker: "TrialMaker", options: Any) -> None:
    from blocklearn.ablation.outcome import outcome_of
    from blocklearn.ablation.slurm import read_settings, submit

    left = [trial for trial in trials if outcome_of(trial) is None]
    settings = read_settings(options.slurm)
    jobs = submit(left, maker.folder, maker.folder.name, options.parallel, settings)
    sent = " ".join(str(job.job_id) for job in jobs) or "none"
    print(f"{len(trials) - len(left)} of {len(trials)} have ended; sent: {sent}")
    print(f"When they have ended: {_table_command(options, maker)}")


def _table_command(options: Any, maker: "TrialMaker") -> str:
    words = ["blocklearn", "ablate", options.file, "--default_root_dir", str(maker.folder)]
    for name in ("seeds", "count"):
        if getattr(options, name):
            words += [f"--{name}", str(getattr(options, name))]
    if options.search_seed:
        words += ["--search_seed", str(options.search_seed)]
    words += ["--costs"] * options.costs
    for name in options.show:
        words += ["--show", name]
    return shlex.join([*words, *options.of_every_run, "--table"])


def _run_here(
    search: "Search", sweep: "Sweep", maker: "TrialMaker", config: Any, options: Any
) -> None:
    from blocklearn.ablation.places import places_on, visible_devices
    from blocklearn.ablation.runner import Runner
    from blocklearn.cli.parse_trials import devices_of, devices_there

    needed = devices_of(config)
    devices = visible_devices(devices_there()) if needed else []
    places = places_on(options.parallel, devices, max(1, needed))
    maker.folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(sweep.path, maker.folder / "sweep.yaml")
    runner = Runner(search, maker, sweep.metric, places, lambda line: print(line, flush=True))
    print(f"{runner.count} runs, {len(places)} beside one another, in {maker.folder}", flush=True)
    runner.run()
    if runner.received:
        name = signal.Signals(runner.received[0]).name
        print(
            f"blocklearn: stopped by {name}; {len(runner.ended)} of {runner.count} runs have "
            "ended; repeat the command to go on with the others",
            file=sys.stderr,
        )
        sys.exit(130 if runner.received[0] == signal.SIGINT else 143)
    if options.only is not None:  # others may be writing the table
        failed = any(outcome is None for _, outcome in runner.ended)
    else:
        failed = not _show(runner.ended, sweep, maker.folder, options)
    if failed:
        sys.exit(1)


def _ended(search: "Search", maker: "TrialMaker") -> "list[tuple[Trial, Outcome | None]]":
    """All that have ended."""
    from blocklearn.ablation.outcome import outcome_of

    asked = islice(iter(search.ask, None), search.count)
    trials = [trial for settings in asked for trial in maker.of(settings)]
    found = [(trial, outcome_of(trial)) for trial in trials]
    missing = sum(outcome is None for _, outcome in found)
    if missing:
        print(f"{missing} of {len(found)} runs have not ended, or failed.", file=sys.stderr)
    return [(trial, outcome) for trial, outcome in found if outcome is not None]


def _show(
    ended: "Sequence[tuple[Trial, Outcome | None]]", sweep: "Sweep", folder: Path, options: Any
) -> bool:
    """The tables; returns whether no run failed."""
    from blocklearn.ablation.summary import summarise

    if not ended:
        raise UserError(f"ablate: no run in {folder} has ended")
    written = summarise(ended, sweep.metric, folder)
    if options.costs or options.show:
        written.append(_settings(ended, sweep, folder, options))
    print(f"Written: {', '.join(map(str, written))}")
    failed = [trial for trial, outcome in ended if outcome is None]
    for trial in failed:
        print(f"blocklearn: failed: {trial.title}; why: {trial.log}", file=sys.stderr)
    return not failed


def _settings(
    ended: "Sequence[tuple[Trial, Outcome | None]]", sweep: "Sweep", folder: Path, options: Any
) -> Path:
    from blocklearn.ablation.settings_table import print_settings
    from blocklearn.cli.trial_costs import costs_of

    costs = costs_of(ended) if options.costs else {}
    return print_settings(ended, sweep.metric, options.show, costs, folder / "settings.csv")
