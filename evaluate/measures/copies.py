"""Copies of training patches among generated ones: a detector, and an audit that plants copies to prove it.

The detector compares structure, not distance: a nearest neighbour in pixels or features is mostly
decided by brightness and coarse shape, which patches of any two patients share.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import DATA_RANGE, Groups, Patches, check_patches
from nlbs.evaluate.measures.intervals import Interval, auroc_interval, share_interval

Images = npt.NDArray[np.float32]

PROVEN_SHARE = 0.95  #: of the planted copies of each kind that have to be flagged
_DETAIL_PX = 64  #: patches are reduced to about this edge before they are compared
_COARSE_PX = 16  #: edge of the images by which candidates are found
_FINE_SIGMA, _SMOOTH_SIGMA = (
    1.0,
    4.0,
)  # difference of Gaussians: structure of 3 to 25 pixels, neither noise nor shading
_COARSE_SIGMA = 3.0
_LARGEST_SHIFT_PX = 3  # of the reduced patches
#: Of the training patches, flips included, compared in detail. Of whole breasts, whose outlines are alike, the source
#: of a patch moved by 2 pixels is among the best 8 in 89 % of cases, among 64 in 99 %.
_CANDIDATES = 64
_LEAST_TRAINING = 8
#: A copy is like one patient's patches far more than those of others: than those of the third best, so that a patient
#: who is there under two names hides nothing (docs/decisions, *A copy stands out*).
_OTHERS = 2
_TIE = 1e-3  #: two that are that much alike differ by rounding
_FOLDS = 5  # of held-out patients: the threshold is checked on each by that of the others
_FAINT_LEVELS = 0.25  # rms of structure, in grey levels, below which it is rounding
_BLOCK = 512
_FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


@dataclass(frozen=True)
class Copies:
    """How much each patch is like the training patch that it is most like, and how that stands out."""

    #: (n,) 1 - (1 - a) / (1 - b), a the likeness and b that to the third best patient: 1 a copy, 0 one of many.
    scores: npt.NDArray[np.float32]
    likeness: npt.NDArray[np.float32]  #: (n,) correlation of structure at the best shift and flip, at most 1
    rows: npt.NDArray[np.intp]  #: (n,) that training patch


class CopyDetector:
    """Finds, for any patch, the training patch that it may be a copy of.

    Every patch is reduced to 64 pixels. The 64 best candidates by correlation of 16 x 16 images, over
    the four flips, are compared in detail: band-passed by a difference of Gaussians, correlated at
    every shift up to 3 pixels. Brightness, contrast, noise, small shifts and flips hardly
    change that likeness; another patient's tissue stays below (docs/decisions, *What finds a copy*), unless both show
    little but the edge of a breast, which many patients have: so what counts is how far the likeness to one stands out.
    """

    def __init__(self, train: Patches, patients: Groups | None = None) -> None:
        """Prepare the training patches.

        Args:
            train: uint8, (n, R, R), R at least 32.
            patients: (n,), whose they are; None: each of another.

        Raises:
            EvaluationError: fewer than 8 patches, below 32 pixels, or another type or shape.
        """
        train = check_patches(train, "training patches", at_least=_LEAST_TRAINING)
        if train.shape[1] < 2 * _COARSE_PX:
            raise EvaluationError(
                f"the copy audit: found patches of {train.shape[1]} pixels, expected {2 * _COARSE_PX} or more"
            )
        self._size = train.shape[1]
        self._patients = (
            np.arange(len(train)) if patients is None else np.unique(patients, return_inverse=True)[1]
        )
        parts = [_reduced(train[start : start + _BLOCK]) for start in range(0, len(train), _BLOCK)]
        self._coarse = np.concatenate([_coarse(part) for part in parts])
        self._detail = np.concatenate([_structure(part) for part in parts])

    def __call__(self, patches: Patches) -> Copies:
        """Return the score of each patch, uint8 (n, R, R) of the training patches' R.

        Raises:
            EvaluationError: another type, shape or size.
        """
        patches = check_patches(patches, at_least=0)
        if patches.shape[1] != self._size:
            raise EvaluationError(
                f"the copy audit: {patches.shape[1]} pixels against {self._size} in training"
            )
        likeness, others = (np.empty(len(patches), dtype=np.float32) for _ in range(2))
        rows = np.empty(len(patches), dtype=np.intp)
        for start in range(0, len(patches), _BLOCK):
            part = slice(start, start + _BLOCK)
            likeness[part], others[part], rows[part] = self._compare(_reduced(patches[part]))
        return Copies(1 - (1 - likeness) / (1 - others + np.float32(_TIE)), likeness, rows)

    def _compare(
        self, reduced: Images
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.intp]]:
        """Return the best likeness of each patch, that to the third best patient, and the best training row."""
        flips, rows = self._candidates(reduced)
        structure = _structure(reduced)  # every filter is symmetric: what is flipped later is the same
        detail = np.stack([structure[:, ::y, ::x] for y, x in _FLIPS])
        each = np.arange(len(reduced))
        found = np.stack(
            [
                _best_correlation(detail[flips[:, j], each], self._detail[rows[:, j]])
                for j in range(rows.shape[1])
            ]
        )
        best = found.argmax(axis=0)
        others = [
            _of_others(values, whose) for values, whose in zip(found.T, self._patients[rows], strict=True)
        ]
        return found[best, each], np.array(others, dtype=np.float32), rows[each, best]

    def _candidates(self, reduced: Images) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Return the flip and the training row of each patch's best candidates, (n, 8) each."""
        likeness = np.empty((len(reduced), 0), dtype=np.float32)
        flips = np.empty((len(reduced), 0), dtype=np.intp)
        rows = np.empty((len(reduced), 0), dtype=np.intp)
        coarse = _coarse(reduced).reshape(-1, _COARSE_PX, _COARSE_PX)
        each = min(_CANDIDATES, len(self._coarse))
        for number, (y, x) in enumerate(_FLIPS):
            match = coarse[:, ::y, ::x].reshape(len(reduced), -1) @ self._coarse.T
            best = np.argpartition(-match, each - 1, axis=1)[:, :each]
            likeness = np.hstack([likeness, np.take_along_axis(match, best, axis=1)])
            rows = np.hstack([rows, best])
            flips = np.hstack([flips, np.full_like(best, number)])
        kept = np.argsort(-likeness, axis=1, kind="stable")[:, :_CANDIDATES]
        return np.take_along_axis(flips, kept, axis=1), np.take_along_axis(rows, kept, axis=1)


def _reduced(patches: Patches) -> Images:
    """Return the means of blocks, float32, at an edge of 64 to 127 pixels that 16 divides, cut at the centre."""
    block = max(1, patches.shape[1] // _DETAIL_PX)
    size = patches.shape[1] // block // _COARSE_PX * _COARSE_PX
    start = (patches.shape[1] - size * block) // 2
    inner = patches[:, start : start + size * block, start : start + size * block]
    means = inner.reshape(len(patches), size, block, size, block).mean(axis=(2, 4), dtype=np.float32)
    return cast(Images, means)


def _coarse(reduced: Images) -> Images:
    """Return 16 x 16 images without their shading, as unit vectors (n, 256)."""
    block = reduced.shape[1] // _COARSE_PX
    small = reduced.reshape(len(reduced), _COARSE_PX, block, _COARSE_PX, block).mean(axis=(2, 4))
    small = small - ndimage.gaussian_filter(small, (0, _COARSE_SIGMA, _COARSE_SIGMA), mode="nearest")
    return _unit(small).reshape(len(reduced), -1)


def _structure(reduced: Images) -> Images:
    """Return band-passed images with mean 0 and norm 1, faded towards the edges, where shifts bring in other tissue."""
    fine = ndimage.gaussian_filter(reduced, (0, _FINE_SIGMA, _FINE_SIGMA), mode="nearest")
    smooth = ndimage.gaussian_filter(reduced, (0, _SMOOTH_SIGMA, _SMOOTH_SIGMA), mode="nearest")
    fade = np.sqrt(np.hanning(reduced.shape[1] + 2)[1:-1]).astype(np.float32)
    return _unit((fine - smooth) * fade[:, None] * fade[None, :])


def _unit(images: Images) -> Images:
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    norm = np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True))
    return cast(Images, (centred / np.maximum(norm, _FAINT_LEVELS * images.shape[1])).astype(np.float32))


def _of_others(values: npt.NDArray[np.float32], patients: npt.NDArray[np.intp]) -> float:
    """Return the best value of the third best patient, or of the last where there are fewer."""
    order = np.argsort(-values, kind="stable")
    _, first = np.unique(patients[order], return_index=True)
    each = np.sort(first)
    return float(values[order[each[min(_OTHERS, len(each) - 1)]]])


def _best_correlation(a: Images, b: Images) -> npt.NDArray[np.float32]:
    """Return the largest correlation of each pair over shifts up to 3 pixels either way, (n,)."""
    product = fft.rfft2(a) * np.conj(fft.rfft2(b))
    correlation = fft.irfft2(product, s=a.shape[1:])
    near = np.r_[-_LARGEST_SHIFT_PX : _LARGEST_SHIFT_PX + 1]
    return cast(npt.NDArray[np.float32], correlation[:, near][:, :, near].max(axis=(1, 2)))


def plant_copies(
    train: Patches, per_kind: int = 100, seed: int = 0, strength: float = 0.01
) -> dict[str, Patches]:
    """Return near-copies of training patches by kind, uint8 (per_kind, R, R) each.

    Kinds: exact; noise and blend, each of ``strength``; contrast by up to 10 % and brightness by up to
    5 % of the range; shift by 1 or 2 pixels; flip along either axis or both.

    Args:
        train: uint8, (n, R, R).
        per_kind: copies of each kind, of patches drawn at random.
        seed: of the draw.
        strength: standard deviation of the noise as a share of the range, and weight of another
            patch in a blend.

    Raises:
        EvaluationError: no patches, or another type or shape.
    """
    train = check_patches(train, "training patches")
    generator = np.random.default_rng(seed)

    def draw() -> npt.NDArray[np.float64]:
        rows = generator.integers(0, len(train), per_kind)
        return train[rows].astype(np.float64)

    source = draw()
    noisy = draw()
    noisy += generator.normal(0, strength * DATA_RANGE, noisy.shape)
    blended = (1 - strength) * draw() + strength * draw()
    jittered = draw()
    mean = jittered.mean(axis=(1, 2), keepdims=True)
    contrast = generator.uniform(0.9, 1.1, (per_kind, 1, 1))
    jittered = (
        (jittered - mean) * contrast + mean + generator.uniform(-0.05, 0.05, (per_kind, 1, 1)) * DATA_RANGE
    )
    shifted = np.stack([_shifted(patch, generator) for patch in draw()])
    flipped = np.stack([patch[::y, ::x] for patch, (y, x) in zip(draw(), _some_flips(per_kind), strict=True)])
    kinds = {
        "exact": source,
        "noise": noisy,
        "blend": blended,
        "brightness and contrast": jittered,
        "shift": shifted,
        "flip": flipped,
    }
    return {
        kind: np.clip(np.rint(patches), 0, DATA_RANGE).astype(np.uint8) for kind, patches in kinds.items()
    }


def _shifted(patch: npt.NDArray[np.float64], generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return the patch moved by 1 or 2 pixels along each axis, its edge repeated."""
    y, x = generator.choice([-2, -1, 1, 2], 2)
    padded = np.pad(patch, 2, mode="edge")
    return padded[2 - y : 2 - y + len(patch), 2 - x : 2 - x + len(patch)]


def _some_flips(count: int) -> list[tuple[int, int]]:
    return [_FLIPS[1 + i % 3] for i in range(count)]


@dataclass(frozen=True)
class CopyAudit:
    """What the detector says about generated patches, and whether it can be believed."""

    threshold: float  #: score above which a patch is flagged, see :class:`Copies`
    false_positive_rate: float  #: for which the threshold was set, on the held-out patients
    held_out_flagged: Interval  #: share of held-out patches above the threshold of the other patients
    control_auc: Interval  #: likeness of some held-out patients against the others', as if drawn; .5 is right
    generated_flagged: Interval  #: share of the generated patches
    generated_auc: (
        Interval  #: likeness of generated against held-out patches; above .5 they lie nearer to training
    )
    caught: Mapping[str, Interval]  #: share of the planted copies flagged, by kind
    flagged: npt.NDArray[np.intp]  #: generated patches that are flagged, the most alike first
    sources: npt.NDArray[np.intp]  #: the training patch of each

    @property
    def proven(self) -> bool:
        """Whether at least 95 % of the planted copies of every kind were flagged."""
        return all(share.value >= PROVEN_SHARE for share in self.caught.values())

    @property
    def verdict(self) -> str:
        """Return "not proven", "copies" or "no copies found"."""
        if not self.proven:
            return "not proven"
        expected = max(self.false_positive_rate, self.held_out_flagged.high or 0.0)
        return "copies" if (self.generated_flagged.low or 0.0) > expected else "no copies found"

    @property
    def sentence(self) -> str:
        """What a person should know about it."""
        missed = [
            f"{kind} {share.value:.0%}" for kind, share in self.caught.items() if share.value < PROVEN_SHARE
        ]
        if missed:
            return (
                f"Not proven: of planted copies only these shares were caught: {', '.join(missed)} (expected "
                f"{PROVEN_SHARE:.0%}), so that nothing flagged means nothing."
            )
        planted = sum(share.groups for share in self.caught.values())
        worst = min(share.value for share in self.caught.values())
        return (
            f"{self.generated_flagged.value:.1%} of the generated patches are flagged as copies, where "
            f"{self.false_positive_rate:.1%} of held-out real patches are; of {planted} planted copies at least "
            f"{worst:.0%} of each kind were caught: {self.verdict}."
        )


def audit_copies(
    generated: Patches,
    train: Patches,
    held_out: Patches,
    held_out_groups: Groups,
    planted: Mapping[str, Patches] | None = None,
    false_positive_rate: float = 0.01,
    seed: int = 0,
    train_groups: Groups | None = None,
) -> CopyAudit:
    """Return the share of generated patches that are copies, at a threshold set on held-out patients.

    The threshold is set on all held-out patients, and checked by fifths: on each by the threshold of the others. A
    patch is judged by itself, so the planted copies are scored beside the generated patches, however rare they would
    be among them.

    Args:
        generated: uint8, (n, R, R).
        train: uint8, (m, R, R), all training patches that the model saw.
        held_out: uint8, (k, R, R), real patches of other patients.
        held_out_groups: (k,), their patients.
        planted: kind -> copies that have to be caught; None takes those of :func:`plant_copies`. A model's
            own reconstructions of training patches make a further, harder kind.
        false_positive_rate: share of held-out patches that may be flagged.
        seed: of the planted copies and of the division of patients.
        train_groups: (m,), the patients of training patches; None: each is of another.

    Raises:
        EvaluationError: too few held-out patches or patients for the rate, other types or sizes.
    """
    check_patches(generated, "generated patches")
    folds = _folds(held_out_groups, seed)
    fewest = min(int((folds != fold).sum()) for fold in range(_FOLDS))
    needed = int(np.ceil(1 / false_positive_rate)) - 1
    if fewest < needed:
        raise EvaluationError(
            f"the copy audit: found {len(held_out)} held-out patches of {len(np.unique(held_out_groups))} patients, of "
            f"which at least {fewest} set a threshold that the others check; expected {needed} or more for a rate of "
            f"{false_positive_rate:.1%}"
        )
    detector = CopyDetector(train, train_groups)
    new = detector(held_out)
    real = new.scores
    threshold = _threshold(real, false_positive_rate)
    checked = sum(
        int((real[folds == fold] > _threshold(real[folds != fold], false_positive_rate)).sum())
        for fold in range(_FOLDS)
    )
    found = detector(generated)
    copies = plant_copies(train, seed=seed) if planted is None else planted
    flagged = np.flatnonzero(found.scores > threshold)
    flagged = flagged[np.argsort(-found.scores[flagged], kind="stable")]
    _, patients = np.unique(held_out_groups, return_inverse=True)
    both = np.concatenate([found.likeness, new.likeness])
    truth = np.repeat([1, 0], [len(generated), len(real)])
    groups = np.concatenate([np.arange(len(generated)), len(generated) + patients])
    return CopyAudit(
        threshold,
        false_positive_rate,
        share_interval(checked, len(real)),
        auroc_interval(new.likeness, folds % 2 == 1, held_out_groups, repeats=200, seed=seed),
        _share_above(found.scores, threshold),
        auroc_interval(both, truth, groups, repeats=200, seed=seed),
        {kind: _share_above(detector(patches).scores, threshold) for kind, patches in copies.items()},
        flagged,
        found.rows[flagged],
    )


def _folds(groups: Groups, seed: int) -> npt.NDArray[np.intp]:
    """Return the fold of each row, (n,): the groups in random order, dealt out."""
    names, member = np.unique(groups, return_inverse=True)
    fold = np.empty(len(names), dtype=np.intp)
    fold[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % _FOLDS
    return fold[member]


def _threshold(scores: npt.NDArray[np.float32], rate: float) -> float:
    """Return the score that another held-out patch exceeds with probability ``rate`` at most (split conformal)."""
    rank = int(np.ceil((len(scores) + 1) * (1 - rate)))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def _share_above(scores: npt.NDArray[np.float32], threshold: float) -> Interval:
    return share_interval(int((scores > threshold).sum()), len(scores))
