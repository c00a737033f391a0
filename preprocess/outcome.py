"""What comes of one source file: it is decoded into the store, or it is said why not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlbs.errors import ImageError
from nlbs.paths import AnyPath
from nlbs.preprocess.decode import DecodedImage, DecodeOptions
from nlbs.preprocess.fetch import fetched
from nlbs.preprocess.sources import Source
from nlbs.preprocess.stated import disagreements
from nlbs.preprocess.store import ImageStore
from nlbs.remote import RemotePath

#: Turns a file into an image: :func:`nlbs.preprocess.decode.decode_image`.
Decoder = Callable[[Path, DecodeOptions], DecodedImage]


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

    @property
    def is_failure(self) -> bool:
        """Whether an image was lost; a second row of the same image is no loss."""
        return self.status not in ("ok", "duplicate", "not_reached")


def decode_into_store(source: Source, store: ImageStore, options: DecodeOptions, decode: Decoder) -> Outcome:
    """Decodes one file and stores the image; an ImageError becomes an outcome."""
    if source.path is None:
        raise AssertionError("a source without a path has nothing to decode")
    stamp = stamp_of(source.path)
    try:
        with fetched(source.path) as path:
            image = decode(path, options)
    except ImageError as error:
        cause = error.__cause__
        detail = f"{type(cause).__name__}: {cause}" if cause is not None else ""
        return Outcome(source, error.status, str(error), detail, decoded=True)
    except MemoryError:
        return Outcome(
            source, "out_of_memory", "decoding needs more memory than a worker may have", decoded=True
        )
    record = store.put(source.image, image.pixels, {**image.record, "notes": list(image.notes)})
    return succeeded(source, record, stamp, decoded=True)


def known_outcome(source: Source, store: ImageStore, stamps: dict[str, str]) -> Outcome | None:
    """Gives what is known of a source without opening its file; None where it has to be decoded.

    Args:
        source: a row of the table.
        store: the images decoded so far.
        stamps: image id -> stamp of the file that the store's image was decoded from.
    """
    if source.path is None:
        return Outcome(source, source.status, source.problem or "")
    record, stamp = store.record(source.image), stamp_of(source.path)
    noted = stamps.get(source.image, stamp)
    # Another stamp is another file. A file that is gone since has been decoded all the same.
    if record is not None and stamp in (noted, ""):
        return succeeded(source, record, noted, decoded=False)
    return None


def succeeded(source: Source, record: dict[str, Any], stamp: str, decoded: bool) -> Outcome:
    """Gives the outcome of a source whose image is in the store."""
    return Outcome(
        source,
        reason="; ".join(
            (*source.row.notes, *disagreements(record, source.row.conditions), *record.get("notes", ()))
        ),
        detail="; ".join(source.row.details),
        record=record,
        stamp=stamp,
        decoded=decoded,
    )


def stamp_of(path: AnyPath) -> str:
    """Gives what tells a file from an earlier one of its name; empty where there is none.

    Size and modification time; of an object, size and tag.
    """
    try:
        if isinstance(path, RemotePath):
            found = path.stat()
            return f"{found.st_size}:{found.etag}"
        status = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"
