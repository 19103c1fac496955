import math
from functools import partial
from typing import Any

import pytest
import torch
from small import assert_same_value_and_gradient
from torch import Tensor

from blocklearn import (
    Batch,
    BlockwiseModule,
    RecurrentContext,
    StageSpec,
    TemporalInfoNCE,
    UserError,
)
from blocklearn.objectives.infonce import own_generator
from blocklearn.objectives.objective import LocalBatch
from blocklearn.objectives.temporal_infonce import NegativeDraw
from blocklearn.training.contract import Carried

SPEC = StageSpec("conv5", channels=4, stride=160, layout="NCL")
BATCH = Batch([], torch.zeros(3), torch.arange(3))
SAMPLINGS = ["cyclic", "permutation", "same_sequence"]


def made(**changes: Any) -> TemporalInfoNCE:
    return TemporalInfoNCE(SPEC, **{"steps": 3, "negatives": 5, **changes})


def plain_loss(objective: TemporalInfoNCE, z: Tensor) -> Tensor:
    """Anchor by anchor, with the negatives as the released code's methods 0, 1 and 2 choose them,
    written out in vectors. `z` is `(B, C, T)`; the draws are those that the objective makes."""
    context = z if objective.context is None else objective.context(z)
    count, length = len(z), z.shape[2]
    generator = own_generator(z.device)
    window = min(objective.window or length, length)
    begin = int(torch.randint(length - window + 1, ()))
    everything = [z[b, :, t] for b in range(count) for t in range(length)]

    def permutations(size: int) -> list[Tensor]:
        return [torch.randperm(size, generator=generator) for _ in range(objective.negatives)]

    if objective.sampling == "permutation":
        drawn = permutations(count * length)
    elif objective.sampling == "same_sequence":
        drawn = permutations(length)
    losses = []
    for k in range(1, objective.steps + 1):
        weight = objective.predictor.weight.chunk(objective.steps)[k - 1]
        anchors = [(b, t) for b in range(count) for t in range(begin, begin + window - k)]
        positives = [z[b, :, t + k] for b, t in anchors]
        if objective.sampling == "cyclic":
            offsets = torch.randint(
                1, len(anchors), (len(anchors), objective.negatives), generator=generator
            )
        of_anchors = []
        for i, (b, t) in enumerate(anchors):
            if objective.sampling == "cyclic":
                negatives = [positives[(i + int(offset)) % len(anchors)] for offset in offsets[i]]
            elif objective.sampling == "permutation":
                negatives = [everything[int(order[-len(anchors) :][i])] for order in drawn]
            else:
                negatives = [z[b, :, int(order[t + k])] for order in drawn]
            predicted = weight @ context[b, :, t]
            logits = torch.stack([predicted @ vector for vector in [positives[i], *negatives]])
            of_anchors.append(-(logits[0] - logits.logsumexp(0)))
        losses.append(torch.stack(of_anchors).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("context", [None, partial(RecurrentContext, hidden=3)])
def test_value_and_gradient_equal_a_plain_loop_over_anchors(
    sampling: Any, window: int | None, context: Any
) -> None:
    objective = made(sampling=sampling, window=window, context=context).double()
    z = torch.randn(3, 4, 9, dtype=torch.float64, requires_grad=True)
    seed = torch.random.get_rng_state()
    loss = objective(LocalBatch([z], BATCH)).loss
    torch.random.set_rng_state(seed)
    expected = plain_loss(objective, z)
    leaves = [z, *objective.parameters()]
    assert_same_value_and_gradient(
        loss, expected, leaves, value=(1e-12, 1e-14), gradient=(1e-10, 1e-13)
    )


def test_the_prediction_heads_have_the_published_number_of_weights() -> None:
    spec = StageSpec("conv1", channels=512, stride=5, layout="NCL")
    assert sum(p.numel() for p in TemporalInfoNCE(spec).parameters()) == 3_145_728
    with_gru = TemporalInfoNCE(spec, context=RecurrentContext)
    assert with_gru.predictor.weight.numel() == 1_572_864
    assert with_gru.context is not None
    assert sum(p.numel() for p in with_gru.context.parameters()) == 591_360


def test_an_untrained_encoder_sits_at_the_logarithm_of_eleven() -> None:
    network = BlockwiseModule(
        TemporalInfoNCE,
        backbone="gim_speech",
        blocks=[["conv1"], ["conv2"], ["conv3"], ["conv4"], ["conv5"], []],
        objectives=[None] * 5 + [partial(TemporalInfoNCE, context=RecurrentContext)],
    )
    batch = Batch([0.5 * torch.randn(2, 1, 20480)], torch.zeros(2), torch.arange(2))
    carried = Carried(batch.views)
    for block in network.walked:
        with torch.no_grad():
            output = block.local_step(carried, batch)
        assert float(output.loss) == pytest.approx(
            math.log(11), abs=0.02 if block.index else 0.3
        ), block.name
        carried = output.carried


def cyclic_draw(step: int) -> tuple[Tensor, Tensor]:
    draw = NegativeDraw(
        count=2, length=10, run=slice(3, 9), negatives=200, generator=torch.Generator()
    )
    own = torch.tensor([b * 10 + t + step for b in range(2) for t in range(3, 9 - step)])
    return draw.cyclic(step), own


def test_cyclic_negatives_are_targets_of_the_step_and_never_the_anchors_own() -> None:
    drawn, own = cyclic_draw(step=2)
    assert set(drawn.unique().tolist()) == set(own.tolist())
    assert not (drawn == own.unsqueeze(1)).any()


def test_negatives_of_the_same_sequence_stay_in_it() -> None:
    drawn = NegativeDraw(3, 10, slice(2, 8), 50, torch.Generator()).same_sequence(1)
    assert (drawn // 10).tolist() == [[b] * 50 for b in range(3) for _ in range(5)]
    first, second, third = (drawn % 10).chunk(3)
    assert torch.equal(first, second)
    assert torch.equal(first, third)


def test_permuted_negatives_come_from_outside_the_run_too() -> None:
    drawn = NegativeDraw(2, 100, slice(0, 10), 50, torch.Generator()).permutation(1)
    assert drawn.shape == (18, 50)
    assert (drawn % 100 >= 10).any()
    assert len(drawn[:, 0].unique()) == 18  # within a permutation none is drawn twice


def test_a_window_as_long_as_the_sequence_changes_nothing() -> None:
    z = torch.randn(3, 4, 9)
    objective, whole = made(window=9), made(window=None)
    whole.load_state_dict(objective.state_dict())
    seed = torch.random.get_rng_state()
    loss = objective(LocalBatch([z], BATCH)).loss
    torch.random.set_rng_state(seed)
    assert loss == whole(LocalBatch([z], BATCH)).loss


def test_the_context_is_published_by_frame_and_as_a_mean() -> None:
    objective = made(context=partial(RecurrentContext, hidden=3))
    z = torch.randn(2, 4, 7)
    (published,) = objective.published()
    assert published.frames is not None
    assert published.frames(z).shape == (2, 3, 7)
    torch.testing.assert_close(published.feature(z), published.frames(z).mean(dim=2))


def test_a_sequence_shorter_than_the_steps_is_refused() -> None:
    with pytest.raises(UserError, match="conv5 makes 3 positions of a window, too few for 3 steps"):
        made()(LocalBatch([torch.randn(2, 4, 3)], BATCH))


def test_maps_are_refused_when_the_network_is_built() -> None:
    with pytest.raises(UserError, match="layer1 makes maps: take PatchInfoNCE"):
        TemporalInfoNCE(StageSpec("layer1", 4, 4))


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"negatives": 0}, {"sampling": "all"}, {"window": 3}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="TemporalInfoNCE needs steps >= 1"):
        made(**wrong)
