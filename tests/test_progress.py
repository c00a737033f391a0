"""Progress where nobody looks at a terminal: a line now and then, with rate and time left."""

import time

import pytest

from nlbs.progress import Progress


def test_a_line_each_half_minute_says_what_is_done_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress("Decoding", 40) as progress:
        for now in (1010.0, 1029.0, 1030.0, 1040.0):  # noqa: B007
            progress.advance(2, patches=700)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["Decoding: 6 of 40 images, 2,100 patches, 12.0 images/min, 2 min 50 s left"]
