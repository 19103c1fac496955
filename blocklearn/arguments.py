"""What the command line makes of its arguments before LightningCLI sees them, and how it complains."""

import inspect
import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace, _typehints
from lightning.pytorch.cli import LightningArgumentParser

from blocklearn.errors import UserError
from blocklearn.run_folder import RunFolder, find_config, shipped_configs

DEFAULT_CONFIG = "bt_digits.yaml"
CONFIG_FLAGS = ("--config", "-c")
TRIED = tuple(f"- {words}" for words in ("Expected", "Does not validate", "Not a valid subclass"))


def locate_configs(args: list[str]) -> list[str]:
    """Replace the names of shipped configurations by their paths, and supply a configuration where none is given: the
    run's own for a checkpoint, scikit-learn's digits for `fit`. Configurations without a `model` section, such as
    `probe_linear.yaml`, stack upon the run's own too."""
    located: list[str] = []
    named: list[Path] = []
    expects_name = False
    for arg in args:
        flag, equals, name = arg.partition("=")
        if expects_name or (flag in CONFIG_FLAGS and equals):
            named.append(find_config(arg if expects_name else name))
            located.append(str(named[-1]) if expects_name else f"--config={named[-1]}")
        else:
            located.append(arg)
        expects_name = arg in CONFIG_FLAGS
    wants_config = (
        bool(args)
        and args[0] in ("fit", "validate", "test", "predict", "isolation")
        and not {"-h", "--help"} & set(args)
    )
    if wants_config and not any(_has_model(path) for path in named):
        own = _config_of_run(args)
        if named and not own:
            raise UserError(
                f"{named[-1].name} says nothing of a model: name a trained one with --model.checkpoint, or a recipe with "
                "another --config before it"
            )
        if own or not named:
            located.insert(1, f"--config={own or _default_config(args)}")
    return located


def _has_model(config: Path) -> bool:
    """Whether a configuration says what network is trained; one that cannot be read is the parser's to complain about."""
    try:
        content = yaml.safe_load(config.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        return True
    return not isinstance(content, dict) or "model" in content


def _config_of_run(args: list[str]) -> Path | None:
    """The configuration of the run that wrote the checkpoint which is evaluated; None where there is no checkpoint."""
    checkpoint = _value_of("--model.checkpoint", args)
    if not checkpoint or args[0] == "fit":
        return None
    own = RunFolder.of_checkpoint(Path(checkpoint)).config
    if Path(checkpoint).exists() and not own.is_file():
        raise UserError(f"there is no {own} beside the checkpoint: name the run's configuration with --config")
    return own if own.is_file() else None


def _default_config(args: list[str]) -> Path:
    chosen = sorted({arg.partition("=")[0] for arg in args} & {"--data", "--model.backbone", "--model.objective"})
    if chosen:
        raise UserError(
            f"{chosen[0]} needs a configuration to change: name one with --config, e.g. --config {DEFAULT_CONFIG}; "
            f"shipped are {', '.join(sorted(path.name for path in shipped_configs().glob('*.yaml')))}"
        )
    print(f"No --config: taking {DEFAULT_CONFIG}.", file=sys.stderr)
    return find_config(DEFAULT_CONFIG)


def _value_of(flag: str, args: list[str]) -> str | None:
    for position, arg in enumerate(args):
        if arg == flag and position + 1 < len(args):
            return args[position + 1]
        if arg.startswith(f"{flag}="):
            return arg.partition("=")[2]
    return None


def forget_defaults_of_exchanged_classes() -> None:
    """Where a class is exchanged for another, jsonargparse keeps those arguments that the new one takes too, defaults
    included: `--data.recipe SmallImageViews` would crop as the recipe before it. Afterwards what was set stays, and what
    was only a default gives way to the new class's own. There is no public setting for it."""
    keep = _typehints.discard_init_args_on_class_path_change

    def keep_what_was_set(parser_or_action: Any, before: Any, value: Any) -> None:
        if before and before["class_path"] and before.get("init_args") and before["class_path"] != value["class_path"]:
            extra = getattr(parser_or_action, "sub_add_kwargs", {})
            defaults = _typehints.ActionTypeHint.get_class_parser(before["class_path"], extra).get_defaults()
            for name in list(vars(before["init_args"])):  # a part within the part stays or goes as a whole
                if name in defaults and _plain(defaults[name]) == _plain(before["init_args"][name]):
                    before["init_args"].pop(name)
        keep(parser_or_action, before, value)

    _typehints.discard_init_args_on_class_path_change = keep_what_was_set


def serialise_null_among_classes() -> None:
    """In a list of classes, as `projectors` is, jsonargparse writes null as a text that it cannot read again."""
    serialise = _typehints.serialize_as_import_path
    _typehints.serialize_as_import_path = lambda value: None if value is None else serialise(value)


def _plain(value: Any) -> Any:
    value = value.as_dict() if isinstance(value, Namespace) else value
    return list(value) if isinstance(value, tuple) else value


class CommandParser(LightningArgumentParser):
    """Complains in one line, and names the nearest right key for a wrong one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        told = " ".join(str(message).split())
        print(f"blocklearn: error: {told}{self._suggest(told)}", file=sys.stderr)
        sys.exit(2)

    def _suggest(self, message: str) -> str:
        unknown = re.search(r"unrecognized arguments: --([\w.]+)|[Oo]ption '([\w.]+)'", message)
        if not unknown:
            return ""
        wrong = unknown.group(1) or unknown.group(2)
        known = {action.dest for action in self._actions} | _keys_of_parts()
        if self._subcommands_action is not None:
            known |= {action.dest for sub in self._subcommands_action.choices.values() for action in sub._actions}
        if wrong in ("target", "data.target", "data.init_args.target"):
            return ". This data set has one labelling only, no targets to choose from"
        near = get_close_matches(wrong, sorted(known - {wrong}), n=1, cutoff=0.6)
        return f". Did you mean {near[0]}?" if near else ""


def _keys_of_parts() -> set[str]:
    """What the parts that are named by `class_path` take."""
    import blocklearn.data
    import blocklearn.objectives
    import blocklearn.optim

    rooms = (blocklearn.data, blocklearn.objectives, blocklearn.optim)
    parts = [getattr(room, name) for room in rooms for name in room.__all__]
    taken = {key: value.kind for part in parts for key, value in inspect.signature(part).parameters.items()}
    return {
        key
        for key, kind in taken.items()
        if kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    }


def first_reason(message: str) -> str:
    """In one line, what a class itself complained of when jsonargparse built it: the first entry of a list of all that was
    tried, with the line below it where the entry only announces it by a colon. The whole message where there is none."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    for position, line in enumerate(lines):
        if line.startswith("- ") and not line.startswith(TRIED):
            until = next((end for end in range(position, len(lines)) if not lines[end].endswith(":")), position)
            return " ".join(part.removeprefix("- ") for part in lines[position : until + 1])
    return message


forget_defaults_of_exchanged_classes()
serialise_null_among_classes()
