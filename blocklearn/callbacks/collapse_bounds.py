"""Which values of which metrics mean that a block's features have collapsed."""

from typing import Literal, NamedTuple


class Bound(NamedTuple):
    """Of one metric.

    Attributes:
        side: on which side of the limit it is a collapse; `around 1`: within the limit of 1.
        limit: the last value that is sound.
        means: what is seen, in words.
        helps: what usually does.
    """

    side: Literal["above", "below", "around 1"]
    limit: float
    means: str
    helps: str

    def crossed(self, value: float) -> bool:
        """Whether it is a collapse; NaN is none."""
        if self.side == "around 1":
            return abs(value - 1) < self.limit
        return value > self.limit if self.side == "above" else value < self.limit

    def told(self) -> str:
        """What was crossed, in words."""
        if self.side == "around 1":
            return f"within {self.limit:g} of 1"
        return f"{self.side} {self.limit:g}"


SLOWER = "a lower --model.optimizer.lr or a longer warm-up"
SAME = "all samples' features are the same"

# Far from what sound runs have at any time, initial weights included.
BOUNDS = {
    "on_diag": Bound(
        "around 1",  # noise comes to lie there too, and moves
        5e-4,
        "the views' correlation is exactly 0, as with constant embeddings",
        f"{SLOWER}, milder augmentation",
    ),
    "off_diag": Bound(
        "above",
        0.9,
        "every dimension of its embeddings says the same",
        f"a larger lambd of BarlowTwins, {SLOWER}",
    ),
    "std": Bound(
        "below",
        0.03,
        "its embeddings do not vary from sample to sample",
        f"a larger variance weight of VICReg, {SLOWER}",
    ),
    "negative_similarity": Bound(
        "above",
        0.995,
        "the embeddings of different samples are the same",
        f"a larger batch or another temperature of SimCLR, {SLOWER}",
    ),
    "teacher_similarity": Bound(
        "above",
        0.9999,
        "prediction and teacher are the same, as with constant features",
        f"a momentum of BYOL nearer to 1, BatchNorm in projector and predictor, {SLOWER}",
    ),
    "output_std": Bound(
        "below",
        0.03,
        "its embeddings do not vary from sample to sample",
        f"BatchNorm in SimSiam's projector and predictor, {SLOWER}",
    ),
    "prototype_use": Bound(
        "below",
        0.02,
        "all samples fall to one prototype",
        f"fewer prototypes, a longer time in which they stand still, {SLOWER}",
    ),
    "distance_from_chance": Bound(
        "below",
        1e-4,
        "its InfoNCE loss is exactly that of guessing, ln(1 + negatives), as with constant "
        "features",
        f"{SLOWER}, more negatives",
    ),
    "rankme": Bound("below", 1.3, "its features lie on one line", SLOWER),
    "feature_std": Bound("below", 0.01, SAME, SLOWER),
    "uniformity": Bound("above", -0.001, SAME, SLOWER),
}
