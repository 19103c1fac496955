import math

import pytest

from blocklearn import WarmupCosine


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (1, 1 / 40), (20, 0.5), (39, 39 / 40), (40, 1.0)]
)
def test_the_warm_up_is_linear_from_zero(step: int, expected: float) -> None:
    assert WarmupCosine(warmup_epochs=10).factor(step, 4, 100) == pytest.approx(expected)


def test_the_cosine_ends_at_the_final_factor() -> None:
    schedule = WarmupCosine(warmup_epochs=10, final_factor=0.001)
    assert schedule.factor(100, 4, 100) == pytest.approx(0.001)
    assert schedule.factor(70, 4, 100) == pytest.approx(0.5 + 0.001 * 0.5)


def test_the_curve_is_the_published_formula_per_batch() -> None:
    # ImageNet at batch 2048: 625 batches an epoch, 300 epochs, 10 of warm-up, base 0.2 * 2048 /
    # 256.
    def published(step: int) -> float:
        base, warmup, total = 1.6, 6250, 187500
        if step < warmup:
            return base * step / warmup
        q = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
        return base * q + base * 0.001 * (1 - q)

    schedule = WarmupCosine()
    for step in (0, 1, 6249, 6250, 100_000, 187_499):
        assert 1.6 * schedule.factor(step, 625, 187500) == pytest.approx(published(step), rel=1e-12)


def test_a_run_shorter_than_its_warm_up_ends_on_the_way_up() -> None:
    assert WarmupCosine(warmup_epochs=10).factor(3, 4, 4) == pytest.approx(3 / 40)


@pytest.mark.parametrize("wrong", [{"warmup_epochs": -1}, {"final_factor": 1.5}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="WarmupCosine needs"):
        WarmupCosine(**wrong)
