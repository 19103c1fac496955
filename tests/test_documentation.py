"""The pages of the documentation: what they link to, and what their commands do."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from documented import PAGES, ROOT, Documented, documented_commands
from PIL import Image
from small import NARROW
from sounds import write_spoken_digits

from blocklearn.cli.app import BlocklearnCLI
from blocklearn.cli.config_files import locate_configs
from blocklearn.cli.verbs import TRAINER_VERBS, VERBS
from blocklearn.runs.run_folder import find_config

COMMANDS = documented_commands()
OF_TRAINER = [  # but for what is no more than a name within a sentence
    command
    for command in COMMANDS
    if command.arguments[0] in TRAINER_VERBS and (command.shown or len(command.arguments) > 2)
]
TESTED_ELSEWHERE = ("my_method", "my_parts")  # docs/extending.md, in tests/test_cli.py
LAST = "checkpoints/last.ckpt"
PLACES = {  # what a page says, and what stands for it here
    r"^runs/\.\.\.$": "RUN",
    r"runs/\.\.\./": "RUN/",
    r"^mine\.yaml$": "bt_digits.yaml",
    r"^\.\.\.$": f"RUN/{LAST}",
    r"RUN_FOLDER|RUN_A|runs/NAME": "RUN",
    r"runs/\$run": "runs/gim",
    r"^(FILE|NAME\.yaml|RECIPE\.yaml)$": "bt_digits.yaml",
    r"^NAME_OR_PATH$": "bt_cifar10_small.yaml",
    r"^config\.yaml$": "RUN/config.yaml",
    r"^RUN/checkpoints/best\.ckpt$": f"RUN/{LAST}",
    r"^(DIR|IMAGENET|CIFAR10)$": "IMAGES",
    r"^N$": "2",
    r"\[data/flowers,data/pets\]": "[IMAGES,IMAGES2]",
}
SHRUNK = [
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--data.num_workers=0",
    "--data.batch_size=8",
    "--model.lr_schedule.warmup_epochs=0",
]


def here(command: Documented) -> list[str]:
    """The arguments, with what stands for the page's places."""
    arguments = list(command.arguments)
    for pattern, place in PLACES.items():
        arguments = [re.sub(pattern, place, argument) for argument in arguments]
    if arguments[0] == "fit":  # a run of its own
        arguments = ["NEW" if argument == "RUN" else argument for argument in arguments]
    return arguments


def shrunk(arguments: list[str]) -> list[str]:
    """The same command, small enough for two cores."""
    verb, rest = arguments[0], list(arguments[1:])
    if verb not in TRAINER_VERBS or only_tells(rest):
        short = {"demo": ["--max_epochs=3"], "ablate": ["--dry_run"]}  # each has tests of its own
        return [verb, *rest, *short.get(verb, [])]
    for flag, value in (("--trainer.devices", "2"), ("--trainer.num_nodes", "1")):
        if flag in rest:
            rest[rest.index(flag) + 1] = value
    return [verb, *rest, *_smaller(verb, rest), "--wandb.mode=disabled"]


def _smaller(verb: str, rest: list[str]) -> list[str]:
    config = rest[rest.index("--config") + 1] if "--config" in rest else ""
    if verb not in ("fit", "isolation", "plan", "views"):
        probe = ["--probe.epochs=2", "--data.num_workers=0"]
        return [*probe, *([] if "--model.checkpoint" in rest else _narrow(config))]
    changes = [*SHRUNK, *_narrow(config)]
    if config.startswith("gim"):
        changes.remove("--model.lr_schedule.warmup_epochs=0")
    if config == "bt_sequential.yaml":
        changes.append("--trainer.max_epochs=4")
    return changes


def _narrow(config: str) -> list[str]:
    if config.startswith("gim_fsdd"):
        return ["--model.network.backbone_kwargs={channels: 8}", "--data.batch_size=4"]
    if not config.startswith("bt"):
        return []
    smaller = ["--data.image_size=32"] if config not in ("", "bt_digits.yaml") else []
    return ["--model.backbone=resnet18", *NARROW, *smaller]


def only_tells(arguments: Iterable[str]) -> bool:
    """Whether a command asks for help, or for the configuration."""
    return any(a.endswith("help") or a == "--print_config" for a in arguments)


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r"[\w/]+\.md", text.split("nav:")[1]))
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert listed == pages


def test_every_package_has_a_page_of_its_docstrings() -> None:
    packages = {path.parent.name for path in (ROOT / "blocklearn").glob("*/__init__.py")} - {"cli"}
    assert {path.stem for path in (ROOT / "docs" / "api").glob("*.md")} == packages | {"index"}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    """The generator looks at pages and anchors within the site; this at everything else."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    local = [link.partition("#")[0] for link in links if "://" not in link]
    assert not [link for link in local if link and not (page.parent / link).exists()]


def test_no_page_names_an_address_of_the_project_that_leads_nowhere() -> None:
    named = [page.name for page in PAGES if "github.com/blocklearn" in page.read_text()]
    assert not named


def test_every_command_begins_with_a_verb_that_there_is() -> None:
    assert len(COMMANDS) > 60, "the pages were not read"
    assert not [str(c) for c in COMMANDS if c.arguments[0] not in (*VERBS, "help")]


class ParsedOnly(BlocklearnCLI):
    """Reads a command as the real one does, and does nothing."""

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass

    def after_instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a run's configuration lies, as beside a checkpoint."""
    for name in ("RUN", "RUN_B", "runs/gim", "runs/blockwise", "runs/merged"):
        (tmp_path / name).mkdir(parents=True)
        recipe = "gim_fsdd.yaml" if name == "runs/gim" else "bt_digits.yaml"
        shutil.copy(find_config(recipe), tmp_path / name / "config.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", sorted({command.page for command in OF_TRAINER}))
@pytest.mark.usefixtures("run")
def test_the_commands_of_a_page_are_ones_that_the_command_line_takes(page: str) -> None:
    for command in OF_TRAINER:
        told = " ".join(command.arguments)
        elsewhere = "$" in told or any(part in told for part in TESTED_ELSEWHERE)
        if command.page == page and not elsewhere and not only_tells(command.arguments):
            ParsedOnly(locate_configs(here(command)).args)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the pages take for granted, in small: images, recordings, and trained runs."""
    folder = tmp_path_factory.mktemp("world")
    draw = np.random.default_rng(0)
    for name in ("IMAGES", "IMAGES2"):
        for split in ("train", "val"):
            for label in ("one", "two"):
                (folder / name / split / label).mkdir(parents=True)
                for number in range(12):
                    pixels = draw.integers(0, 255, (40, 40, 3), dtype=np.uint8)
                    path = folder / name / split / label / f"{number}.png"
                    Image.fromarray(pixels).save(path)
    write_spoken_digits(folder / "FSDD")
    train = ["fit", "--config", "bt_digits.yaml", "--trainer.default_root_dir", "RUN"]
    at = ["--model.checkpoint", f"RUN/{LAST}"]
    for command in (train, ["test", *at], ["predict", *at, "--split", "test"]):
        done = run_command(shrunk(command), folder)
        assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "RUN", folder / "RUN_B")
    return folder


def run_command(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "blocklearn", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def as_run(page: str) -> Iterator[list[str]]:
    """The commands that a page shows, in its order, small enough for two cores."""
    for command in COMMANDS:
        told = " ".join(command.arguments).replace("runs/$run", "EACH")
        elsewhere = "$" in told or any(part in told for part in TESTED_ELSEWHERE)
        if command.page == page and command.shown and not elsewhere:
            yield from _of_each_run(shrunk(here(command)), told)


def _of_each_run(arguments: list[str], told: str) -> Iterator[list[str]]:
    """A loop of the shell, `for run in gim cpc`, round by round."""
    for run in ("gim", "cpc") if "EACH" in told else ("gim",):
        yield [argument.replace("runs/gim/", f"runs/{run}/") for argument in arguments]


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({command.page for command in COMMANDS if command.shown}))
def test_the_commands_that_a_page_shows_run(page: str, world: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(world, tmp_path / "here")
    for arguments in as_run(page):
        done = run_command(arguments, folder)
        assert done.returncode == 0, f"{done.returncode} {arguments}: {done.stderr[-2000:]}"
