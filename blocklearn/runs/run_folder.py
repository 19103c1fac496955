"""Where a run keeps its files, and where shipped configurations lie."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from blocklearn.errors import UserError

RESULTS = "results.json"  # in the folder of an evaluation
UNTRAINED = (
    "_untrained"  # ends the name of an evaluation of initial weights in the folder of a trained run
)

NEW: list[Path] = []  # folders that this process made for runs


def will_be_made(path: Path) -> None:
    """To be told before a run's folder is made, and those above it."""
    NEW.extend(one for one in reversed([path, *path.parents]) if not one.exists())


def drop_what_is_empty() -> None:
    """Of the new folders: of a trial, or of a run that was refused."""
    while NEW:
        path = NEW.pop()
        with suppress(OSError):  # it holds something, or is gone
            path.rmdir()


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        return self.checkpoints / "last.ckpt"

    @property
    def changes(self) -> Path:
        """What was changed when the run went on."""
        return self.path / "changes.csv"

    @property
    def backbone(self) -> Path:
        return self.path / "backbone.safetensors"

    @property
    def facts(self) -> Path:
        """Where it was trained, and what it cost."""
        return self.path / "run_facts.json"

    @property
    def features(self) -> Path:
        return self.path / "features.safetensors"

    @property
    def probe(self) -> Path:
        return self.path / "probe"

    @property
    def export(self) -> Path:
        return self.path / "export"

    def evaluation(self, name: str) -> Path:
        """Where the results of an evaluation lie: `probe`, or beside it for one of another kind.

        Raises:
            UserError: for a name that leads out of the run's folder, or to what the run keeps.
        """
        if name in ("", ".", "..", self.checkpoints.name) or Path(name).name != name:
            raise UserError(
                f"save_as: {name!r} should be the plain name of a folder, as probe_long"
            )
        return self.path / name

    def probes(self) -> list[Path]:
        """The results of all linear probes of the trained network, by name."""
        found = sorted(self.path.glob(f"probe*/{RESULTS}"))
        return [path for path in found if not path.parent.name.endswith(UNTRAINED)]

    def evaluations(self) -> list[Path]:
        """The results of all evaluations, by name, those of initial weights too."""
        return sorted(self.path.glob(f"*/{RESULTS}"))

    def latest_checkpoint(self) -> Path | None:
        """The latest state: `last.ckpt`, or what an older version let Lightning save when SLURM
        ended its job."""
        found = [
            path
            for path in (self.last_checkpoint, *self.path.glob("hpc_ckpt_*.ckpt"))
            if path.is_file()
        ]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def require_no_links(self) -> None:
        """A run folder may come from a stranger, and a link in it could lead what is written
        anywhere.

        Raises:
            UserError: naming the first of the folder's own entries that is a link.
        """
        for path in sorted(self.path.iterdir() if self.path.is_dir() else []):
            if path.is_symlink():
                raise UserError(
                    f"{path} is a link to {path.readlink()}, and nothing is written through links "
                    "in a run's folder: remove it, or name another folder with "
                    "--trainer.default_root_dir"
                )

    @classmethod
    def new(cls, name: str, parent: Path = Path("runs")) -> "RunFolder":
        """A folder of its own for a new run: `runs/DATE_TIME_NAME`."""
        stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}"
        candidates = [parent / stem, *(parent / f"{stem}_{count}" for count in range(2, 1000))]
        for path in candidates:
            will_be_made(path)
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            return cls(path)
        raise UserError(f"cannot make a new folder {parent / stem}")

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> "RunFolder":
        """The run that wrote `RUN/checkpoints/NAME.ckpt`; for a checkpoint elsewhere, the folder it
        lies in; for exported weights the run around them, or their own folder."""
        parent = checkpoint.parent
        if checkpoint.is_dir() and not (parent / "config.yaml").is_file():
            return cls(checkpoint)
        return cls(parent.parent if parent.name == "checkpoints" else parent)


def shipped_configs() -> Path:
    """Folder of the configurations that come with the package."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def named_file(name: str, shipped: Path) -> Path | None:
    """That path, or the file of that name in a shipped folder, with or without `.yaml`; None where
    there is neither."""
    candidates = (Path(name), shipped / name, shipped / f"{name}.yaml")
    return next((path for path in candidates if path.is_file()), None)


def find_config(name: str) -> Path:
    """The file for `--config NAME`: that path, or the shipped configuration of that name.

    Raises:
        UserError: where there is neither; it names the nearest shipped one.
    """
    if name.startswith("--"):
        raise UserError(f"--config needs the name or the path of a file behind it, got {name}")
    found = named_file(name, shipped_configs())
    if found:
        return found
    folder = Path(name).parent.name if Path(name).parent.name == "methods" else ""
    shipped = sorted((shipped_configs() / folder).glob("*.yaml"))
    known = [str(path.relative_to(shipped_configs())) for path in shipped]
    near = _near(Path(name).stem, known)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UserError(
        f"--config: no file {name} in {Path.cwd()} nor among the shipped configurations; "
        f"{hint}{'A' if hint else 'a'}ll are listed by: blocklearn help recipes"
    )


def _near(stem: str, known: list[str]) -> list[str]:
    """At most three files of nearly that name, or whose names hold it."""
    stems = {Path(one).stem: one for one in known}
    hardly_wrong = get_close_matches(stem, stems, n=1, cutoff=0.9)
    if hardly_wrong:
        return [stems[hardly_wrong[0]]]
    found = get_close_matches(stem, stems, n=3, cutoff=0.7)
    inside = [one for one in stems if len(stem) > 2 and stem in one]
    loose = get_close_matches(stem, stems, n=1, cutoff=0.5)
    return [stems[one] for one in list(dict.fromkeys([*found, *inside, *loose]))[:3]]
