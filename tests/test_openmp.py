"""Threads of numerical libraries sleep while they wait: what each command sets before torch is loaded."""

import json
import os
import subprocess
import sys

import pytest

from nlbs.openmp import SAID_BY_USER

_RUN = """
import atexit, json, os, subprocess, sys
said = []
real = __builtins__.__import__
def watch(name, *rest, **more):
    if name == "torch" and "torch" not in sys.modules:
        said.append(os.environ.get("OMP_WAIT_POLICY"))
    return real(name, *rest, **more)
__builtins__.__import__ = watch
def show():
    child = subprocess.run(["env"], capture_output=True, text=True).stdout
    print(json.dumps({"own": {k: v for k, v in os.environ.items() if "OMP" in k or "KMP" in k},
                      "child": "OMP_WAIT_POLICY=PASSIVE" in child, "at_torch": said}))
atexit.register(show)
from importlib import import_module
import_module("nlbs.%s.cli" % sys.argv[1]).main(sys.argv[2:])
"""


def run(command: str, *args: str, **environment: str) -> dict[str, object]:
    clean = {name: value for name, value in os.environ.items() if name not in SAID_BY_USER}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, command, *args],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("command", ["preprocess", "train", "generate", "evaluate"])
def test_every_command_lets_threads_sleep_while_they_wait_and_so_do_its_children(command: str) -> None:
    found = run(command, "--help")
    assert found["own"]["OMP_WAIT_POLICY"] == "PASSIVE"  # type: ignore[index]
    assert found["own"]["GOMP_SPINCOUNT"] == "1000"  # type: ignore[index]
    assert found["child"]


@pytest.mark.parametrize(
    "said", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "5"}, {"KMP_BLOCKTIME": "1"}]
)
def test_what_the_user_says_about_waiting_stays(said: dict[str, str]) -> None:
    own = run("train", "--help", **said)["own"]
    assert {name: own.get(name) for name in SAID_BY_USER if name in own} == said  # type: ignore[attr-defined,operator]


def test_it_is_set_before_torch_is_loaded() -> None:
    found = run("generate", "--checkpoint", "missing.safetensors", "--out", "nowhere")
    assert found["at_torch"] == ["PASSIVE"]


def test_an_import_of_the_library_leaves_the_environment_alone() -> None:
    clean = {name: value for name, value in os.environ.items() if name not in SAID_BY_USER}
    code = "import os, nlbs.train, nlbs.train.data.stream; print(os.environ.get('OMP_WAIT_POLICY'))"
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
