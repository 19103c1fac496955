"""One parameter of a sweep: the values that it may have, as a sweep file of W&B says it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from random import Random
from typing import Any

from blocklearn.errors import UserError

KEYS = ("value", "values", "distribution", "min", "max", "mu", "sigma", "q", "probabilities")
NEEDS = {  # by distribution: the keys that it needs
    "constant": ("value",),
    "categorical": ("values",),
    "int_uniform": ("min", "max"),
    "uniform": ("min", "max"),
    "q_uniform": ("min", "max"),
    "log_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "q_log_uniform_values": ("min", "max"),
    "normal": ("mu", "sigma"),
    "q_normal": ("mu", "sigma"),
    "log_normal": ("mu", "sigma"),
}
DIGITS = 4  # of a value that is drawn: enough for a setting, and fit for a command and a folder


@dataclass(frozen=True)
class Parameter:
    """What a setting may be.

    Attributes:
        name: dotted, as the command line has it without its hyphens.
        distribution: one of `NEEDS`.
        options: the values of a constant or categorical parameter.
        weights: of the options, where they are not equally likely.
        low: smallest value; of `log_uniform` its natural logarithm.
        high: largest value; of `log_uniform` its natural logarithm.
        mu: mean of a normal distribution, or of the logarithm of a log-normal one.
        sigma: its standard deviation.
        step: what a drawn value is a multiple of; null for none.
    """

    name: str
    distribution: str
    options: tuple[Any, ...] = ()
    weights: tuple[float, ...] | None = None
    low: float = 0.0
    high: float = 1.0
    mu: float = 0.0
    sigma: float = 1.0
    step: float | None = None

    def choices(self) -> tuple[Any, ...] | None:
        """All values, where they can be listed."""
        if self.distribution == "int_uniform":
            return tuple(range(int(self.low), int(self.high) + 1))
        return self.options or None

    def draw(self, random: Random) -> Any:
        """A value."""
        if self.options:
            return random.choices(self.options, self.weights)[0]
        if self.distribution == "int_uniform":
            return random.randint(int(self.low), int(self.high))
        return self.fitted(self._drawn(random))

    def extremes(self) -> tuple[Any, ...]:
        """Values that a command line has to take if it is to take all of them."""
        if self.options:
            return self.options
        if self.distribution == "int_uniform":
            return (int(self.low), int(self.high))
        if self.distribution.endswith("normal"):
            return (self.fitted(math.exp(self.mu) if "log" in self.distribution else self.mu),)
        return (self.fitted(self.bounds[0]), self.fitted(self.bounds[1]))

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        if self.distribution == "log_uniform":
            return math.exp(self.low), math.exp(self.high)
        return self.low, self.high

    def fitted(self, value: float) -> Any:
        """A drawn number as the multiple of the step, or with the digits, that it is to have."""
        if self.step is None:
            return float(f"{value:.{DIGITS}g}")
        stepped = round(value / self.step) * self.step
        return int(stepped) if float(self.step).is_integer() else float(f"{stepped:.12g}")

    def _drawn(self, random: Random) -> float:
        if self.distribution.endswith("normal"):
            value = random.gauss(self.mu, self.sigma)
            return math.exp(value) if "log" in self.distribution else value
        low, high = self.bounds
        if "log" in self.distribution:
            return math.exp(random.uniform(math.log(low), math.log(high)))
        return random.uniform(low, high)


def read_parameter(name: str, content: Any, where: str) -> Parameter:
    """
    Args:
        name: of the parameter.
        content: what the file says of it.
        where: the file, for messages.

    Raises:
        UserError: for what is no parameter; it names the file, the parameter and the key.
    """
    place = f"{where}: parameters: {name}"
    if not isinstance(content, Mapping):
        raise UserError(f"{place} should hold value, values or a distribution, it holds {content}")
    _refuse_keys(content, place)
    kind = content.get("distribution") or _inferred(content, place)
    if kind not in NEEDS:
        raise UserError(f"{place}: there is no distribution {kind} here; there are {_all()}")
    for key in NEEDS[kind]:
        if key not in content:
            raise UserError(f"{place}: {kind} needs {key}")
    if kind in ("constant", "categorical"):
        return _listed(name, kind, content, place)
    return _numeric(name, kind, content, place)


def _refuse_keys(content: Mapping[str, Any], place: str) -> None:
    if "parameters" in content:
        raise UserError(
            f"{place}: parameters within a parameter are not taken; write the dotted name of each "
            "setting"
        )
    for key in content:
        if key not in KEYS:
            near = get_close_matches(str(key), KEYS, n=1)
            raise UserError(
                f"{place}: there is no key {key}; "
                + (f"did you mean {near[0]}?" if near else f"there are {', '.join(KEYS)}")
            )


def _inferred(content: Mapping[str, Any], place: str) -> str:
    """What W&B takes where no distribution is named."""
    if "value" in content:
        return "constant"
    if "values" in content:
        return "categorical"
    if "min" in content and "max" in content:
        whole = all(isinstance(content[key], int) for key in ("min", "max"))
        return "int_uniform" if whole else "uniform"
    raise UserError(f"{place} needs value, values, or min and max")


def _listed(name: str, kind: str, content: Mapping[str, Any], place: str) -> Parameter:
    options = [content["value"]] if kind == "constant" else content["values"]
    if not isinstance(options, list) or not options:
        raise UserError(f"{place}: values should be a list of at least one, got {options}")
    weights = content.get("probabilities")
    if weights is not None and (not isinstance(weights, list) or len(weights) != len(options)):
        raise UserError(f"{place}: probabilities should be a list as long as values")
    return Parameter(name, kind, tuple(options), tuple(weights) if weights else None)


def _numeric(name: str, kind: str, content: Mapping[str, Any], place: str) -> Parameter:
    told = {key: _number(content[key], key, place) for key in KEYS[3:8] if key in content}
    parameter = Parameter(
        name,
        kind,
        low=told.get("min", 0.0),
        high=told.get("max", 1.0),
        mu=told.get("mu", 0.0),
        sigma=told.get("sigma", 1.0),
        step=told.get("q", 1.0) if kind.startswith("q_") else None,
    )
    positive = "log" not in kind or kind in ("log_uniform", "log_normal") or parameter.low > 0
    if parameter.low > parameter.high or parameter.sigma < 0 or not positive:
        raise UserError(
            f"{place}: {kind} needs min <= max{'' if positive else ', min > 0'} and sigma >= 0"
        )
    if parameter.step is not None and parameter.step <= 0:
        raise UserError(f"{place}: q should be above 0, got {parameter.step:g}")
    return parameter


def _number(value: Any, key: str, place: str) -> float:
    try:
        found = float(value)  # YAML takes 1e-3 for a text
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise UserError(f"{place}: {key} should be a number, got {value}")
    return found


def _all() -> str:
    return ", ".join(NEEDS)
