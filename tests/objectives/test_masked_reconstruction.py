"""Masked reconstruction: against the same written out by hand, and what may never happen."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from plain_masked import decoded_loss, embed, layer_norm, transformer_layer
from small import network
from torch import Tensor

from blocklearn import Batch, BlockwiseModule, UserError
from blocklearn.masks import RandomMask, TubeMask
from blocklearn.objectives import MaskedReconstruction
from blocklearn.training.contract import Carried, Clock

DEPTH, HEADS = 4, 2
IMAGES: dict[str, Any] = {
    "backbone": "vit_tiny_patch16_224",
    "backbone_kwargs": {
        "img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": DEPTH, "num_heads": HEADS,
    },
    "mask": RandomMask(0.75),
}  # fmt: skip
VIDEO: dict[str, Any] = {
    "backbone": "video_vit_tiny",
    "backbone_kwargs": {
        "img_size": 16, "patch_size": 8, "frames": 4, "tubelet": 2,
        "embed_dim": 24, "depth": DEPTH, "num_heads": HEADS,
    },
    "mask": TubeMask(0.5),
}  # fmt: skip
DECODER: dict[str, Any] = {"depth": 2, "width": 36, "heads": 3}


def masked_network(settings: dict[str, Any], **changes: Any) -> BlockwiseModule:
    torch.manual_seed(0)
    decoder = {**DECODER, **changes.pop("decoder", {})}
    made = {"objective": partial(MaskedReconstruction, **decoder), **settings, **changes}
    torch.set_default_dtype(torch.float64)  # fixed positions too
    try:
        return network(**{"blocks": 4, **made})
    finally:
        torch.set_default_dtype(torch.float32)


def batch_for(settings: dict[str, Any], size: int = 3) -> Batch:
    shape = (3, 4, 16, 16) if settings is VIDEO else (3, 16, 16)
    generator = torch.Generator().manual_seed(3)
    view = torch.randn(size, *shape, generator=generator, dtype=torch.float64)
    return Batch([view], torch.zeros(size, dtype=torch.int64), torch.arange(size) + 7)


def walk(net: BlockwiseModule, batch: Batch, clock: Clock) -> list[tuple[Tensor, Tensor]]:
    """Loss and features of every block, each after its backward pass."""
    batch, carried, found = net.masked(batch, clock), Carried(batch.views), []
    for block in net.walked:
        output = block.local_step(carried, batch, clock)
        output.loss.backward()
        carried = output.carried
        found.append((output.loss.detach(), carried.views[0]))
    return found


def losses_by_hand(
    net: BlockwiseModule, batch: Batch, visible: Tensor, normalise: bool
) -> list[Tensor]:
    """Of all blocks, on copies of the weights, whose gradients must be those that blocks have."""
    spec = net.walked[0].spec
    grid, patch, prefix = spec.tokens.grid, spec.tokens.patch, spec.prefix_tokens  # pyright: ignore
    count = len(batch.index) * (math.prod(grid) - visible.shape[1])
    values = math.prod(patch) * 3
    losses: list[Tensor] = []
    handed: list[Tensor] = []
    for number, block in enumerate(net.walked):
        own = {
            name.replace("/", ".").removeprefix("shell."): p
            for stage in block.stages
            for name, p in stage.named_parameters()
        }
        heads = dict(block.objective.decoder.named_parameters())  # pyright: ignore
        mine = {name: p.detach().clone().requires_grad_() for name, p in own.items()}
        theirs = {name: p.detach().clone().requires_grad_() for name, p in heads.items()}
        total = torch.zeros((), dtype=torch.float64)
        handed, before = [], handed
        for row, view in enumerate(batch.views[0]):
            clip = view if view.dim() == 4 else view.unsqueeze(1)
            seen = visible[row].tolist()
            if number == 0:
                tokens = embed(clip, mine, patch)
                x = tokens[[*range(prefix), *(prefix + token for token in seen)]]
            else:
                x = before[row].detach()
            for layer in sorted({name.split(".")[1] for name in own if name[:7] == "blocks."}):
                x = transformer_layer(x, mine, f"blocks.{layer}", HEADS, 1e-6)
            if "norm.weight" in mine:
                x = layer_norm(x, mine, "norm", 1e-6)
            handed.append(x)
            total = total + decoded_loss(
                x, theirs, clip, seen, grid, patch, prefix, 2, 3, normalise
            )
        loss = total / count / values
        loss.backward()
        losses.append(loss.detach())
        pairs = [(name, p, mine[name]) for name, p in own.items()]
        pairs += [(name, p, theirs[name]) for name, p in heads.items()]
        for name, p, copied in pairs:
            reference = copied.grad
            assert (p.grad is None) == (reference is None or not p.requires_grad), name
            if p.grad is not None:
                close = (p.grad - reference).norm() <= 1e-9 * reference.norm()
                assert close, name
    return losses


@pytest.mark.parametrize("settings", [IMAGES, VIDEO], ids=["images", "video"])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("blocks", [4, "end_to_end"])
def test_losses_and_gradients_are_those_of_masked_autoencoding_by_hand(
    settings: dict[str, Any], normalise: bool, blocks: Any
) -> None:
    net = masked_network(settings, blocks=blocks, decoder={"normalise": normalise})
    batch, clock = batch_for(settings), Clock(seed=5, epoch=2)
    found = walk(net, batch, clock)
    visible = net.masked(batch, clock).visible[0]
    by_hand = losses_by_hand(net, batch, visible, normalise)
    for (loss, _), reference in zip(found, by_hand, strict=True):
        torch.testing.assert_close(loss, reference, rtol=1e-9, atol=0)


@pytest.mark.parametrize("settings", [IMAGES, VIDEO], ids=["images", "video"])
def test_what_masked_pixels_show_reaches_no_block(settings: dict[str, Any]) -> None:
    net = masked_network(settings)
    batch, clock = batch_for(settings), Clock()
    tokens = net.walked[0].spec.tokens
    assert tokens is not None
    patches = tokens.patches(batch.views[0])
    visible = net.masked(batch, clock).visible[0]
    hidden = torch.ones(patches.shape[:2], dtype=torch.bool).scatter(1, visible, False)
    other = torch.where(hidden.unsqueeze(2), -patches + 1, patches)
    shown = torch.where(hidden.unsqueeze(2), patches, -patches + 1)
    before = [f for _, f in walk(net, batch, clock)]
    unseen = [f for _, f in walk(net, batch._replace(views=[tokens.view(other)]), clock)]
    seen = [f for _, f in walk(net, batch._replace(views=[tokens.view(shown)]), clock)]
    assert all(torch.equal(a, b) for a, b in zip(before, unseen, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, seen, strict=True))
    prefix = net.walked[0].spec.prefix_tokens
    assert {f.shape[1] for f in before} == {prefix + visible.shape[1]}


def test_the_errors_in_the_log_are_those_over_hidden_tokens_alone() -> None:
    net = masked_network(IMAGES, decoder={"normalise": False})
    batch = net.masked(batch_for(IMAGES))
    block = net.walked[0]
    output = block.local_step(Carried(batch.views), batch)
    objective, tokens = block.objective, block.spec.tokens
    assert isinstance(objective, MaskedReconstruction)
    assert tokens is not None
    features = block.stages[0](batch.views[0], batch.visible[0])
    painted = objective.reconstruct(features, batch.visible[0])
    hidden = torch.ones(3, tokens.count, dtype=torch.bool).scatter(1, batch.visible[0], False)
    target = tokens.patches(batch.views[0])[hidden]
    mse = (painted[hidden] - target).square().mean()
    mean = (target - target.mean(dim=0)).square().mean()
    torch.testing.assert_close(output.metrics["masked_mse"], mse.detach())
    torch.testing.assert_close(output.metrics["mean_mse"], mean)


@pytest.mark.parametrize(
    ("backbone", "encoder", "per_width"),
    [("video_vit_tiny", 6.5e6, 192), ("video_vit_small", 23.6e6, 384)],
)
def test_encoder_and_decoder_are_as_large_as_published(
    backbone: str, encoder: float, per_width: int
) -> None:
    """2.95 M, 6.5 M and 23.6 M (arXiv 2601.09040) count the matrices of layers, embedding and
    head; with biases, norms, the way from encoder to decoder and the mask token a decoder has
    3.00 M."""
    net = network(MaskedReconstruction, backbone, 4, TubeMask(0.9))

    def matrices(named: Any) -> int:
        return sum(p.numel() for name, p in named if p.dim() > 1 and "pos_embed" not in name)

    stages = [matrices(stage.named_parameters()) for block in net.walked for stage in block.stages]
    assert float(f"{sum(stages):.2e}") == pytest.approx(encoder, rel=5e-3)
    for block in net.walked:
        decoder: Any = block.objective.decoder
        between = decoder.embed.weight.numel()
        assert between == per_width * 192
        assert matrices(decoder.named_parameters()) - between == 2_949_120
    extra = 3 * 2.95 / (sum(stages) / 1e6 + 2.95)
    assert extra == pytest.approx(0.94 if per_width == 192 else 0.33, abs=0.01)


def test_a_wide_patch_comes_back_from_its_pieces() -> None:
    for settings in (IMAGES, VIDEO):
        tokens = masked_network(settings).walked[0].spec.tokens
        view = batch_for(settings).views[0]
        assert tokens is not None
        assert torch.equal(tokens.view(tokens.patches(view)), view)


def test_painted_patches_become_pixels_again_with_their_own_mean_and_scale() -> None:
    objective = masked_network(IMAGES).walked[0].objective
    assert isinstance(objective, MaskedReconstruction)
    view = batch_for(IMAGES).views[0]
    back = objective.denormalise(objective.targets(view), view)
    torch.testing.assert_close(back, objective.grid.patches(view))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"decoder": {"width": 35}}, "even width that heads divide"),
        ({"decoder": {"heads": 5}}, "even width that heads divide"),
        ({"backbone": "resnet18", "backbone_kwargs": {}, "mask": None}, "layer1 makes maps"),
        ({"backbone_kwargs": {"dynamic_img_size": True}, "mask": None}, "images of any size"),
    ],
)
def test_a_decoder_that_cannot_be_built_is_refused(changes: dict[str, Any], told: str) -> None:
    more = {"blocks": "per_stage"} if "backbone" in changes else {}
    with pytest.raises((UserError, ValueError), match=told):
        masked_network(IMAGES, **changes, **more)


def test_a_batch_without_a_mask_is_refused() -> None:
    net, batch = masked_network(IMAGES, mask=None), batch_for(IMAGES)
    with pytest.raises(UserError, match="needs a mask: set --model.mask"):
        net.walked[0].local_step(Carried(batch.views), batch)
