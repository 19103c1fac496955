"""`blocklearn ablate`: all runs of a sweep file, and one table of what they found."""

import shlex
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocklearn.cli.ablate_flags import ablate_parser
from blocklearn.errors import UserError

if TYPE_CHECKING:
    from blocklearn.ablation.further_tests import FurtherTest, FurtherTests
    from blocklearn.ablation.outcome import Ended, Outcome
    from blocklearn.ablation.runner import Runner
    from blocklearn.ablation.search import Search
    from blocklearn.ablation.sweep_file import Sweep
    from blocklearn.ablation.trials import Trial, TrialMaker


def run_ablate(args: list[str]) -> None:
    """Check all, run what is missing, and show what was found.

    Raises:
        SystemExit: with status 1 where a run failed, and that of a signal where one came.
    """
    options, of_every_run = ablate_parser().parse_known_args(args)
    options.of_every_run = of_every_run
    sweep, maker, search = _prepare(options)
    if options.table:
        _show(_ended(search, maker), sweep, maker.folder, options)
        return
    trials = [trial for settings in search.examples() for trial in maker.of(settings)]
    config = _check(trials, sweep, options)
    if options.dry_run:
        _print_commands(trials, sweep)
    elif options.executor == "script":
        _print_script(trials, sweep, maker, options)
    elif options.executor == "slurm":
        _send(trials, sweep, maker, options)
    else:
        _run_here(search, sweep, maker, config, options)


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


def _check(trials: "Sequence[Trial]", sweep: "Sweep", options: Any) -> Any:
    """Refuse what any of the runs and tests would refuse, and folders of other runs."""
    from blocklearn.cli.parse_trials import parse_trials, require_test

    if options.test and options.executor != "local":
        raise UserError(
            f"ablate: --test needs --executor local; send the runs without it, and when they have "
            f"ended, repeat the command with --test and without --executor {options.executor}"
        )
    names = list(dict.fromkeys(trial.name for trial in trials))
    every = options.only is None and sweep.method != "bayes"
    if options.against and every and options.against not in names:
        near = get_close_matches(options.against, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names[:20])}"
        raise UserError(f"ablate: --against {options.against}: no such setting; {hint}")
    config = parse_trials(trials, sweep.path.name)
    for test in _tests(options):
        require_test(test.text, test.words, config)
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
    words += ["--against", options.against] if options.against else []
    for flag, given in (("--show", options.show), ("--test", options.test)):
        words += [word for name in given for word in (flag, name)]
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
    _stop_where_told(runner, f"{len(runner.ended)} of {runner.count} runs")
    failed = [f"{trial.title}; why: {trial.log}" for trial, o in runner.ended if o is None]
    failed += _test_further(runner.ended, places, options)
    if options.only is None:  # others may be writing the table
        _show(runner.ended, sweep, maker.folder, options)
    for told in failed:
        print(f"blocklearn: failed: {told}", file=sys.stderr)
    if failed:
        sys.exit(1)


def _tests(options: Any) -> "list[FurtherTest]":
    from blocklearn.ablation.further_tests import FurtherTest

    return [FurtherTest(text, options.against) for text in dict.fromkeys(options.test)]


def _test_further(
    ended: "Ended", places: "Sequence[Mapping[str, str]]", options: Any
) -> "list[str]":
    """What else the runs are to be put to; returns what went wrong."""
    from blocklearn.ablation.further_tests import FurtherTests

    tests = FurtherTests(ended, _tests(options), places, lambda line: print(line, flush=True))
    tests.run()
    _stop_where_told(tests, f"all runs and {tests.done} of {tests.count} further tests")
    return tests.failed


def _stop_where_told(work: "Runner | FurtherTests", done: str) -> None:
    """
    Raises:
        SystemExit: with the status of the signal that came, if one came.
    """
    if not work.received:
        return
    name = signal.Signals(work.received[0]).name
    print(
        f"blocklearn: stopped by {name}; {done} have ended; repeat the command to go on with the "
        "others",
        file=sys.stderr,
    )
    sys.exit(130 if work.received[0] == signal.SIGINT else 143)


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


def _show(ended: "Ended", sweep: "Sweep", folder: Path, options: Any) -> None:
    """The tables."""
    from blocklearn.ablation.summary import summarise

    if not ended:
        raise UserError(f"ablate: no run in {folder} has ended")
    written = summarise(ended, sweep.metric, folder, _tests(options))
    if options.costs or options.show or options.against:
        path = _settings(ended, sweep, folder, options)
        written += [path, path.with_suffix(".md")]
    print(f"Written: {', '.join(map(str, written))}")


def _settings(ended: "Ended", sweep: "Sweep", folder: Path, options: Any) -> Path:
    from blocklearn.ablation.settings_table import print_settings
    from blocklearn.cli.trial_costs import costs_of

    costs = costs_of(ended) if options.costs else {}
    path = folder / "settings.csv"
    return print_settings(ended, sweep.metric, options.show, costs, path, options.against)
