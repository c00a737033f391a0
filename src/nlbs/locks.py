"""The lock of a folder in an object store: an object that only one process can make, and renews while it lives.

A process that is killed leaves it behind. Another one takes it over at once where it runs on the same
machine and sees that the process is gone, and otherwise after :data:`STALE_S` without a renewal.
"""

import _thread
import contextlib
import hashlib
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nlbs.errors import NlbsError
from nlbs.json_text import parse_json
from nlbs.remote import RemotePath

RENEW_S = 60.0  #: between two renewals
STALE_S = 600.0  #: without a renewal, after which the holder is taken for dead
_MOST_CLAIM_BYTES = 1 << 16
#: Stops the main thread. Not SIGINT, which a job ignores that a script has put into the background.
_WAKE = getattr(signal, "SIGURG", None)
_SETTLE_S = 1.0  # for another process that takes over the same lock at the same moment: the last one has it


@contextmanager
def remote_lock(path: RemotePath, what: str) -> Iterator[None]:
    """Hold the lock at ``path`` while the body runs.

    Raises:
        NlbsError: another process has it, or has taken it over meanwhile.
    """
    token = secrets.token_hex(8)
    claim = _claim(token)
    try:
        path.write_bytes(claim, exclusive=True)
    except FileExistsError:
        _take_over(path, what, claim, token)
    stop, lost = threading.Event(), threading.Event()
    wake = _WAKE if threading.current_thread() is threading.main_thread() else None
    before = None if wake is None else signal.signal(wake, _interrupt)
    renewer = threading.Thread(
        target=_renew, args=(path, claim, token, stop, lost), name="nlbs-lock", daemon=True
    )
    renewer.start()
    try:
        yield
    except KeyboardInterrupt:
        if not lost.is_set():
            raise
        raise NlbsError(
            f"another process has taken over {path.parent}, because this one gave no sign of life for "
            f"{STALE_S / 60:.0f} minutes: let that one finish"
        ) from None
    finally:
        stop.set()
        renewer.join()
        if wake is not None:
            signal.signal(wake, before)
        if not lost.is_set():
            with contextlib.suppress(
                NlbsError, OSError
            ):  # it ends by itself, and must not hide another error
                path.unlink(missing_ok=True)


def _claim(token: str) -> bytes:
    claim = {"host": socket.gethostname(), "pid": os.getpid(), "machine": _machine(), "token": token}
    claim["started"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return (json.dumps(claim, sort_keys=True) + "\n").encode()


def _take_over(path: RemotePath, what: str, claim: bytes, token: str) -> None:
    found = _holder(path)
    if found.get("token") == token:  # our own: the store's answer to it was lost on the way
        return
    # A local lock is a file that is empty while nobody has it; it may have been copied here with its folder.
    if found or not _is_empty(path):
        silent_s = _silent_s(path, token)
        gone = found.get("machine") == _machine() is not None and not _is_alive(found.get("pid"))
        if silent_s < STALE_S and not gone:
            raise _busy(path, what, found, silent_s)
        why = "has ended" if gone else f"gave no sign of life for {silent_s / 60:.0f} minutes"
        print(f"Taking over {path.parent} from {_name(found)}, which {why}", file=sys.stderr)
    path.write_bytes(claim)
    time.sleep(_SETTLE_S)
    now = _holder(path)
    if now.get("token") != token:
        raise _busy(path, what, now, 0.0)


def _is_empty(path: RemotePath) -> bool:
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:  # released this moment
        return True


def _busy(path: RemotePath, what: str, holder: dict[str, Any], silent_s: float) -> NlbsError:
    return NlbsError(
        f"{what} is at work in {path.parent} already ({_name(holder)}, last heard of {silent_s:.0f} s ago): wait for "
        f"it, or take another folder; if it has died, its lock ends {STALE_S / 60:.0f} minutes after that"
    )


def _renew(path: RemotePath, claim: bytes, token: str, stop: threading.Event, lost: threading.Event) -> None:
    while not stop.wait(RENEW_S):
        # The store may be away for a while; the lock is renewed when it is back.
        with contextlib.suppress(NlbsError, OSError):
            holder = _holder(path)
            if holder and holder.get("token") != token:
                lost.set()
                _interrupt_main_thread()
                return
            path.write_bytes(claim)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _interrupt_main_thread() -> None:
    if _WAKE is not None and signal.getsignal(_WAKE) is _interrupt:
        signal.pthread_kill(threading.main_thread().ident or 0, _WAKE)
    else:  # Windows, or a lock that another thread holds: at its next step
        _thread.interrupt_main()


def _holder(path: RemotePath) -> dict[str, Any]:
    """Return what a lock says; nothing where it is gone or is none of ours."""
    try:
        found = parse_json(path.read_range(0, _MOST_CLAIM_BYTES))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _silent_s(path: RemotePath, token: str) -> float:
    """Return how long ago a lock was renewed, both times by the clock of the store."""
    probe = path.with_name(f"{path.name}.{token}")
    probe.write_bytes(b"")
    try:
        return (probe.stat().modified - path.stat().modified).total_seconds()
    except FileNotFoundError:  # released this moment
        return STALE_S
    finally:
        probe.unlink(missing_ok=True)


def _name(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', '?')} on {holder.get('host', 'an unknown machine')}"


def _machine() -> str | None:
    """Return what tells machines and containers apart, so that process ids can be compared; None is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        processes = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return None
    return hashlib.sha256(f"{boot} {processes}".encode()).hexdigest()[:16]


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int) or os.name == "nt":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
