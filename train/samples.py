"""A page that shows what a model does: real patches, their reconstructions where it makes any, and drawn ones."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbs.manifests.conditions import word_of
from nlbs.models.contract import GenerativeModel, Reconstructs
from nlbs.models.drawing import to_uint8
from nlbs.pictures import contact_sheet

_PLACE = ("view", "laterality", "age_bin")


def sample_page(
    model: GenerativeModel, pixels: Tensor, conditions: Mapping[str, Tensor], title: str, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """Return a page with rows of the same conditions; it leaves model and random state as they were.

    Args:
        model: on the device of the pixels.
        pixels: (B, 1, R, R) in [-1, 1], the real patches of the first row.
        conditions: their codes, (B,) each.
        title: a line at the top.
        seed: of the noise of the drawn row: the same each time, so that pages can be compared.

    Returns:
        uint8, (H, W, 3) RGB.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = [
        torch.randn(len(pixels), *shape, generator=generator).to(model.device)
        for shape in model.drawing_noise
    ]
    labels = describe(conditions)
    rows, captions = [pixels], [f"real\n{label}" for label in labels]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            if isinstance(model, Reconstructs):
                rows.append(model.reconstruct(pixels, conditions))
                captions += ["reconstructed"] * len(labels)
            rows.append(model.draw(noise, conditions))
    finally:
        model.train(was_training)
    captions += [f"drawn\n{label}" for label in labels]
    # What is not a number is shown as air: a picture ends no run, its loss does.
    images = [image for row in rows for image in to_uint8(torch.nan_to_num(row, nan=-1.0))]
    return contact_sheet(images, captions, columns=len(pixels), tile_px=128, title=title)


def describe(conditions: Mapping[str, Tensor]) -> list[str]:
    """Gives each sample's known conditions in words, in two lines: "CC L 56-65", "cancer"."""
    codes = {name: code.tolist() for name, code in conditions.items()}
    labels = []
    for cancer, false_positive, *where in zip(
        *(codes[name] for name in ("cancer", "false_positive", *_PLACE)), strict=True
    ):
        place = [word_of(name, code) or "?" for name, code in zip(_PLACE, where, strict=True)]
        finding = "cancer" if cancer == 1 else "false pos." if false_positive == 1 else ""
        finding = finding or ("normal" if cancer == 0 else "?")
        labels.append(f"{' '.join(place)}\n{finding}")
    return labels
