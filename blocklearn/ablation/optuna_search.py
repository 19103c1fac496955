"""Settings that are chosen by what earlier ones gave: optuna's tree-structured Parzen estimator
(TPE) for `method: bayes`."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from blocklearn.ablation.parameters import Parameter
from blocklearn.ablation.search import Search, Settings
from blocklearn.ablation.sweep_file import Sweep
from blocklearn.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution  # pyright: ignore[reportMissingImports]

LEAST, RANDOM = 3, 10  # settings that are drawn at random before any is chosen by the others
TRIES = 50  # suggestions until one is new


class OptunaSearch(Search):
    """`count` settings, no two alike.

    Args:
        sweep: its parameters and metric.
        count: of settings, those in `known` among them.
        seed: of the sampler.
        known: settings of an earlier start, in their order, and what the metric was; None for those
            that have not ended. They come first.

    Raises:
        UserError: where optuna is not installed, and for a distribution that it does not have.
    """

    def __init__(
        self,
        sweep: Sweep,
        count: int,
        seed: int,
        known: Iterable[tuple[Settings, float | None]] = (),
    ) -> None:
        if find_spec("optuna") is None:
            raise UserError(
                f"{sweep.path.name}: method bayes needs optuna: pip install 'blocklearn[optuna]'; "
                "or write method: random"
            )
        import optuna  # pyright: ignore[reportMissingImports]

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.count, self._parameters = count, sweep.parameters
        self._space = {one.name: _distribution(one, sweep) for one in sweep.parameters}
        self._trials: dict[str, Any] = {}
        self._values: dict[str, float] = {}
        known = list(known)
        self._again = [settings for settings, _ in known]
        self._study = optuna.create_study(
            direction="maximize" if sweep.metric.maximize else "minimize",
            sampler=optuna.samplers.TPESampler(
                seed=seed + len(known),
                n_startup_trials=max(LEAST, min(RANDOM, count // 3)),
                constant_liar=True,
            ),
        )
        for settings, value in known:
            self._remember(settings, value)

    def ask(self) -> Settings | None:
        if self._again:
            return self._again.pop(0)
        if len(self._trials) >= self.count:
            return None
        for _ in range(TRIES):
            trial = self._study.ask(self._space)
            settings = {one.name: _setting(one, trial.params) for one in self._parameters}
            key = repr(settings)
            if key not in self._trials:
                self._trials[key] = trial
                return settings
            self._study.tell(trial, self._values.get(key), state=self._state(key))
        return None

    def tell(self, settings: Settings, value: float | None) -> None:
        key = repr(dict(settings))
        trial = self._trials.get(key)
        if trial is None or key in self._values:
            return
        if value is not None:
            self._values[key] = value
        self._study.tell(trial, value, state=self._state(key))

    def examples(self) -> Sequence[Settings]:
        """Every value of every parameter that can be listed, the smallest and largest of others."""
        first = {one.name: one.extremes()[0] for one in self._parameters}
        others = [
            {**first, one.name: value}
            for one in self._parameters
            for value in (one.choices() or one.extremes())
        ]
        return [first, *others]

    def _state(self, key: str) -> Any:
        from optuna.trial import TrialState  # pyright: ignore[reportMissingImports]

        return TrialState.COMPLETE if key in self._values else TrialState.FAIL

    def _remember(self, settings: Settings, value: float | None) -> None:
        self._study.enqueue_trial(
            {one.name: _suggested(one, settings[one.name]) for one in self._parameters}
        )
        self._trials[repr(dict(settings))] = self._study.ask(self._space)
        if value is not None:
            self.tell(settings, value)


def _distribution(parameter: Parameter, sweep: Sweep) -> "BaseDistribution":
    from optuna import distributions  # pyright: ignore[reportMissingImports]

    kind = parameter.distribution
    if parameter.options:
        return distributions.CategoricalDistribution([str(value) for value in parameter.options])
    if kind.endswith("normal"):
        raise UserError(
            f"{sweep.path.name}: parameters: {parameter.name}: optuna has no {kind}; write uniform "
            "or log_uniform_values, or method: random"
        )
    low, high = parameter.bounds
    if kind == "int_uniform":
        return distributions.IntDistribution(int(low), int(high))
    if kind == "q_uniform":
        return distributions.FloatDistribution(low, high, step=parameter.step)
    return distributions.FloatDistribution(low, high, log="log" in kind)


def _setting(parameter: Parameter, params: Mapping[str, Any]) -> Any:
    value = params[parameter.name]
    if parameter.options:
        return next(option for option in parameter.options if str(option) == value)
    return value if parameter.distribution == "int_uniform" else parameter.fitted(value)


def _suggested(parameter: Parameter, value: Any) -> Any:
    """Within the bounds: a rounded value may lie just outside."""
    if parameter.options:
        return str(value)
    if parameter.distribution == "int_uniform":
        return value
    low, high = parameter.bounds
    return min(max(value, low), high)
