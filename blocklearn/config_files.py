"""Which configuration files a command means. Nothing heavy is imported for it, so that a wrong name is told at once."""

import sys
from pathlib import Path

import yaml

from blocklearn.errors import UserError
from blocklearn.run_folder import RunFolder, find_config, shipped_configs
from blocklearn.verbs import TRAINER_VERBS

DEFAULT_CONFIG = "bt_digits.yaml"
CONFIG_FLAGS = ("--config", "-c")


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
    wants_config = args[0] in TRAINER_VERBS and not {"-h", "--help"} & set(args)
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
