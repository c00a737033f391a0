"""What comes of one source file: it is decoded into the store, or it is said why not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nlbs.errors import ImageError
from nlbs.manifests.kinds import KINDS, united_kind
from nlbs.paths import AnyPath
from nlbs.preprocess.formats.image_errors import OtherKindError
from nlbs.preprocess.images.decode import DecodedImage, DecodeOptions
from nlbs.preprocess.images.header_conditions import settled
from nlbs.preprocess.images.kind import other_kind
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.fetch import fetched
from nlbs.preprocess.root.sources import Source
from nlbs.stores import store_of

Decoder = Callable[[Path, DecodeOptions], DecodedImage]

_LONGEST_DETAIL = 500  #: characters of what a decoder says, kept in sources.csv


@dataclass(frozen=True, slots=True)  # of a million images the command holds one each
class Outcome:
    """What came of one source."""

    source: Source
    status: str = "ok"
    reason: str = ""  #: a sentence that names no patient
    detail: str = ""  #: what else is known, perhaps with text from the file
    record: Mapping[str, Any] | None = None  #: of the stored image
    stamp: str = ""  #: size and time of the file that was decoded
    decoded: bool = False  #: in this run, and not an earlier one
    patches: int = 0  #: that the image gives, where they were counted
    from_header: tuple[str, ...] = ()  #: conditions that the DICOM header gave
    disagrees: bool = False  #: table and header state different things
    kind: str = ""  #: of nlbs.manifests.kinds; empty where neither table nor a header that was read says it

    @property
    def is_failure(self) -> bool:
        """Whether an image was lost; a second row of the same image is no loss, nor one of a kind not asked for."""
        return self.status not in ("ok", "duplicate", "not_reached", "disagreement", "other_kind")


def decode_into_store(source: Source, store: ImageStore, options: DecodeOptions, decode: Decoder) -> Outcome:
    """Decode one file and stores the image; an ImageError becomes an outcome."""
    if source.path is None:
        raise AssertionError("a source without a path has nothing to decode")
    stamp = stamp_of(source.path)
    if source.row.kind == "standard":  # the films of a dataset, which their files call captures
        options = replace(options, kinds=(*options.kinds, "secondary_capture"))
    try:
        with fetched(source.path) as path:
            image = decode(path, options)
    except OtherKindError as error:
        return Outcome(source, error.status, str(error), decoded=True, kind=error.kind)
    except ImageError as error:
        return _failed(source, error)
    except MemoryError:
        return Outcome(
            source, "out_of_memory", "decoding needs more memory than a worker may have", decoded=True
        )
    if stamp_of(source.path) != stamp:
        return Outcome(
            source,
            "file_changed",
            "the file was written to while it was read: build again when it is complete",
            decoded=True,
        )
    record = store.put(source.image, image.pixels, {**image.record, "notes": list(image.notes)})
    return succeeded(source, record, stamp, decoded=True)


def _failed(source: Source, error: ImageError) -> Outcome:
    cause, nearest = error.__cause__, source.row.nearest
    said = [f"{type(cause).__name__}: {cause}"[:_LONGEST_DETAIL]] if cause is not None else []
    reason = str(error)
    if error.status == "missing_file" and nearest is not None:
        reason += "; one of nearly that name is there, which sources.csv names"
        said.append(f"nearly that name: {nearest!r}"[:_LONGEST_DETAIL])
    return Outcome(source, error.status, reason, "; ".join((*source.row.details, *said)), decoded=True)


def planned_outcome(source: Source, store: ImageStore, stamps: dict[str, str]) -> Outcome:
    """Return what is to stand in sources.csv of a source before it is decoded: the stamp of the file as it is now.

    An image that is in the store keeps the stamp of the file that it was decoded from.
    """
    stamp = "" if source.path is None else stamp_of(source.path)
    decoded_from = (
        stamps.get(source.image, "") if source.image and (store.path / source.image).exists() else ""
    )
    return Outcome(source, "not_reached", detail="; ".join(source.row.details), stamp=decoded_from or stamp)


def known_outcome(
    source: Source, store: ImageStore, stamps: dict[str, str], kinds: tuple[str, ...] = tuple(KINDS)
) -> Outcome | None:
    """Return what is known of a source without opening its file; None where it has to be decoded.

    Args:
        source: a row of the table.
        store: the images decoded so far.
        stamps: image id -> stamp of the file that the store's image was decoded from.
        kinds: those that are asked for; what the table calls another one is not opened.
    """
    stated = source.row.kind
    if source.path is None:
        detail = "; ".join(source.row.details)
        return Outcome(source, source.status, source.problem or "", detail, kind=stated or "")
    if stated not in (None, "standard", *kinds):
        return Outcome(source, "other_kind", str(other_kind(str(stated), "table")), kind=str(stated))
    record, stamp = store.record(source.image), stamp_of(source.path)
    noted = stamps.get(source.image, stamp)
    # Another stamp is another file. A file that is gone since has been decoded all the same.
    if record is None or stamp not in (noted, ""):
        return None
    outcome = succeeded(source, record, noted, decoded=False)
    # An image of an earlier release's store says nothing of its kind, and stays.
    if outcome.kind in kinds or "header_kind" not in record:
        return outcome
    return Outcome(source, "other_kind", str(other_kind(outcome.kind, "header")), kind=outcome.kind)


def succeeded(source: Source, record: dict[str, Any], stamp: str, decoded: bool) -> Outcome:
    """Return the outcome of a source whose image is in the store."""
    return Outcome(
        source,
        reason="; ".join((*source.row.notes, *record.get("notes", ()))),
        detail="; ".join(source.row.details),
        record=record,
        stamp=stamp,
        decoded=decoded,
        kind=united_kind(source.row.kind, record.get("header_kind")),
    )


def with_header(outcome: Outcome, disagree: str) -> Outcome:
    """Return an outcome with what the DICOM header adds to the table, and a remark where the two disagree.

    Args:
        outcome: of a source whose image is in the store; any other is given back as it is.
        disagree: "csv" or "tag": which of the two counts; "drop": neither, the image is left out. "error" is
            for the caller, who knows all of them.
    """
    if outcome.status != "ok" or outcome.record is None:
        return outcome
    row = outcome.source.row
    put = settled(outcome.record, row.conditions, "header" if disagree == "tag" else "table")
    known = _filled(outcome.reason, put.from_header)
    reason = "; ".join((*([known] if known else []), *put.disagreements, *put.remarks))
    source = replace(outcome.source, row=replace(row, conditions=put.conditions))
    dropped = disagree == "drop" and bool(put.disagreements)
    return replace(
        outcome,
        source=source,
        reason="; ".join(put.disagreements).replace(", which counts,", "") if dropped else reason,
        status="disagreement" if dropped else "ok",
        from_header=put.from_header,
        disagrees=bool(put.disagreements),
    )


def _filled(reason: str, names: tuple[str, ...]) -> str:
    for name in names:
        reason = reason.replace(f"{name} is kept as unknown:", f"{name} is taken from the DICOM header:")
    return reason


def stamp_of(path: AnyPath) -> str:
    """Return what tells a file from an earlier one of its name; empty where there is none.

    Size and modification time; of an object, size and tag.
    """
    try:
        return store_of(path).stamp(path)
    except (OSError, ValueError):
        return ""
