"""Vision transformers for clips: timm's, whose tokens are tubelets."""

from functools import partial
from typing import Any

import torch
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from blocklearn.backbones.preact_resnet import own_arguments
from blocklearn.backbones.token_grid import TokenGrid
from blocklearn.errors import UserError


class TubeletEmbed(nn.Module):
    """A clip in tubelets, each a token: a convolution in three dimensions whose stride is its
    kernel.

    Args:
        img_size: height and width of a frame in pixels.
        patch_size: of a tubelet in pixels.
        in_chans: channels of a frame.
        embed_dim: width of a token.
        bias: of the convolution.
        frames: of a clip.
        tubelet: frames of a tubelet.
        unused: further arguments that timm gives every embedding.

    Raises:
        ValueError: where tubelets do not cover the clip.
    """

    def __init__(
        self,
        img_size: int = 128,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 192,
        bias: bool = True,
        frames: int = 16,
        tubelet: int = 8,
        **unused: Any,
    ) -> None:
        super().__init__()
        if frames % tubelet or img_size % patch_size:
            raise ValueError(
                f"tubelets of {tubelet} frames and {patch_size} pixels do not cover {frames} "
                f"frames of {img_size} pixels"
            )
        side = img_size // patch_size
        self.frames, self.img_size = frames, (img_size, img_size)
        self.patch_size, self.strict_img_size = (patch_size, patch_size), True
        self.tokens = TokenGrid(
            (frames // tubelet, side, side), (tubelet, patch_size, patch_size), in_chans
        )
        self.num_patches = self.tokens.count
        kernel = self.tokens.patch
        self.proj = nn.Conv3d(in_chans, embed_dim, kernel, stride=kernel, bias=bias)

    def feat_ratio(self) -> int:
        """Pixels per token, as timm asks."""
        return self.patch_size[0]

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, T, H, W)` to `(B, L, embed_dim)`."""
        if x.shape[2:] != (self.frames, *self.img_size):
            raise ValueError(
                f"it takes {self.frames} frames of {self.img_size[0]} pixels, got {x.shape[2]} of "
                f"{x.shape[3]} x {x.shape[4]}"
            )
        return self.proj(x).flatten(2).transpose(1, 2)


class VideoTransformer(VisionTransformer):
    """timm's vision transformer over tubelets, with fixed sine-cosine positions, no class token and
    a final norm (arXiv 2601.09040; VideoMAE, arXiv 2203.12602).

    Args:
        img_size: height and width of a frame in pixels.
        patch_size: height and width of a tubelet.
        frames: of a clip.
        tubelet: frames of a tubelet.
        kwargs: the arguments of timm's `VisionTransformer`.
    """

    def __init__(
        self,
        img_size: int = 128,
        patch_size: int = 16,
        frames: int = 16,
        tubelet: int = 8,
        **kwargs: Any,
    ) -> None:
        embed = partial(TubeletEmbed, frames=frames, tubelet=tubelet)
        own: dict[str, Any] = {"class_token": False, "global_pool": "avg", "fc_norm": False}
        super().__init__(img_size, patch_size, embed_layer=embed, **{**own, **kwargs})
        fix_positions(self)


def fix_positions(backbone: nn.Module) -> None:
    """Sine and cosine of their place for the tokens' learned positions, which then stay as they
    are; those of class token and registers are 0.

    Raises:
        UserError: for a backbone that learns no positions of tokens.
    """
    if not isinstance(backbone, VisionTransformer) or not (tokens := token_grid(backbone)):
        raise UserError(
            "fixed_positions: only a vision transformer for images of one size has positions that "
            "can be fixed; leave it out"
        )
    if backbone.pos_embed is None:
        raise UserError("fixed_positions: this backbone adds no positions; leave it out")
    places = tokens.positions(backbone.embed_dim)
    with torch.no_grad():
        backbone.pos_embed.zero_()
        backbone.pos_embed[:, -tokens.count :] = places
    backbone.pos_embed.requires_grad_(False)


def token_grid(backbone: VisionTransformer) -> TokenGrid | None:
    """What a vision transformer's tokens stand for; None where images may have any size."""
    embed: Any = backbone.patch_embed
    if isinstance(embed, TubeletEmbed):
        return embed.tokens
    if embed.grid_size is None or backbone.dynamic_img_size:
        return None
    rows, columns = embed.grid_size
    return TokenGrid((1, rows, columns), (1, *embed.patch_size), backbone.in_chans)


@register_model
def video_vit_tiny(pretrained: bool = False, **kwargs: Any) -> VideoTransformer:
    """12 layers of 192 components, 3 heads; 16 frames of 128 pixels in tubelets of 8 x 16 x 16."""
    return _of_size(pretrained, kwargs, embed_dim=192, num_heads=3)


@register_model
def video_vit_small(pretrained: bool = False, **kwargs: Any) -> VideoTransformer:
    """The same with 384 components and 6 heads."""
    return _of_size(pretrained, kwargs, embed_dim=384, num_heads=6)


def _of_size(pretrained: bool, given: dict[str, Any], **size: int) -> VideoTransformer:
    """Without a classifier, unless one is asked for."""
    classes = {"num_classes": given.get("num_classes", 0)}
    return VideoTransformer(**size | own_arguments(pretrained, given) | classes)
