"""Sections of the report that images.csv tells: what was read, equal images, masks, brightness, signs of damage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

from nlbs.errors import NlbsError
from nlbs.manifests.kinds import KINDS
from nlbs.paths import AnyPath
from nlbs.pictures import picture_uri
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.report.outliers import DAMAGE, INTENSITY, LEAST_IMAGES, outliers
from nlbs.preprocess.report.preview import drawn_image
from nlbs.preprocess.report.survey import Survey
from nlbs.shards.format.layout import IMAGES_CSV, STORE
from nlbs.text import counted

#: Status -> what to do. "ok" asks for nothing.
REMEDIES = {
    "bad_row": "mend that row of the table, as its reason says",
    "disagreement": "mend the table or the header, or choose with --disagree csv or tag",
    "duplicate": "nothing: the earlier row of the same file counts",
    "unsafe_path": "give the folder of the images with --images, and paths inside it",
    "missing_file": "check --images and the paths; download what was not downloaded",
    "not_dicom": "the reason says what lies there: download it again, unpack or convert it",
    "other_kind": "nothing, where standard views are wanted; else --kinds all, or the kinds that are",
    "unsupported": "convert the file to a single grey image of up to 16 bits; --frame takes one of several",
    "bad_header": "get the file again from where it came, or mend the element that the reason names",
    "no_pixels": "the file holds no image: take its row out of the table",
    "truncated": "download or copy the file again",
    "decode_failed": "download the file again; else try --decoder pylibjpeg, or convert it with gdcmconv --raw",
    "no_breast": "look at the image: without a breast, take its row out of the table; --foreground is for others",
    "no_foreground": "look at the image: where it is as it should be, choose another --foreground",
    "out_of_memory": "use fewer --jobs, or take the row out where its image is larger than any detector's",
    "timeout": "give more time with --file-timeout; if it fails again, convert the file",
    "codec_crash": "convert the file with another program, for example gdcmconv --raw",
    "file_changed": "build again once nothing writes to the file",
    "not_reached": "mend what failed before it, or allow more with --max-failures, and build again",
}


_WIDTH, _HEIGHT, _FOOT = 320, 110, 16  # pixels of a chart; the foot holds the axis' labels


def histogram_svg(counts: Sequence[int], low: str, high: str, label: str) -> Markup:
    """Return a bar chart: one bar per count, the ends of the axis labelled, the height relative to the largest.

    Args:
        counts: of equal bins from left to right.
        low, high: what stands under the first and the last bin.
        label: what the chart shows, for readers who hear it.
    """
    top, width = max(max(counts, default=0), 1), _WIDTH / max(1, len(counts))
    bars = "".join(
        f'<rect x="{number * width:.1f}" y="{_HEIGHT - height:.1f}" width="{max(0.5, width - 0.6):.1f}" '
        f'height="{height:.1f}"/>'
        for number, height in enumerate(_HEIGHT * count / top for count in counts)
        if height
    )
    return Markup(  # noqa: S704  # numbers of ours, and texts escaped
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {_WIDTH} {_HEIGHT + _FOOT}" '
        f'width="{_WIDTH}" height="{_HEIGHT + _FOOT}">{bars}'
        f'<line x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}"/>'
        f'<text x="0" y="{_HEIGHT + 13}">{escape(low)}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 13}" text-anchor="end">{escape(high)}</text></svg>'
    )


MOST_LISTED = 100  #: rows of any list; how many more there are is said

_EXTREMES = 3  #: images shown from each end of a figure
_BINS = 64
#: Which end of which figure of a mask is worth a look, and in what words; -1 is the high end.
_ENDS = (
    ("mask_fraction", "smallest share of foreground", 1),
    ("mask_fraction", "largest share of foreground", -1),
    ("mask_raggedness", "most ragged outline", -1),
)
_LEVELS = {"breast_p1": "darkest 1 %", "breast_median": "median", "breast_p99": "brightest 1 %"}


@dataclass(frozen=True)
class Listing:
    """A list that is cut off where it is long."""

    rows: Sequence[Any]
    left: int  #: how many more there are


@dataclass(frozen=True)
class Shown:
    """A picture with the words below it."""

    uri: Markup
    caption: str


class ImageSections:
    """The sections, made in the order in which the pictures are shared out."""

    def __init__(
        self, found: Survey, root: AnyPath, pictures: int, sections: Mapping[str, list[str]]
    ) -> None:
        """Take what images.csv says, how many pictures of images may be drawn, and the two lists of sentences."""
        self.found, self.pictures = found, pictures
        self.store = ImageStore(root / STORE) if (root / STORE).is_dir() else None
        self.left_out, self.attention = sections["left_out"], sections["attention"]

    def all(self) -> dict[str, Any]:
        """Return each section by its name in the template; None where it is left out."""
        return {
            "read": self.read(),
            "duplicates": self.duplicates(),
            "damage": self.damage(),
            "masks": self.masks(),
            "intensities": self.intensities(),
        }

    def read(self) -> dict[str, Any]:
        """Return what became of every row: counts, the rows without an image, remarks by kind."""
        found = self.found
        skipped = found.rows - found.statuses["ok"]
        remarks = [(kind, count, found.examples[kind]) for kind, count in found.remarks.most_common()]
        disagree = [remark for remark in remarks if "DICOM header" in remark[0]]
        if skipped:
            self.attention.append(f"{counted(skipped, 'row')} without an image")
        if disagree:
            self.attention.append(
                f"{counted(sum(d[1] for d in disagree), 'disagreement')} of table and header"
            )
        return {
            "rows": found.rows,
            "statuses": found.statuses.most_common(),
            "remedies": [
                (status, REMEDIES[status]) for status, _ in found.statuses.most_common() if status in REMEDIES
            ],
            "kinds": [
                (kind, KINDS.get(kind, ""), counts["used"], counts["left out"])
                for kind, counts in sorted(found.kinds.items())
            ],
            "skipped": _listing(found.skipped, skipped),
            "remarked": found.remarked,
            "remarks": _listing([remark for remark in remarks if remark not in disagree]),
            "disagreements": _listing(disagree),
            "from_header": found.counted["from_header"].most_common(MOST_LISTED)
            if "from_header" in found.counted
            else None,
        }

    def duplicates(self) -> dict[str, Any] | None:
        """Return the groups of images with equal pixels."""
        groups = self.found.duplicates()
        if groups is None:
            self.left_out.append(
                f"{IMAGES_CSV} is of an earlier release, without checksums of pixels: run build-shards again to see "
                "equal images."
            )
            return None
        across, leaks = sum(group.across_patients for group in groups), sum(group.is_leak for group in groups)
        if groups:
            self.attention.append(
                f"{counted(len(groups), 'picture')} held by several images, {across:,} under several patients, "
                f"{leaks:,} in several splits"
            )
        return {"groups": _listing(groups), "across": across, "leaks": leaks}

    def damage(self) -> dict[str, Any] | None:
        """Return the images whose pixels look like a damaged stream."""
        figures = self.found.figures()
        known = max((int(np.isfinite(figures[name]).sum()) for name in DAMAGE if name in figures), default=0)
        if known < LEAST_IMAGES:
            self.left_out.append(
                f"Signs of damaged pixels are known of {counted(known, 'image')}; it takes {LEAST_IMAGES} to tell "
                "what is usual."
            )
            return None
        odd = outliers(figures, DAMAGE)
        if odd:
            self.attention.append(f"{counted(len(odd), 'image')} with pixels that look damaged")
        return {"known": known, "images": self._listed(odd), "shown": self._shown(odd)}

    def masks(self) -> dict[str, Any] | None:
        """Return the masks that are flagged, and the extremes, flagged or not."""
        figures, images = self.found.figures(), self.found.images
        if "mask_fraction" not in figures or images.empty:
            return None
        why: dict[int, str] = {}
        if "mask_flags" in images.columns:
            flags = images["mask_flags"].astype(str).to_numpy()
            why = {int(place): f"flagged: {flags[place]}" for place in np.flatnonzero(flags != "")}
        if why:
            self.attention.append(f"{counted(len(why), 'mask')} of unusual size or shape")
        flagged, worth = self._listed(why), dict(why)
        for name, words, sign in _ENDS:
            for place in _ends(figures.get(name), sign):
                words_here = f"{words}: {figures[name][place]:.3g}"
                worth[place] = f"{worth[place]}; {words_here}" if place in worth else words_here
        svg = _histogram(figures["mask_fraction"], "share of the image inside the foreground")
        return {"flagged": flagged, "shown": self._shown(worth), "histogram": svg}

    def intensities(self) -> dict[str, Any] | None:
        """Return how bright the images are inside the foreground, and the odd ones."""
        figures = self.found.figures()
        charts = [
            (words, _histogram(figures[name], words)) for name, words in _LEVELS.items() if name in figures
        ]
        if not charts:
            return None
        odd = outliers(figures, INTENSITY)
        if odd:
            self.attention.append(f"{counted(len(odd), 'image')} of unusual brightness")
        return {"charts": charts, "images": self._listed(odd), "shown": self._shown(odd)}

    def _listed(self, why: Mapping[int, str]) -> Listing:
        names = self.found.images["image"]
        some = list(why.items())[:MOST_LISTED]
        return Listing([(names[place], text) for place, text in some], len(why) - len(some))

    def _shown(self, why: Mapping[int, str]) -> list[Shown]:
        """Draw images, as many as are left of those that may be drawn."""
        shown: list[Shown] = []
        if self.store is None:
            return shown
        for place, text in list(why.items())[: self.pictures]:
            image = str(self.found.images["image"][place])
            try:
                uri = self._picture(self.store, image)
            except NlbsError:
                self.left_out.append(f"The picture of {image} is left out: its pixels cannot be read.")
                continue
            shown.append(Shown(uri, f"{image}: {text}"))
        self.pictures -= len(shown)
        return shown

    def _picture(self, store: ImageStore, image: str) -> Markup:
        """Return the address of the picture of an image. Raises NlbsError: its pixels cannot be read."""
        return picture_uri(drawn_image(store, image, [], 0))


def _listing(rows: Sequence[Any], count: int | None = None) -> Listing:
    some = rows[:MOST_LISTED]
    return Listing(some, (len(rows) if count is None else count) - len(some))


def _ends(values: npt.NDArray[np.float64] | None, sign: int) -> list[int]:
    """Return the places of the lowest values (sign 1) or the highest (-1), NaN never."""
    if values is None:
        return []
    order = np.argsort(sign * values, kind="stable")  # NaN comes last
    return [int(place) for place in order[:_EXTREMES] if np.isfinite(values[place])]


def _histogram(values: npt.NDArray[np.float64], label: str) -> Markup:
    counts, _ = np.histogram(values[np.isfinite(values)], bins=_BINS, range=(0.0, 1.0))
    return histogram_svg(counts.tolist(), "0", "1", label)
