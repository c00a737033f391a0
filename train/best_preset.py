"""The preset ``auto``: the best generator of docs/zoo.md that the patches and the device allow."""

from typing import NamedTuple

AUTO, SMALL, LARGE = "auto", "latent-diffusion-small", "latent-diffusion"
#: Pixels an edge: smaller patches have too few places on the maps of the large one.
_LEAST_OF_LARGE, _MOST, _MOST_OF_SMALL = 128, 256, 64


class Choice(NamedTuple):
    """A preset and the size that it is trained at, and why, in words."""

    preset: str
    resolution: int
    words: str


def best_preset(resolution: int, has_gpu: bool) -> Choice:
    """Return what ``auto`` means for patches of so many pixels an edge.

    Args:
        resolution: of the shard set.
        has_gpu: whether it will be trained on one.
    """
    if resolution >= _LEAST_OF_LARGE and has_gpu:
        size = min(resolution, _MOST) // 32 * 32
        return Choice(LARGE, size, f"the best generator here, at {size} x {size}, for a GPU")
    size = min(resolution, _MOST_OF_SMALL)
    words = f"the best generator here, at {size} x {size}, in minutes of a processor"
    if resolution >= _LEAST_OF_LARGE:
        words += f"; --preset {LARGE} learns {_MOST} x {_MOST}, in about two hours of two cores"
    return Choice(SMALL, size, words)
