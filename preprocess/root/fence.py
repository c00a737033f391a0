"""Fences around decoding: a codec that crashes, hangs or eats memory costs one file and one worker process.

A native crash kills the worker, and with it the pool, without telling which file it was. So each
worker notes the file in its hands. After a break the noted files are tried again, each alone in a
process of its own; what fails there too is the culprit.
"""

import faulthandler
import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nlbs.preprocess.images.decode import DecodeOptions
from nlbs.preprocess.images.grid import CutOptions, patches_of
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.outcome import Decoder, Outcome, decode_into_store
from nlbs.preprocess.root.sources import Source
from nlbs.preprocess.root.tables import RECORD_KEYS
from nlbs.preprocess.workers import end_with_parent

try:
    import resource
except ImportError:  # Windows: the time of a file is limited there, its memory is not
    resource = None  # type: ignore[assignment]

#: Seconds that one file may take, and bytes that a worker may allocate.
FILE_TIMEOUT_S, WORKER_BYTES = 60.0, 6 << 30


@dataclass(frozen=True)
class Decoding:
    """How every file of a build is decoded, whoever does it."""

    store: ImageStore  #: takes the images
    options: DecodeOptions
    cut: CutOptions  #: only to tell the number of patches
    decode: Decoder
    timeout_s: float  #: after so many seconds a process ends itself, whatever native code holds it

    def __call__(self, source: Source) -> Outcome:
        """Decode one file without any fence."""
        return kept(decode_into_store(source, self.store, self.options, self.decode), self.cut)


def decode_guarded(source: Source, how: Decoding, notes: Path) -> Outcome:
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
        outcome = how(source)
    note.unlink(missing_ok=True)
    return outcome


def decode_alone(source: Source, how: Decoding) -> Outcome:
    """Decode one suspect in a process of its own, and return a verdict if that process dies."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_decode_in_child, args=(sender, source, how), daemon=True)
    child.start()
    sender.close()
    try:
        outcome: Outcome = receiver.recv()
    except EOFError:
        child.join()
        return _verdict(source, child.exitcode, how.timeout_s)
    finally:
        receiver.close()
    child.join()
    return outcome


def _decode_in_child(sender: Connection, source: Source, how: Decoding) -> None:
    end_with_parent()
    with _limits(how.timeout_s):
        outcome = how(source)
    sender.send(outcome)


def _verdict(source: Source, exitcode: int | None, timeout_s: float) -> Outcome:
    if exitcode == 1:  # how faulthandler ends a process
        return Outcome(source, "timeout", f"decoding did not end within {timeout_s:g} s", decoded=True)
    how = f"signal {-exitcode}" if exitcode is not None and exitcode < 0 else f"exit code {exitcode}"
    return Outcome(source, "codec_crash", f"the decoder crashed its process ({how})", decoded=True)


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


def kept(outcome: Outcome, cut: CutOptions) -> Outcome:
    """Return an outcome without what only the store needs; with its number of patches instead.

    Args:
        outcome: of a source.
        cut: tells the patches.
    """
    if outcome.record is None:
        return outcome
    return replace(outcome, record=KeptRecord(outcome.record), patches=len(patches_of(outcome.record, cut)))
