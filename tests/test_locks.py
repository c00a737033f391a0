"""The lock of a folder in an object store: one holder, who may die, and may be taken for dead."""

import json
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from nlbs import locks
from nlbs.errors import NlbsError
from nlbs.files import only_one
from nlbs.paths import as_path
from tests.conftest import Bucket


def test_a_second_process_is_refused_and_told_who_works(bucket: Bucket) -> None:
    folder = as_path(bucket.url("out"))
    with only_one(folder, "nlbs-preprocess"):
        holder = json.loads(bucket.get("out/.lock"))
        with (
            pytest.raises(NlbsError, match=rf"at work in {folder} already \(process {holder['pid']} on "),
            only_one(folder, "nlbs-preprocess"),
        ):
            pass
        assert bucket.names() == {"out/.lock"}
    assert bucket.names() == set()


def test_a_lock_ends_when_the_work_fails(bucket: Bucket) -> None:
    with pytest.raises(ZeroDivisionError), only_one(as_path(bucket.url("out")), "work"):
        raise ZeroDivisionError
    assert bucket.names() == set()


def test_the_lock_of_a_killed_process_of_this_machine_is_taken_over_at_once(
    bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import os, sys; from nlbs.files import only_one; from nlbs.paths import as_path\n"
        "with only_one(as_path(sys.argv[1]), 'work'): os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, bucket.url("out")], check=False, timeout=240)
    assert killed.returncode == -9
    assert bucket.names() == {"out/.lock"}
    with only_one(as_path(bucket.url("out")), "work"):
        pass
    assert "has ended" in capsys.readouterr().err
    assert bucket.names() == set()


def test_the_lock_of_another_machine_is_taken_over_once_it_is_not_renewed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.put("out/.lock", b'{"host": "elsewhere", "machine": "other", "pid": 1, "token": "theirs"}')
    with (
        pytest.raises(NlbsError, match="process 1 on elsewhere, last heard of"),
        only_one(as_path(bucket.url("out")), "work"),
    ):
        pass
    monkeypatch.setattr(locks, "STALE_S", 0.0)
    monkeypatch.setattr(locks, "_SETTLE_S", 0.0)
    with only_one(as_path(bucket.url("out")), "work"):
        assert b"theirs" not in bucket.get("out/.lock")
    assert "Taking over" in capsys.readouterr().err


def test_the_empty_lock_of_a_local_folder_that_was_copied_is_free(
    bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.put("out/.lock", b"")
    with only_one(as_path(bucket.url("out")), "work"):
        assert bucket.get("out/.lock")
    assert capsys.readouterr().err == ""


def test_of_two_that_take_over_at_once_the_last_one_has_the_lock(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("out/.lock", b'{"host": "elsewhere", "machine": "other", "pid": 1, "token": "dead"}')
    monkeypatch.setattr(locks, "STALE_S", 0.0)
    quicker = b'{"host": "quick", "machine": "other", "pid": 2, "token": "theirs"}'
    monkeypatch.setattr(time, "sleep", lambda seconds: bucket.put("out/.lock", quicker))
    with (
        pytest.raises(NlbsError, match="process 2 on quick"),
        only_one(as_path(bucket.url("out")), "work"),
    ):
        pass
    assert bucket.get("out/.lock") == quicker


@pytest.mark.parametrize("interrupts", [signal.default_int_handler, signal.SIG_IGN])
def test_a_lock_is_renewed_and_its_loss_stops_the_work(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, interrupts: Any
) -> None:
    """A job ignores SIGINT where a script has put it into the background: it is stopped all the same."""
    monkeypatch.setattr(locks, "RENEW_S", 0.05)
    before, until = signal.signal(signal.SIGINT, interrupts), time.monotonic() + 120
    stopped = threading.Event()

    def renew() -> None:
        """Renews the other's lock, in a thread: what stops the work would leave a connection amid a request."""
        while not stopped.wait(0.02):
            bucket.put("out/.lock", b'{"token": "theirs"}')

    other = threading.Thread(target=renew)
    try:
        with pytest.raises(NlbsError, match="has taken over"), only_one(as_path(bucket.url("out")), "work"):
            bucket.client.delete_object(Bucket=bucket.name, Key="out/.lock")
            while "out/.lock" not in bucket.names() and time.monotonic() < until:
                time.sleep(0.02)
            assert bucket.names() == {"out/.lock"}
            other.start()
            while time.monotonic() < until:
                time.sleep(0.02)
    finally:
        signal.signal(signal.SIGINT, before)
        stopped.set()
        if other.ident is not None:
            other.join()
    assert bucket.get("out/.lock") == b'{"token": "theirs"}'
