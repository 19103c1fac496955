"""Sine gratings, still or drifting: the stimuli of low-level probes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from blocklearn.seeding import keyed_generator

LOWEST_CONTRAST = 0.1
PIXELS, FRAMES = 4, 4  # of a cycle of the highest frequencies in space and time, twice Nyquist's


@dataclass(frozen=True)
class Gratings:
    """N gratings. Luminance at place `u` along the wave vector, from the middle of the image, and
    at time `t`, both from edge to edge 1, is `(1 + contrast cos(2 pi (f u - w t) + phase)) / 2`.

    Attributes:
        orientation: `(N,)` of the wave vector, in degrees from the rows' direction towards the
            columns', 0 to 180.
        spatial_frequency: `(N,)` f, in cycles per image.
        temporal_frequency: `(N,)` w, in cycles per clip; 0 where they stand still.
        contrast: `(N,)` Michelson's, 0 to 1.
        phase: `(N,)` in the middle of the first frame, in degrees, 0 to 360.
    """

    orientation: Tensor
    spatial_frequency: Tensor
    temporal_frequency: Tensor
    contrast: Tensor
    phase: Tensor

    @classmethod
    def draw(cls, count: int, size: int, frames: int, seed: int) -> Self:
        """Each attribute independently of the others: orientation, phase, contrast (from 0.1 to
        1) and temporal frequency (from 0 to a cycle of 4 frames) uniformly, spatial frequency (from
        a cycle an image to a cycle of 4 pixels) uniformly in its logarithm.

        Args:
            count: of gratings.
            size: of an image in pixels, above 4.
            frames: of a clip; 1 for images, whose gratings stand still.
            seed: of the drawing.
        """
        generator = keyed_generator("cpu", seed)
        shares = torch.rand(5, count, generator=generator, dtype=torch.float64)
        return cls(
            orientation=180 * shares[0],
            spatial_frequency=(size / PIXELS) ** shares[1],
            temporal_frequency=shares[2] * (frames / FRAMES if frames > 1 else 0),
            contrast=LOWEST_CONTRAST + (1 - LOWEST_CONTRAST) * shares[3],
            phase=360 * shares[4],
        )

    def __len__(self) -> int:
        return len(self.phase)

    def at(self, places: slice) -> Self:
        """Some of them."""
        return type(self)(*(getattr(self, field.name)[places] for field in fields(self)))

    def luminance(self, size: int, frames: int) -> Tensor:
        """`(N, frames, size, size)` in [0, 1]."""
        place = (torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5
        turn = torch.deg2rad(self.orientation)[:, None, None, None]
        along = place * turn.cos() + place[:, None] * turn.sin()
        time = torch.arange(frames, dtype=torch.float64)[:, None, None] / frames
        space, speed, contrast = (
            values[:, None, None, None]
            for values in (self.spatial_frequency, self.temporal_frequency, self.contrast)
        )
        begin = torch.deg2rad(self.phase)[:, None, None, None]
        wave = (2 * math.pi * (space * along - speed * time) + begin).cos()
        return ((1 + contrast * wave) / 2).float()

    def targets(self) -> Mapping[str, Tensor]:
        """What is to be told from features, by attribute: `(N, 2)`, cosine and sine, where it
        comes round (orientation after 180 degrees, phase after 360), `(N, 1)` elsewhere; spatial
        frequency as its logarithm. Attributes that do not vary are left out."""
        targets = {
            "orientation": _circle(2 * self.orientation),
            "spatial_frequency": self.spatial_frequency.log2()[:, None],
            "temporal_frequency": self.temporal_frequency[:, None],
            "contrast": self.contrast[:, None],
            "phase": _circle(self.phase),
        }
        return {
            name: target for name, target in targets.items() if bool((target != target[0]).any())
        }

    def told(self, number: int) -> str:
        """One of them in words."""
        drift = float(self.temporal_frequency[number])
        return (
            f"{self.orientation[number]:.0f}°, {self.spatial_frequency[number]:.1f} cycles"
            + (f", {drift:.1f} a clip" if drift else "")
            + f"\ncontrast {self.contrast[number]:.2f}, phase {self.phase[number]:.0f}°"
        )


def _circle(degrees: Tensor) -> Tensor:
    turn = torch.deg2rad(degrees)
    return torch.stack([turn.cos(), turn.sin()], dim=1)
