"""Which configuration files a command means. Nothing heavy is imported for it, so that a wrong name
is told at once."""

import json
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from blocklearn.blocks.old_arguments import LISTS, renewed, renewed_config, renewed_flag, tell
from blocklearn.cli.strategy_names import named_in_args, named_in_config
from blocklearn.cli.verbs import TRAINER_VERBS
from blocklearn.errors import UserError
from blocklearn.runs.flags_given import value_of
from blocklearn.runs.lone_checkpoint import settings_of_checkpoint
from blocklearn.runs.received import received_settings
from blocklearn.runs.run_folder import RunFolder, find_config
from blocklearn.runs.strict_yaml import read_yaml
from blocklearn.weights.hub import FOLDER, HUB, local_copy

DEFAULT_CONFIG = "bt_digits.yaml"
SAME_NAME = {"noise", "recompute"}  # lists before 0.2, single values now
BY_VALUE = {"--probe.finetune", "--model.schedule", *(f"--model.{name}" for name in LISTS)}
CONFIG_FLAGS = ("--config", "-c")
OF_SETTINGS = {"trainer", "model", "probe", "wandb"}
SECTIONS = (
    "seed_everything",
    "trainer",
    "model",
    "data",
    "probe",
    "evaluation",
    "wandb",
    "resume",
    "accept_changes",
    "then_test",
    "save_as",
    "ckpt_path",
)


class Command(NamedTuple):
    """What is asked for, with every configuration found.

    Attributes:
        args: for the parser.
        received: the configuration beside the checkpoint, where the command reads it; what is taken
            of it is the second of `args`.
        by_hand: the configuration files that the user named.
    """

    args: list[str]
    received: Path | None
    by_hand: list[Path]

    @property
    def trusted(self) -> bool:
        """Whether the user vouches for the configuration beside the checkpoint."""
        return (value_of("--trust_config", self.args) or "").lower() in ("true", "yes", "1")


def locate_configs(args: list[str]) -> Command:
    """Replace the names of shipped configurations by their paths, and supply a configuration where
    none is given: what `received_settings` takes of the run's own for a checkpoint, scikit-learn's
    digits for `fit`. Configurations without a `model` section, such as `probe_linear.yaml`, stack
    upon the run's own too.

    Raises:
        UserError: for a file that is not there, or that `read_yaml` refuses; for a section that
            there is not.
    """
    args = _fetched_checkpoint(named_in_args(_renewed_flags(args)))
    located: list[str] = []
    named: dict[Path, dict[str, Any]] = {}  # with what they hold
    expects_name = False
    for arg in args:
        flag, equals, name = arg.partition("=")
        if expects_name or (flag in CONFIG_FLAGS and equals):
            path = find_config(arg if expects_name else name)
            named[path] = read_yaml(path)
            content = _renewed_text(path, named[path]) or str(path)
            located.append(content if expects_name else f"--config={content}")
        else:
            located.append(arg)
        expects_name = arg in CONFIG_FLAGS
    if args[0] not in TRAINER_VERBS or {"-h", "--help"} & set(args):
        return Command(located, None, list(named))
    sections = {name for path, content in named.items() for name in _sections(path, content)}
    if "model" in sections:
        return Command(located, None, list(named))
    received = _config_of_run(args)
    told = None if received else _told_by_checkpoint(args, "data" in sections)
    if told:
        located.insert(1, f"--config={told}")
        return Command(located, None, list(named))
    if named and not received:
        raise UserError(
            f"{list(named)[-1].name} says nothing of a model: name a trained one with "
            "--model.checkpoint, or a recipe with another --config before it"
        )
    if received:
        _sections(received, read_yaml(received))
        located.insert(1, f"--config={received_settings(received)}")
    else:
        located.insert(1, f"--config={_default_config(args)}")
    return Command(located, received, list(named))


def _renewed_text(path: Path, content: dict[str, Any]) -> str | None:
    """A configuration of an earlier version, as it is written now; None where nothing is to be
    changed. What to write is said once."""
    new, told = renewed_config(content)
    new = named_in_config(new)
    tell([f"{path.name}: {line}" for line in told])
    return None if new == content else yaml.safe_dump(new, sort_keys=False)


def _renewed_flags(args: list[str]) -> list[str]:
    """Flags of an earlier version as they are written now."""
    new: list[str] = []
    lists: dict[str, Any] = {}
    moved: list[str] = []
    for word in _one_word(args):
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--model.") if flag.startswith("--model.") else ""
        read = yaml.safe_load(value) if equals and name in LISTS else None
        if isinstance(read, list) or (name in LISTS and name not in SAME_NAME):
            lists[name] = read
        else:
            new.append(renewed_flag(word))
            if new[-1] != word:
                now = new[-1].partition("=")[0]
                moved.append(f"{word} -> {new[-1]}" if now == flag else f"{flag} -> {now}")
    changed, told = renewed({name: value for name, value in lists.items() if value is not None})
    if lists:
        new.append(f"--model.per_block={json.dumps(changed.get('per_block'))}")
    tell([*moved, *(f"model: {line}" for line in told)])
    return new


def _one_word(args: list[str]) -> list[str]:
    """`--probe.finetune true` as `--probe.finetune=true`, for what is renewed by its value."""
    new: list[str] = []
    for arg in args:
        if new and new[-1] in BY_VALUE:
            new[-1] += f"={arg}"
        else:
            new.append(arg)
    return [arg for arg in new if arg not in ("--probe.finetune=false", "--probe.finetune=False")]


def _sections(config: Path, content: dict[str, Any]) -> set[str]:
    """The names of a configuration's sections.

    Raises:
        UserError: for one that there is not, with the nearest that there is.
    """
    for name in OF_SETTINGS & content.keys():
        if not isinstance(content[name], (dict, type(None))):
            raise UserError(
                f"config: {config}: {name} should hold settings as KEY: VALUE, it holds "
                f"{content[name]!r}"
            )
    names = {str(name) for name in content}
    for name in sorted(names - set(SECTIONS)):
        near = get_close_matches(name, SECTIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(SECTIONS)}"
        raise UserError(f"config: {config} has a section {name!r}, which there is not; {hint}")
    return names


def _config_of_run(args: list[str]) -> Path | None:
    """The configuration of the run that wrote the checkpoint which is evaluated; None where there
    is no checkpoint."""
    checkpoint = value_of("--model.checkpoint", args)
    if not checkpoint or args[0] in ("fit", "plan"):
        return None
    own = RunFolder.of_checkpoint(Path(checkpoint)).config
    return own if own.is_file() else None


def _fetched_checkpoint(args: list[str]) -> list[str]:
    """With the folder of what `hf-hub:` or `local-dir:` names; `fit` reads it by that name."""
    name = value_of("--model.checkpoint", args) or ""
    if not name.startswith((HUB, FOLDER)) or args[0] not in TRAINER_VERBS or args[0] == "fit":
        return args
    given = (name, f"--model.checkpoint={name}")
    return [arg.replace(name, str(local_copy(name))) if arg in given else arg for arg in args]


def _told_by_checkpoint(args: list[str], data_named: bool) -> str | None:
    """What a checkpoint without a configuration beside it says of its network; None where the
    command names no such file."""
    checkpoint = value_of("--model.checkpoint", args)
    if not checkpoint or args[0] in ("fit", "plan") or not Path(checkpoint).exists():
        return None
    data_named |= any(arg.partition("=")[0] in ("--data", "--data.class_path") for arg in args)
    told = settings_of_checkpoint(Path(checkpoint), data_named)
    if told is None:
        own = RunFolder.of_checkpoint(Path(checkpoint)).config
        raise UserError(
            f"there is no {own} beside the checkpoint: name the run's configuration with --config"
        )
    return told


def _default_config(args: list[str]) -> Path:
    chosen = sorted(
        {arg.partition("=")[0] for arg in args}
        & {"--data", "--model.backbone", "--model.objective"}
    )
    if chosen:
        raise UserError(
            f"{chosen[0]} needs a configuration to change: name one with --config, e.g. --config "
            f"{DEFAULT_CONFIG}; blocklearn help recipes lists them"
        )
    print(f"No --config: taking {DEFAULT_CONFIG}.", file=sys.stderr)
    return find_config(DEFAULT_CONFIG)
