"""What a network is told of a training patch that was changed in shape (:mod:`nlbs.train.data.distort`)."""

from collections.abc import Mapping

from torch import Tensor, nn

#: Octaves of size, an angle in radians, octaves of stretch by cosine and sine of twice the angle along which, and how
#: far it was moved along x and y, in half edges. All 0: it is as it was.
DISTORTIONS = 6
#: Stands beside the conditions of a batch that has distorted patches, (B, DISTORTIONS) floats. No column is called so.
TOLD = "(distorted)"
_AS_ONE = 10.0  #: brings them to about 1


class DistortionEncoder(nn.Module):
    """W d, without a bias: nothing is added of what is as it was, and so of what is drawn."""

    def __init__(self, embed_dim: int) -> None:
        """Make an encoder with fresh weights."""
        super().__init__()
        self.linear = nn.Linear(DISTORTIONS, embed_dim, bias=False)

    def forward(self, embedding: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """Return an embedding (B, D) with what is told beside the conditions, if anything is."""
        if TOLD not in conditions:
            return embedding
        found: Tensor = embedding + self.linear(_AS_ONE * conditions[TOLD].to(embedding.dtype))
        return found
