"""One file becomes an image of the store, or it is said why not; what a codec may do costs that file only.

A codec may crash, hang or eat memory. A native crash kills the worker, and with it the pool, without telling which file
it was. So each worker notes the file in its hands. After a break the noted files are tried again, each alone in a
process of its own; what fails there too is the culprit.
"""

import faulthandler
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nlbs.errors import ImageError
from nlbs.manifests.kinds import united_kind
from nlbs.preprocess.formats.image_errors import OtherKindError
from nlbs.preprocess.images.decode import DecodedImage, DecodeOptions, decode_image
from nlbs.preprocess.images.grid import CutOptions, patches_of
from nlbs.preprocess.images.header_conditions import settled
from nlbs.preprocess.images.kind import other_kind
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.sources import Source, fetched, stamp_of
from nlbs.preprocess.root.tables import RECORD_KEYS
from nlbs.preprocess.workers import end_with_parent

try:
    import resource
except ImportError:  # Windows: the time of a file is limited there, its memory is not
    resource = None  # type: ignore[assignment]

Decoder = Callable[[Path, DecodeOptions], DecodedImage]

#: Seconds that one file may take, and bytes that a worker may allocate.
FILE_TIMEOUT_S, WORKER_BYTES = 60.0, 6 << 30
_LONGEST_DETAIL = 500  #: characters of what a decoder says, kept in sources.csv


@dataclass(frozen=True)
class Decoding:
    """How every file of a build is decoded, whoever does it."""

    store: ImageStore  #: takes the images
    options: DecodeOptions
    cut: CutOptions  #: only to tell the number of patches
    decode: Decoder = decode_image
    timeout_s: float = FILE_TIMEOUT_S  #: after so long a process ends itself, whatever native code holds it

    def __call__(self, source: Source) -> Source:
        """Decode one file without any fence."""
        return self.counted(decode_into_store(source, self.store, self.options, self.decode))

    def known(self, source: Source, stamps: Mapping[str, str]) -> Source | None:
        """Return what is known of an image without opening its file; None where it has to be decoded.

        Args:
            source: a row of the table.
            stamps: image id -> stamp of the file that the store's image was decoded from.
        """
        found = known_source(source, self.store, stamps, self.options.kinds)
        return None if found is None else self.counted(found)

    def counted(self, source: Source) -> Source:
        """Return an image without what only the store needs of its record, with its number of patches instead."""
        if source.record is None:
            return source
        return replace(
            source, record=KeptRecord(source.record), patches=len(patches_of(source.record, self.cut))
        )


def decode_into_store(source: Source, store: ImageStore, options: DecodeOptions, decode: Decoder) -> Source:
    """Decode one file and store the image; an ImageError becomes its status."""
    if source.path is None:
        raise AssertionError("a source without a path has nothing to decode")
    stamp = stamp_of(source.path)
    if source.row.kind == "standard":  # the films of a dataset, which their files call captures
        options = replace(options, kinds=(*options.kinds, "secondary_capture"))
    if source.row.frame is not None:
        options = replace(options, frame=source.row.frame)
    try:
        with fetched(source.path) as path:
            image = decode(path, options)
    except OtherKindError as error:
        return source.failed(error.status, str(error), kind=error.kind)
    except ImageError as error:
        return _without_image(source, error)
    except MemoryError:
        return source.failed("out_of_memory", "decoding needs more memory than a worker may have")
    if stamp_of(source.path) != stamp:
        return source.failed(
            "file_changed", "the file was written to while it was read: build again when it is complete"
        )
    record = store.put(source.image, image.pixels, {**image.record, "notes": list(image.notes)})
    return _with_image(source, record, stamp, decoded=True)


def _without_image(source: Source, error: ImageError) -> Source:
    cause, nearest = error.__cause__, source.row.nearest
    said = [f"{type(cause).__name__}: {cause}"[:_LONGEST_DETAIL]] if cause is not None else []
    reason = str(error)
    if error.status == "missing_file" and nearest is not None:
        reason += "; one of nearly that name is there, which sources.csv names"
        said.append(f"nearly that name: {nearest!r}"[:_LONGEST_DETAIL])
    return source.failed(error.status, reason, "; ".join((*source.row.details, *said)))


def _with_image(source: Source, record: dict[str, Any], stamp: str, decoded: bool) -> Source:
    """Return an image that is in the store."""
    return replace(
        source,
        reason="; ".join((*source.row.notes, *record.get("notes", ()))),
        detail="; ".join(source.row.details),
        record=record,
        stamp=stamp,
        decoded=decoded,
        kind=united_kind(source.row.kind, record.get("header_kind")),
    )


def planned(source: Source, store: ImageStore, stamps: Mapping[str, str]) -> Source:
    """Return what is to stand in sources.csv of an image before it is decoded: the stamp of the file as it is now.

    An image that is in the store keeps the stamp of the file that it was decoded from.
    """
    stored = bool(source.image) and (store.path / source.image).exists()
    stamp = stamps.get(source.image, "") if stored else ""
    if not stamp and source.path is not None:
        stamp = stamp_of(source.path)
    return replace(source, detail="; ".join(source.row.details), stamp=stamp)


def known_source(
    source: Source, store: ImageStore, stamps: Mapping[str, str], kinds: tuple[str, ...]
) -> Source | None:
    """Return what is known of an image without opening its file; None where it has to be decoded.

    Args:
        source: a row of the table.
        store: the images decoded so far.
        stamps: image id -> stamp of the file that the store's image was decoded from.
        kinds: those that are asked for; what the table calls another one is not opened.
    """
    stated = source.row.kind
    if source.path is None:
        return replace(source, detail="; ".join(source.row.details), kind=stated or "")
    if stated not in (None, "standard", *kinds):
        return replace(
            source, status="other_kind", reason=str(other_kind(str(stated), "table")), kind=str(stated)
        )
    record, stamp = store.record(source.image), stamp_of(source.path)
    noted = stamps.get(source.image, stamp)
    # Another stamp is another file. A file that is gone since has been decoded all the same.
    if record is None or stamp not in (noted, ""):
        return None
    found = _with_image(source, record, noted, decoded=False)
    # An image of an earlier release's store says nothing of its kind, and stays.
    if found.kind in kinds or "header_kind" not in record:
        return found
    return replace(source, status="other_kind", reason=str(other_kind(found.kind, "header")), kind=found.kind)


def with_header(source: Source, disagree: str) -> Source:
    """Return an image with what the DICOM header adds to the table, and a remark where the two disagree.

    Args:
        source: an image that is in the store; any other is given back as it is.
        disagree: "csv" or "tag": which of the two counts; "drop": neither, the image is left out. "error" is
            for the caller, who knows all of them.
    """
    if source.status != "ok" or source.record is None:
        return source
    put = settled(source.record, source.row.conditions, "header" if disagree == "tag" else "table")
    known = _filled(source.reason, put.from_header)
    reason = "; ".join((*([known] if known else []), *put.disagreements, *put.remarks))
    dropped = disagree == "drop" and bool(put.disagreements)
    return replace(
        source,
        row=replace(source.row, conditions=put.conditions),
        reason="; ".join(put.disagreements).replace(", which counts,", "") if dropped else reason,
        status="disagreement" if dropped else "ok",
        from_header=put.from_header,
        disagrees=bool(put.disagreements),
    )


def _filled(reason: str, names: tuple[str, ...]) -> str:
    for name in names:
        reason = reason.replace(f"{name} is kept as unknown:", f"{name} is taken from the DICOM header:")
    return reason


def decode_guarded(source: Source, how: Decoding, notes: Path) -> Source:
    """Decode one file in a worker process: noted while it is in hand, with limits of time and memory.

    Args:
        source: the file.
        how: to decode.
        notes: folder for the note, which stays behind where the process dies.
    """
    note = notes / source.image
    note.touch()
    # A cluster's worker without a parent that starts it anew is not to be ended.
    with _limits(how.timeout_s) if multiprocessing.parent_process() else nullcontext():
        decoded = how(source)
    note.unlink(missing_ok=True)
    return decoded


def decode_alone(source: Source, how: Decoding) -> Source:
    """Decode one suspect in a process of its own, and return a verdict if that process dies."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_decode_in_child, args=(sender, source, how), daemon=True)
    child.start()
    sender.close()
    begun = math.inf
    try:
        receiver.recv()
        begun = time.monotonic()
        decoded: Source = receiver.recv()
    except EOFError:
        child.join()
        return verdict(source, child.exitcode, how.timeout_s, time.monotonic() - begun)
    finally:
        receiver.close()
    child.join()
    return decoded


def _decode_in_child(sender: Connection, source: Source, how: Decoding) -> None:
    end_with_parent()
    sender.send("begun")
    with _limits(how.timeout_s):
        decoded = how(source)
    sender.send(decoded)


def verdict(source: Source, exitcode: int | None, timeout_s: float, elapsed_s: float) -> Source:
    """Return what a file cost: its process ended without an answer, so many seconds after it began."""
    # At the end of its time faulthandler ends a process by 1, or crashes as it looks at what the process is doing.
    if exitcode == 1 or elapsed_s >= timeout_s:
        return source.failed("timeout", f"decoding did not end within {timeout_s:g} s")
    how = f"signal {-exitcode}" if exitcode is not None and exitcode < 0 else f"exit code {exitcode}"
    return source.failed("codec_crash", f"the decoder crashed its process ({how})")


@contextmanager
def _limits(timeout_s: float) -> Iterator[None]:
    """End this process if the body takes too long; make an allocation beyond the limit a MemoryError."""
    with _memory_limit(), open(os.devnull, "w", encoding="ascii") as nowhere:
        faulthandler.dump_traceback_later(timeout_s, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def _memory_limit() -> Iterator[None]:
    if resource is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_DATA, (WORKER_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))  # a cluster's worker has other work too


class KeptRecord(Mapping[str, Any]):
    """The part of an image's record that stands in images.csv, in a few hundred bytes; the mask stays behind."""

    __slots__ = ("_packed",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Take its part of a record; what is not there is None."""
        # As JSON, which a record is of: half the size of as many Python objects.
        self._packed = json.dumps([values.get(key) for key in RECORD_KEYS], separators=(",", ":")).encode()

    def __getitem__(self, key: str) -> Any:
        return _unpacked(self._packed)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(RECORD_KEYS)

    def __len__(self) -> int:
        return len(RECORD_KEYS)

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptRecord, (dict(self),)


@lru_cache(maxsize=16)  # a row of images.csv asks for all the values of one record
def _unpacked(packed: bytes) -> dict[str, Any]:
    return dict(zip(RECORD_KEYS, json.loads(packed), strict=True))
