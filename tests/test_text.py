"""Text from files, as a terminal and a message may show it."""

import subprocess
import sys

import pytest

from nlbs.text import PrintableStream, printable, shown
from tests.reliability.test_received_text import STEERING


@pytest.mark.parametrize("mark", STEERING)
def test_nothing_that_steers_a_terminal_is_shown(mark: str) -> None:
    for text in (printable(f"a{mark}b"), shown(f"a{mark}b")):
        assert mark not in text
        assert text.isprintable()
    assert printable("Brüste 乳房 ثدي\n", keep="\n") == "Brüste 乳房 ثدي\n"


def test_a_value_in_a_message_is_bounded() -> None:
    for value in (10**5000, -(10**5000), "x" * 10**6, ["x"] * 10**6, {"a": 1}, b"x" * 10**6, 1e300, None):
        assert len(shown(value)) < 400


def test_a_stream_escapes_what_its_encoding_lacks() -> None:
    code = "from nlbs.text import PrintableStream as P; import sys; print('\\u4e73 \\x1b \\ud800', file=P(sys.stdout))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={"PYTHONIOENCODING": "ascii", **_path()},
    )
    assert done.stdout == b"\\u4e73 \\x1b \\ud800\n"
    assert PrintableStream(sys.stdout).isatty() == sys.stdout.isatty()


def _path() -> dict[str, str]:
    import os

    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
