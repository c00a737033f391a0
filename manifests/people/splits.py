"""Train, validation and test, divided by patient: a patient never stands in two of them."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping

from nlbs.errors import ConfigError

SPLITS = ("train", "val", "test")


def parse_shares(text: str) -> tuple[float, float, float]:
    """Read "80/10/10" as the fractions of train, val and test.

    Raises:
        ConfigError: not three numbers, or a sum of zero.
    """
    parts = text.split("/")
    if len(parts) != 3 or not all(re.fullmatch(r"\d+(\.\d+)?", part.strip()) for part in parts):
        raise ConfigError(f"--split {text!r} is not three shares such as 80/10/10 (train/val/test)")
    shares = [float(part) for part in parts]
    if not 0 < sum(shares) < math.inf:
        raise ConfigError(f"--split {text!r} gives nobody to any split; use for example 80/10/10")
    train, val, test = (share / sum(shares) for share in shares)
    return train, val, test


def assign_splits(
    patients: Iterable[str],
    shares: tuple[float, float, float],
    seed: int,
    known: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the split of each patient.

    A patient's place is a hash of (seed, patient), so it does not move when others are added.
    Where that leaves a wanted split empty, the patient nearest to its interval joins it from the
    largest split; with fewer patients than wanted splits, train is filled first, then val.

    Args:
        patients: who is to be divided.
        shares: of train, val and test.
        seed: chooses another division.
        known: patient -> split, of those who stand in one already and stay there, where others join a
            division that was made before: then nobody is moved.
    """
    place = {patient: _uniform(seed, patient) for patient in set(patients)}
    wanted = [split for split, share in zip(SPLITS, shares, strict=True) if share > 0][: len(place)]
    bounds = (shares[0], shares[0] + shares[1])
    result = {patient: SPLITS[sum(u >= bound for bound in bounds)] for patient, u in place.items()}
    if known is not None:
        return {patient: known.get(patient, split) for patient, split in result.items()}
    if not wanted:
        return result
    for split in wanted:
        while split not in result.values():
            members = {name: [p for p in result if result[p] == name] for name in SPLITS}
            # A split that is not wanted gives first; then the largest one.
            spare = [name for name in SPLITS if members[name] and name not in wanted] or list(SPLITS)
            donor = max(spare, key=lambda name: len(members[name]))
            low = {"train": 0.0, "val": bounds[0], "test": bounds[1]}[split]
            high = {"train": bounds[0], "val": bounds[1], "test": 1.0}[split]
            nearest = min(members[donor], key=lambda p: (max(low - place[p], place[p] - high), p))
            result[nearest] = split
    return result


def _uniform(seed: int, patient: str) -> float:
    digest = hashlib.sha256(f"nlbs split {seed} {patient}".encode(errors="backslashreplace")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
