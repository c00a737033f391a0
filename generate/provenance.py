"""Where synthetic patches come from: what every file of them says, and by which an interrupted call is known again."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nlbs.errors import CheckpointError
from nlbs.system_calls import open_regular
from nlbs.text import printable

SOFTWARE = "NLBS-CVAE"
_DIGESTS = ("codes", "request")  #: of a record, which tell a person nothing


@dataclass(frozen=True)
class Provenance:
    """What made synthetic patches."""

    model: str  #: id of the checkpoint, see :func:`model_id`
    resolution: int  #: edge of a patch in pixels
    seed: int
    sampler: str  #: in words
    conditions: str  #: in words, where they come from
    recipe: str = "draw"  #: the command of nlbs-generate
    device: str = "cpu"  #: kind of device: another one may round otherwise
    fitted: str = ""  #: ids of the files beside the checkpoint that it draws with
    of_patients: bool = False  #: from latents of real patches: a likeness of a patient, not a patch of nobody

    def text(self) -> dict[str, str]:
        """Return what the metadata of a picture says."""
        return {
            "Synthetic": "yes",
            "Software": SOFTWARE,
            "Model": self.model,
            "Sampler": self.sampler,
            "Conditions From": self.conditions,
            "Recipe": self.recipe,
        }

    def record(self, **asked: Any) -> dict[str, Any]:
        """Return what a folder of patches says of itself.

        Args:
            asked: whatever else the patches depend on, as JSON values.

        Returns:
            JSON values; ``request`` is 32 hexadecimal digits: equal ones mean equal files.
        """
        values = {"synthetic": True, "software": SOFTWARE, **asdict(self), **asked}
        text = json.dumps(values, sort_keys=True, allow_nan=False)
        return {**values, "request": hashlib.sha256(text.encode()).hexdigest()[:32]}


def model_id(checkpoint: Path) -> str:
    """Return the first 16 digits of the SHA-256 of a checkpoint file.

    Raises:
        CheckpointError: it is no file that can be read.
    """
    try:
        descriptor = open_regular(checkpoint)
    except OSError as error:
        raise CheckpointError(
            f"cannot read {checkpoint} ({error.strerror}): remove it, or fit it again"
        ) from None
    with open(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def fitted_ids(files: Iterable[Path]) -> str:
    """Return the ids of files that are fitted to a checkpoint: "flow 0a1b..., grain 2c3d..."."""
    return ", ".join(f"{file.name.split('.')[-2]} {model_id(file)}" for file in files)


def in_short(record: Mapping[str, Any]) -> str:
    """Return in a few words what a folder of patches holds."""
    patches, recipe, model, seed = (
        printable(str(record.get(name, "?")), 60) for name in ("patches", "recipe", "model", "seed")
    )
    return f"{patches} patches by {recipe} of model {model}, seed {seed}"


def differences(found: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Return in words what two records of folders do not have in common: "patches: 16 there, 32 asked for"."""
    told = [
        f"{name.replace('_', ' ')}: {printable(str(found[name]), 120)} there, {value} asked for"
        for name, value in asked.items()
        if name in found
        and isinstance(value, str | int | float)
        and found[name] != value
        and name not in _DIGESTS
    ]
    # The codes depend on the number of patches, so they say something only where that is the same.
    if not told and any(found.get(name) != asked.get(name) for name in _DIGESTS):
        told = ["other conditions for some patches"]
    return "; ".join(told) or "other settings"
