"""`block_parallel` and `blockwise_ddp`, the short names of our strategies, wherever a command or a
configuration names one. Their classes take settings, a name does not."""

from collections.abc import Mapping
from typing import Any

STRATEGIES = {
    "blockwise_ddp": "blocklearn.BlockwiseDDPStrategy",
    "block_parallel": "blocklearn.BlockParallelStrategy",
}
FLAG = "--trainer.strategy"


def named_in_args(args: list[str]) -> list[str]:
    """Arguments with class paths in place of names. A setting, as `--trainer.strategy.timeout_s`,
    without a strategy is one of `blockwise_ddp`."""
    new: list[str] = []
    for arg in args:
        flag, equals, value = arg.partition("=")
        if new and new[-1] == FLAG:
            new[-1] = _as_class(arg)
        elif flag == FLAG and equals:
            new.append(_as_class(value))
        else:
            new.append(arg)
    first = next((place for place, arg in enumerate(new) if arg.startswith(f"{FLAG}.")), None)
    named = any(arg.partition("=")[0] in (FLAG, f"{FLAG}.class_path") for arg in new)
    if first is not None and not named:
        new.insert(first, _as_class("blockwise_ddp"))
    return new


def _as_class(name: str) -> str:
    own = STRATEGIES.get(name)
    return f"{FLAG}.class_path={own}" if own else f"{FLAG}={name}"


def named_in_config(content: dict[str, Any]) -> dict[str, Any]:
    """A configuration with a class path in place of a name."""
    trainer = content.get("trainer")
    chosen = trainer.get("strategy") if isinstance(trainer, Mapping) else None
    if not isinstance(chosen, str) or chosen not in STRATEGIES:
        return content
    assert isinstance(trainer, Mapping)
    return {**content, "trainer": {**trainer, "strategy": {"class_path": STRATEGIES[chosen]}}}
