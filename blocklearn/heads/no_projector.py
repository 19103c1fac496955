"""No projector: a criterion on the pooled features themselves."""

from torch import nn

from blocklearn.heads.projector import Projector


class NoProjector(Projector):
    """Hands the pooled vector on as it is: `(B, in_features)` to the same. It has no weights.

    Args:
        in_features: width of the pooled feature.
    """

    def __init__(self, in_features: int) -> None:
        nn.Sequential.__init__(self)
        self.out_features = in_features
