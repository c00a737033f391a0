"""What a command says and with which code it ends, whatever happened.

Also covers: errors.py, options.py.
"""

import os
import signal
import subprocess
import sys
from typing import NoReturn

import click
import pytest

from nlbs import errors
from nlbs.command import entry_point
from nlbs.errors import NlbsError


def ended(command: click.Command, *args: str) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        entry_point(command)(args)
    return caught.value.code


def raising(error: BaseException) -> click.Command:
    @click.command()
    def command() -> NoReturn:
        raise error

    return command


@click.command()
@click.option("--count", type=int, default=1)
def count_command(count: int) -> int:
    """Says a number."""
    click.echo(f"counted {count}")
    return count


@pytest.mark.parametrize("count", ["0", "1", "7"])
def test_a_command_that_is_done_ends_with_zero_whatever_it_returns(
    capsys: pytest.CaptureFixture[str], count: str
) -> None:
    assert ended(count_command, "--count", count) == 0
    assert capsys.readouterr() == (f"counted {count}\n", "")


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, NlbsError)]
)
def test_an_error_that_a_person_can_mend_is_one_sentence_and_code_one(
    capsys: pytest.CaptureFixture[str], kind: type[NlbsError]
) -> None:
    assert ended(raising(kind("meta.csv is empty: put rows into it"))) == 1
    assert capsys.readouterr() == ("", "Error: meta.csv is empty: put rows into it\n")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--cuont", "3"], "--count"),
        (["--count", "three"], "'three' is not a valid integer"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_ends_with_two_and_names_what_is_wrong(
    capsys: pytest.CaptureFixture[str], args: list[str], expected: str
) -> None:
    assert ended(count_command, *args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert expected in err
    assert "Traceback" not in err


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(count_command, "--help") == 0
    assert "Says a number." in capsys.readouterr().out


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_ends_with_130_and_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    assert ended(raising(error)) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip() == "Interrupted. The same command continues where it stopped."


def test_a_defect_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        entry_point(raising(ZeroDivisionError("a defect")))([])


def test_the_arguments_are_those_of_the_process_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["nlbs-count", "--count", "wrong"])
    with pytest.raises(SystemExit) as caught:
        entry_point(count_command)(None)
    assert caught.value.code == 2


def test_control_c_leaves_a_real_process_with_130_and_no_traceback() -> None:
    code = (
        "import signal, time, click\n"
        "from nlbs.command import entry_point\n"
        # As in a terminal; a suite that a script has put into the background hands on that it ignores it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@click.command()\n"
        "def wait():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(280)\n"
        "entry_point(wait)([])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "Interrupted." in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "says"), [(28, "make room"), (30, "can be written"), (13, "permission")])
def test_what_the_operating_system_refuses_is_a_sentence_too(
    capsys: pytest.CaptureFixture[str], number: int, says: str
) -> None:
    assert ended(raising(OSError(number, os.strerror(number), "shards/00000.tar"))) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"Error: {os.strerror(number)} (shards/00000.tar). ")
    assert says in message


def test_an_error_of_the_system_that_we_should_have_foreseen_keeps_its_traceback() -> None:
    with pytest.raises(FileNotFoundError):
        entry_point(raising(FileNotFoundError(2, "No such file", "x")))([])
