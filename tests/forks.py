"""Processes that are forked from one which has imported the offline stage already: each starts a second sooner.

``python -m tests.forks`` is that one: it reads a request a line, forks, and answers with the exit code once the
fork has ended. What a fork does stays in it: its working folder, environment, limits and modules are its own.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

TIMEOUT_S = 400.0


def forked(
    code: str,
    arguments: Sequence[object] = (),
    cwd: Path | None = None,
    umask: int = -1,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs Python code as ``python -c`` does, and returns what it said and its exit code (-9: killed by signal 9).

    Raises:
        subprocess.TimeoutExpired: it has not ended after :data:`TIMEOUT_S`.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        request = {
            "code": code, "arguments": [str(argument) for argument in arguments], "out": str(out), "err": str(err),
            "cwd": str(cwd or Path.cwd()), "umask": umask, "environment": {**os.environ, **(environment or {})},
        }  # fmt: skip
        returned = _ask(request)
        said, complained = (path.read_text(encoding="utf-8") for path in (out, err))
    return subprocess.CompletedProcess(["python", "-c", *request["arguments"]], returned, said, complained)


@cache
def _server() -> "subprocess.Popen[str]":
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.forks"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    atexit.register(_end, server)
    return server


def _end(server: "subprocess.Popen[str]") -> None:
    with server:
        server.kill()


def _ask(request: Mapping[str, Any]) -> int:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    if not select.select([server.stdout], [], [], TIMEOUT_S)[0]:
        _end(server)
        _server.cache_clear()
        raise subprocess.TimeoutExpired(request["arguments"], TIMEOUT_S)
    answer = server.stdout.readline()
    assert answer, "the process that forks has died"
    return int(answer)


def _serve() -> dict[str, Any] | None:
    """Returns the request in a fork of it, and None at the end of all requests."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            return dict(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


def _become(request: Mapping[str, Any]) -> None:
    """Takes the streams, folder and environment of a request."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    if request["umask"] >= 0:
        os.umask(request["umask"])
    for number, path in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.argv = ["-c", *request["arguments"]]


if __name__ == "__main__":
    import nlbs.preprocess

    for module in pkgutil.walk_packages(nlbs.preprocess.__path__, "nlbs.preprocess."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # what is shared with forks stays shared
    wanted = _serve()
    if wanted is not None:
        _become(wanted)
        exec(compile(wanted["code"], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
