"""The four programs under one name."""

import os
import subprocess
import sys

import pytest

from nlbs.cli import main
from nlbs.command import PROGRAMS


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


def test_the_programs_are_listed_in_the_order_of_work(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "--help")
    listed = [line.split()[0] for line in said.split("Commands:\n")[1].splitlines() if line[2:3].strip()]
    assert code == 0
    assert listed[:4] == ["preprocess", "train", "generate", "evaluate"] == list(PROGRAMS)


def test_a_program_takes_its_own_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nlbs-preprocess" not in run(capsys, "preprocess", "build-shards", "--help")[1].splitlines()[0]
    code, _, complained = run(capsys, "generate", "--checkpoint", "none.safetensors", "--out", "s")
    assert (code, complained[:35]) == (1, "Error: there is no checkpoint none.")
    assert run(capsys, "train")[0] == 2


def test_a_word_that_is_no_program_is_told_which_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, complained = run(capsys, "trian")
    assert code == 2
    assert "No such command 'trian'. Did you mean train?" in complained


def test_naming_the_programs_imports_none_of_them() -> None:
    look = "import sys, nlbs.cli; print(sorted(n for n in sys.modules if n.startswith('nlbs.') and n.endswith('.cli')))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['nlbs.cli']"


def test_a_shell_can_complete_commands_and_options() -> None:
    start = "import sys; sys.argv[0] = 'nlbs'; from nlbs.cli import main; main()"
    given = {"_NLBS_COMPLETE": "bash_complete", "COMP_WORDS": "nlbs train --pre", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", start], capture_output=True, text=True, env=os.environ | given, check=False
    )
    assert done.stdout.split() == ["plain,--preset", "plain,--precision"]
