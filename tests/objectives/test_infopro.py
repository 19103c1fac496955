import math
from functools import partial
from typing import Any

import pytest
import torch
from small import assert_same_value_and_gradient, network, small_batch
from torch import Tensor
from torch.nn.functional import conv2d

from blocklearn import Batch, InfoPro, StageSpec, Supervised, UserError
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.objectives.objective import LocalBatch
from blocklearn.training.contract import Carried

SPEC = StageSpec("layer1", channels=4, stride=2)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("cifar_resnet20", {"layers": [2, 1, 1], "channels": [8, 8, 8]}),
    "convnext": ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 8]}),
    "vit": (
        "vit_tiny_patch16_224",
        {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 2},
    ),
}
COLOURS: dict[str, Any] = {"mean": [0.5, 0.4, 0.3], "std": [0.1, 0.12, 0.09]}


def objective(**changes: Any) -> Any:
    return partial(InfoPro, **{"num_classes": 3, "hidden": 6, **COLOURS, **changes})


def images(size: int = 6, pixels: int = 8, views: int = 2) -> Batch:
    """With labels 0 1 2 0 1 2 of six."""
    batch = small_batch(size, pixels, torch.float64)
    return batch._replace(views=batch.views[:views])


def normed(x: Tensor, norm: Any) -> Tensor:
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    weight, bias = (p[:, None, None] for p in (norm.weight, norm.bias))
    return (x - mean) / (var + norm.eps).sqrt() * weight + bias


def stretched(x: Tensor, size: int) -> Tensor:
    """Bilinear, corners on corners."""
    places = torch.arange(size, dtype=x.dtype) * (x.shape[-1] - 1) / (size - 1)
    nodes = torch.arange(x.shape[-1], dtype=x.dtype)
    weight = (1 - (places[:, None] - nodes).abs()).clamp(min=0)
    return weight @ x @ weight.T


def plain_reconstruction(decoder: Any, features: list[Tensor], batch: Batch) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for x, view in zip(features, batch.views, strict=True):
        mean, std = (torch.tensor(COLOURS[k]).double()[:, None, None] for k in ("mean", "std"))
        true = view * std.float().double() + mean.float().double()
        first = conv2d(stretched(x, 8), decoder.first.weight, decoder.first.bias, padding=1)
        hidden = normed(first, decoder.norm).relu()
        painted = conv2d(hidden, decoder.second.weight, decoder.second.bias, padding=1).sigmoid()
        total = total - (true * painted.log() + (1 - true) * (1 - painted).log()).mean()
    return total / len(features)


def plain_head(head: Any, x: Tensor) -> Tensor:
    hidden = normed(conv2d(x, head.conv.weight, stride=2, padding=1), head.norm).relu()
    return (hidden.mean((2, 3)) @ head.linear.weight.T + head.linear.bias).relu()


def plain_contrast(z: Tensor, label: Tensor, temperature: float) -> Tensor:
    losses = []
    for anchor in range(len(z)):
        others = [n for n in range(len(z)) if n != anchor]
        cosine = {n: z[anchor] @ z[n] / z[anchor].norm() / z[n].norm() for n in others}
        everyone = sum((cosine[n] / temperature).exp() for n in others)
        positive = [n for n in others if label[n] == label[anchor]]
        if positive:
            terms = [-((cosine[p] / temperature).exp() / everyone).log() for p in positive]
            losses.append(torch.stack(terms).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("task", ["contrast", "softmax"])
def test_value_and_gradients_equal_the_plain_formula(task: str, views: int) -> None:
    weights = {"image_weights": (2.0, 0.0), "label_weights": (0.5, 0.0)}
    made = objective(task=task, temperature=0.3, **weights)(SPEC).double()
    batch = images(views=views)
    batch = batch._replace(label=torch.tensor([0, 1, 2, 0, 0, 1]))
    features = [
        torch.randn(6, 4, 4, 4, dtype=torch.float64, requires_grad=True) for _ in range(views)
    ]
    loss = made(LocalBatch(features, batch)).loss
    image = plain_reconstruction(made.decoder, features, batch)
    if task == "contrast":
        pooled = [plain_head(made.task.head, x) for x in features]
        last = made.task.projector
        z = torch.cat([x @ last.weight.T + last.bias for x in pooled])
        told = plain_contrast(z, batch.label.repeat(views), 0.3)
    else:
        pooled = [plain_head(made.task.pooling, x) for x in features]
        last = made.task.classifier
        logits = torch.cat([x @ last.weight.T + last.bias for x in pooled])
        chosen = logits[range(6 * views), batch.label.repeat(views)]
        told = (logits.exp().sum(1).log() - chosen).mean()
    leaves = [*features, *made.parameters()]
    assert_same_value_and_gradient(
        loss, 2 * image + 0.5 * told, leaves, value=(1e-9, 0), gradient=(1e-9, 1e-12)
    )


def test_an_embedding_alone_with_its_label_is_left_out() -> None:
    made = objective(image_weights=(0, 0), label_weights=(1, 1))(SPEC).double()
    batch, x = images(views=1), torch.randn(6, 4, 4, 4, dtype=torch.float64)
    alone = made(LocalBatch([x], batch._replace(label=torch.arange(6))))
    assert not alone.loss
    assert alone.loss.requires_grad
    one_pair = made(LocalBatch([x], batch._replace(label=torch.tensor([0, 1, 2, 3, 4, 0]))))
    assert one_pair.loss > 0


def built(case: str = "resnet", blocks: Any = 4, **changes: Any) -> Any:
    name, kwargs = CASES[case]
    torch.manual_seed(0)
    return network(objective(**changes), name, blocks, backbone_kwargs=kwargs)


def test_the_weights_go_from_the_first_block_to_the_last_but_one() -> None:
    blocks = built(image_weights=(1.0, 0.0), label_weights=(0.5, 2.5)).walked
    assert [block.objective.weights for block in blocks] == [(1, 0.5), (0.5, 1.5), (0, 2.5), (0, 1)]
    first, last = blocks[0].objective, blocks[-1].objective
    assert (first.needs_images, last.needs_images) == (True, False)
    assert last.decoder is None
    assert type(last.task) is Supervised
    two = built(blocks=2, image_weights=(5.0, 0.0), label_weights=(0.5, 0.0)).walked
    assert [block.objective.weights for block in two] == [(5, 0.5), (0, 1)]
    (one,) = built(blocks="end_to_end").walked
    assert one.objective.weights == (0, 1)


def test_parts_of_weight_0_are_not_there() -> None:
    """They would cost memory and change nothing."""
    objectives = [block.objective for block in built().walked]
    assert [own.decoder is not None for own in objectives] == [True, True, False, False]
    assert [own.task is not None for own in objectives] == [False, True, True, True]
    assert [len(own.published()) for own in objectives] == [0, 1, 1, 1]


def test_the_last_block_learns_by_plain_cross_entropy() -> None:
    last, batch = built().walked[-1], small_batch(pixels=8)
    carried = Carried([torch.randn(6, 8, 4, 4) for _ in range(2)])
    torch.manual_seed(1)
    loss = last.local_step(carried, batch).loss
    x = [last(view) for view in carried.views]
    again = last.objective.task(LocalBatch(x, batch)).loss
    torch.testing.assert_close(loss, again)


@pytest.mark.parametrize("task", ["contrast", "softmax"])
@pytest.mark.parametrize("case", CASES)
def test_blocks_are_isolated_and_every_parameter_learns(case: str, task: str) -> None:
    made = built(case, task=task)
    batch = small_batch(pixels=32)
    batch = batch._replace(views=[view.clamp(-3, 3) for view in batch.views])
    rows = measure_reach(made, batch)
    assert not any(row.leaks_into or row.unreached for row in rows)


def test_the_image_is_painted_in_the_pixels_that_it_had() -> None:
    made = objective()(SPEC)
    pixels = torch.rand(2, 3, 5, 5)
    view = (pixels - made.mean) / made.std
    torch.testing.assert_close(made.pixels(view), pixels)


def test_a_decoder_of_a_wide_stage_can_be_narrowed_first() -> None:
    """A 1x1 convolution before the upsampling is the same as behind it."""
    made = objective(squeeze=2)(SPEC)
    assert made.decoder.squeeze.out_channels == made.decoder.first.in_channels == 2
    assert made.decoder(torch.randn(2, 4, 4, 4), (8, 8)).shape == (2, 3, 8, 8)


def test_under_autocast_losses_are_computed_in_float32() -> None:
    made, batch = objective(label_weights=(1, 1))(SPEC), small_batch(pixels=8)
    x = [torch.randn(6, 4, 4, 4) for _ in range(2)]
    batch = batch._replace(views=[view.clamp(-3, 3) for view in batch.views])
    with torch.autocast("cpu", torch.bfloat16):
        output = made(LocalBatch(x, batch))
    assert output.loss.dtype == torch.float32
    assert all(math.isfinite(value) for value in output.metrics.values())


@pytest.mark.parametrize(
    ("changes", "pixels", "label", "complaint"),
    [
        (
            {"mean": [0, 0, 0], "std": [1, 1, 1]},
            3,
            0,
            r"100% of the pixels .* far outside \[0, 1\] once mean",
        ),
        ({"mean": [0.5], "std": [0.1]}, 3, 0, r"images of 1 channels, got views of \(3, 8, 8\)"),
        ({"label_weights": (1, 1)}, 3, -1, "6 samples of this batch have no label"),
        ({"label_weights": (1, 1), "task": "softmax"}, 3, 5, "labels outside 0 to 2"),
    ],
)
def test_a_batch_that_does_not_fit_says_why(
    changes: dict[str, Any], pixels: float, label: int, complaint: str
) -> None:
    made = objective(**changes)(SPEC)
    view = torch.full((6, 3, 8, 8), float(pixels))
    batch = Batch([view], torch.full((6,), label), torch.arange(6))
    with pytest.raises(UserError, match=complaint):
        made(LocalBatch([torch.randn(6, 4, 4, 4)], batch))


def test_a_block_without_a_loss_is_refused_with_its_number() -> None:
    with pytest.raises(UserError, match="block 3 of 4 has weight 0 for its image and for its lab"):
        built(image_weights=(1, 0), label_weights=(0, 0))


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "guess"},
        {"image_weights": (-1, 0)},
        {"temperature": 0},
        {"mean": [0.5]},
        {"std": [0.1, 0.1, 0]},
        {"hidden": 0, "label_weights": (1, 1)},
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"InfoPro needs|ConvHead: hidden"):
        objective(**changes)(SPEC)
