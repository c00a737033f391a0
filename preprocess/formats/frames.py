"""One frame of a multi-frame file: which it is, and what its functional groups say (PS3.3 C.7.6.16)."""

from typing import Any

import pydicom
from pydicom.multival import MultiValue

from nlbs.errors import ConfigError
from nlbs.preprocess.formats.header import element, whole_number, whole_of
from nlbs.preprocess.formats.image_errors import BadHeaderError, UnsupportedImageError

#: Sequence of a functional group -> keyword in its item -> keyword that single-frame images have it under.
_GROUPS = {
    "PixelMeasuresSequence": {"PixelSpacing": "PixelSpacing"},
    "PixelValueTransformationSequence": {
        "RescaleIntercept": "RescaleIntercept",
        "RescaleSlope": "RescaleSlope",
        "RescaleType": "RescaleType",
    },
    "FrameVOILUTSequence": {
        "WindowCenter": "WindowCenter",
        "WindowWidth": "WindowWidth",
        "VOILUTFunction": "VOILUTFunction",
    },
    "FrameAnatomySequence": {"FrameLaterality": "ImageLaterality"},
}


def parse_frame(text: str | None) -> int | str | None:
    """Return what ``--frame`` asks for: a number from 1, "middle", or None.

    Raises:
        ConfigError: it is neither.
    """
    if text is None or text == "middle":
        return text
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ConfigError(f"--frame {text}: expected a number from 1, or middle")
    return int(text)


def chosen_frame(frames: int, asked: int | str | None) -> int:
    """Return the number of the frame to take, from 1.

    Args:
        frames: how many the file has.
        asked: a number, "middle" (the lower one of two), or None: only a single image will do.

    Raises:
        UnsupportedImageError: the file has other frames than that.
    """
    if frames < 1:
        raise UnsupportedImageError(f"{frames} frames, expected at least one")
    if asked is None and frames > 1:
        raise UnsupportedImageError(
            f"{frames} frames, expected a single image: --frame middle, or --frame with a number, takes one of them"
        )
    names: dict[int | str | None, int] = {None: 1, "middle": (frames + 1) // 2}
    number = names.get(asked, asked)
    if not isinstance(number, int) or not 1 <= number <= frames:
        raise UnsupportedImageError(f"frame {asked} is asked for, the file has {frames}")
    return number


def flatten_groups(dataset: pydicom.Dataset, frame: int, frames: int) -> None:
    """Put what the functional groups say of one frame where single-frame images have it.

    Args:
        dataset: changed in place.
        frame: its number, from 1.
        frames: how many there are.

    Raises:
        BadHeaderError: there are groups per frame, and not one for each.
    """
    own = element(dataset, "PerFrameFunctionalGroupsSequence")
    if own and len(own) != frames:
        raise BadHeaderError(
            f"Per-Frame Functional Groups (5200,9230) has {len(own)} items, NumberOfFrames says {frames}"
        )
    shared = element(dataset, "SharedFunctionalGroupsSequence")
    # What stands with the frame goes over what all share.
    for item in ([shared[0]] if shared else []) + ([own[frame - 1]] if own else []):
        for sequence, keywords in _GROUPS.items():
            group: Any = element(item, sequence)
            for inner, outer in keywords.items() if group else ():
                value = element(group[0], inner)
                if value is not None:
                    setattr(dataset, outer, value)


def number_of_frames(dataset: pydicom.Dataset) -> tuple[int, tuple[str, ...]]:
    """Return how many frames the file has, 1 where it does not say or says 0, and a remark on what it says.

    Raises:
        BadHeaderError: it is no number.
    """
    stated = element(dataset, "NumberOfFrames")
    if isinstance(stated, MultiValue) and len(set(stated)) == 1:
        return whole_of(stated[0], "NumberOfFrames"), ("NumberOfFrames is stated more than once",)
    number = whole_number(dataset, "NumberOfFrames", 1)
    if number == 0:  # as pydicom takes it; what there is of more than one is remarked with the pixels
        return 1, ("NumberOfFrames is 0, it is taken as 1",)
    return number, ()
