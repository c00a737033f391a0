"""A disk that fails at the N-th step: a build in a forked child is killed there, or the step raises an OSError.

As a script it tries step after step, checks what is left, runs the same command again and compares every byte with
an undisturbed run; it prints one JSON line. ``--every 1`` tries all steps; the test suite tries one of each kind:

    python -m tests.reliability.faulty_disk --fault kill --scenario build --every 1
"""

import argparse
import builtins
import csv
import errno
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CUT = ("--resolution", "64", "--stride", "64", "--jobs", "1")
#: Steps that take room or reach the disk: they fail when it is full. Removing never needs room.
NEEDS_ROOM = ("create", "write", "fsync", "replace", "rename", "mkdir", "link")
REMOVES = ("unlink", "rmdir")


@dataclass
class Fault:
    """What happens at one step."""

    step: int = 0  #: from 1; 0 is never
    kind: str = "kill"  #: kill, ENOSPC (from that step on, as a full disk stays full) or EIO (once)
    counted: tuple[str, ...] = NEEDS_ROOM + REMOVES
    seen: list[str] = field(default_factory=list)  #: "operation name" of each step so far


class FaultyDisk:
    """Stands before the functions that change the disk; counts those that touch files below ``root``."""

    def __init__(self, root: Path, fault: Fault) -> None:
        self.root, self.fault, self.lock = str(root), fault, threading.Lock()

    def install(self) -> None:
        """Replaces the functions of os and io in this process, for good."""
        for name in ("replace", "rename", "mkdir", "unlink", "rmdir", "link", "fsync"):
            setattr(os, name, self._before(name, getattr(os, name)))
        os.remove = os.unlink
        plain_os_open, plain_open = os.open, io.open

        def os_open(path: Any, flags: int, *args: Any, **options: Any) -> int:
            if flags & os.O_CREAT:
                self.step("create", path)
            return plain_os_open(path, flags, *args, **options)

        def faulty_open(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:
            if not set(mode) & set("wxa"):
                return plain_open(file, mode, buffering, *args, **options)
            if not isinstance(file, int):
                self.step("create", file)
            raw = _FaultyFile(self, file, mode.replace("b", "").replace("t", ""))
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            if "b" in mode:
                return buffered
            text = {name: options[name] for name in ("encoding", "errors", "newline") if name in options}
            return io.TextIOWrapper(buffered, **text)

        os.open, io.open, builtins.open = os_open, faulty_open, faulty_open  # type: ignore[assignment]

    def step(self, operation: str, target: Any, halfway: Callable[[], Any] = lambda: None) -> None:
        """Counts a step, and fails if this is the one. A kill comes ``halfway`` through a write."""
        path = (
            str(Path(f"/proc/self/fd/{target}").readlink()) if isinstance(target, int) else os.fspath(target)
        )
        inside = path.startswith((self.root, ".")) or not path.startswith(
            "/"
        )  # a bare name: beside a descriptor
        if not inside or operation not in self.fault.counted or path.endswith("/.lock"):
            return
        with self.lock:
            self.fault.seen.append(f"{operation} {kind_of(path)}")
            number = len(self.fault.seen)
        if self.fault.kind == "kill" and number == self.fault.step:
            halfway()
            os.kill(os.getpid(), signal.SIGKILL)
        full = self.fault.kind == "ENOSPC" and 0 < self.fault.step <= number
        if full or (self.fault.kind == "EIO" and number == self.fault.step):
            code = errno.ENOSPC if full else errno.EIO
            raise OSError(code, os.strerror(code), str(path))

    def _before(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def function(target: Any, *args: Any, **options: Any) -> Any:
            self.step(name, target)
            return plain(target, *args, **options)

        return function


class _FaultyFile(io.FileIO):
    def __init__(self, disk: FaultyDisk, file: Any, mode: str) -> None:
        super().__init__(file, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        plain = super().write
        self._disk.step("write", self.fileno(), lambda: plain(bytes(data)[: len(bytes(data)) // 2]))
        return plain(data)


def kind_of(path: str) -> str:
    """Gives a path's last two names with what differs from run to run or image to image left out."""
    names = "/".join(Path(path).parts[-2:])
    return re.sub(r"[0-9a-f]{16,}|\d+", "*", names)


def run(arguments: list[str], root: Path, fault: Fault) -> tuple[int, str, list[str]]:
    """Runs nlbs-preprocess in a forked child. Gives its exit status (negative: a signal), what it said, its steps."""
    said, steps = root.with_name("said.txt"), root.with_name("steps.json")
    steps.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 99
        try:
            with said.open("w") as console:
                os.dup2(console.fileno(), 1)
                os.dup2(console.fileno(), 2)
            plain_write = Path.write_text
            FaultyDisk(root, fault).install()
            code = _exit_code(arguments)
            plain_write(steps, json.dumps(fault.seen))
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = json.loads(steps.read_text()) if steps.exists() else []
    return status, said.read_text(errors="replace"), seen


def _exit_code(arguments: list[str]) -> int:
    import traceback

    from nlbs.preprocess.cli import main
    from nlbs.preprocess.workers import Workers

    Workers.run_fenced = Workers.run  # type: ignore[method-assign]  # the disk is faulty in this process alone
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 98
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def tree(root: Path) -> dict[str, bytes | None]:
    """Gives every file below a root with its bytes, and every folder with None; the lock is left out."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.name != ".lock"
    }


def incomplete(found: dict[str, bytes | None], allowed: list[dict[str, bytes | None]]) -> list[str]:
    """Gives the final names below which something is not what an undisturbed run writes there."""
    wrong = []
    for name, data in found.items():
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if hidden or data is None:
            continue
        if Path(name).parent.name == "parts":
            json.loads(data)
        elif (
            name == "sources.csv"
        ):  # written before the images too: rows of new files, stamps of what is decoded
            known = {line for whole in allowed for line in (whole.get(name) or b"").splitlines(True)}
            if not set(data.splitlines(True)) <= known:
                wrong.append(f"{name} is not whole")
        elif data not in [whole.get(name) for whole in allowed]:
            wrong.append(f"{name} is not whole")
    for image in {name for name, data in found.items() if re.fullmatch(r"images\.zarr/[0-9a-f]{16}", name)}:
        inside = {name: data for name, data in found.items() if name.startswith(f"{image}/")}
        if inside not in [
            {name: data for name, data in whole.items() if name.startswith(f"{image}/")} for whole in allowed
        ]:
            wrong.append(f"{image} is not whole")
    for complete in {str(Path(name).parent) for name in found if name.endswith("/shard_set.json")}:
        names = [
            name
            for name in found
            if Path(name).parent == Path(complete) and not Path(name).name.startswith(".")
        ]
        listed = json.loads(found[f"{complete}/shard_set.json"] or b"")
        for shard in [*(s["name"] for s in listed["shards"]), "manifest.arrow"]:
            if f"{complete}/{shard}" not in names:
                wrong.append(f"{complete} claims to be complete without {shard}")
    return wrong


@dataclass(frozen=True)
class Scenario:
    """A command, the root it starts from, and what it leaves undisturbed."""

    arguments: list[str]
    before: Path | None  #: copied to ``root`` first
    root: Path

    def begin(self) -> None:
        """Puts the root back to the beginning."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self.before is not None:
            shutil.copytree(self.before, self.root)


def scenarios(work: Path) -> dict[str, Scenario]:
    """Gives a first build; and a build over an older one with a file replaced, another cut and fewer images."""
    import nlbs.preprocess.build  # noqa: F401  # once, here, and not in every child
    from nlbs.preprocess.phantom.screening_set import write_phantom

    images, root, old = work / "images", work / "shards", work / "old"
    meta = write_phantom(images, patients=1, seed=0, rows=256, columns=192).meta
    build = ["build-shards", "--csv", str(meta), "--out", str(root), *CUT]
    first = Scenario(build, None, root)
    code, said, _ = run([*build[:4], str(old), *build[5:]], old, Fault())
    if code:
        raise SystemExit(said)
    rows = list(csv.reader(meta.open(newline="")))
    fewer = images / "fewer.csv"
    with fewer.open("w", newline="") as file:
        csv.writer(file).writerows(rows[:-1])
    other = write_phantom(work / "other", patients=1, seed=5, rows=256, columns=192).meta
    path = rows[1][0].replace("\\", "/")
    replaced = next(iter(sorted(other.parent.rglob("*.dcm"))))
    shutil.copytree(images, work / "changed")
    shutil.copy(replaced, work / "changed" / path)
    again = [
        "build-shards",
        "--csv",
        str(work / "changed" / "fewer.csv"),
        "--out",
        str(root),
        "--overwrite",
        *CUT,
    ]
    return {"build": first, "update": Scenario(again, old, root)}


def chosen_steps(kinds: list[str], every: int | None) -> list[int]:
    """Gives which steps to fail at: every so many, or for None the last one of each kind."""
    if every is not None:
        return list(range(len(kinds), 0, -every))
    return sorted({kind: number for number, kind in enumerate(kinds, start=1)}.values())


def trouble_at(scenario: Scenario, fault: Fault, allowed: list[dict[str, bytes | None]]) -> list[str]:
    """Gives what went wrong when one step failed, and when the command was then given again."""
    scenario.begin()
    code, said, _ = run(scenario.arguments, scenario.root, fault)
    wrong = incomplete(tree(scenario.root), allowed) if scenario.root.exists() else []
    if fault.kind == "kill" and code != -signal.SIGKILL:
        wrong.append(f"it was not killed but ended with {code}")
    harmless = code == 0 and tree(scenario.root) == allowed[-1]  # a folder was there already, say
    if fault.kind != "kill" and not harmless:
        if code != 1 or "Traceback" in said:
            wrong.append(f"it ended with {code}: {said[-1500:]}")
        advice = "make room" if fault.kind == "ENOSPC" else "check it"
        if said.count("\n") != 1 or advice not in said:
            wrong.append(f"it did not say in one sentence what is needed: {said[-600:]}")
    code, said, _ = run(scenario.arguments, scenario.root, Fault())
    if code:
        wrong.append(f"the same command again ended with {code}: {said[-1500:]}")
    found, whole = tree(scenario.root), allowed[-1]
    differing = sorted(name for name in {*found, *whole} if found.get(name, b"-") != whole.get(name, b"-"))
    return wrong + [f"after the second run {name} differs" for name in differing]


def main() -> None:
    """Tries the steps and prints one JSON line: how many there are, how many were tried, what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fault", choices=["kill", "ENOSPC", "EIO"], default="kill")
    parser.add_argument("--scenario", choices=["build", "update"], default="build")
    parser.add_argument("--every", type=int, help="Try every so many steps.  [default: one of each kind]")
    parser.add_argument("--check", nargs=2, type=Path, help="Only compare a root with a whole one.")
    options = parser.parse_args()
    if options.check:
        sys.exit("\n".join(incomplete(tree(options.check[0]), [tree(options.check[1])])) or 0)
    counted = NEEDS_ROOM + REMOVES if options.fault == "kill" else NEEDS_ROOM
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        work = Path(name).resolve()
        os.environ["NLBS_KEY_FILE"] = str(work / "key")
        (work / "key").write_text("5" * 64)
        scenario = scenarios(work)[options.scenario]
        scenario.begin()
        allowed = [tree(scenario.root)] if scenario.before else []
        code, said, kinds = run(scenario.arguments, scenario.root, Fault(counted=counted))
        if code:
            raise SystemExit(said)
        allowed.append(tree(scenario.root))
        steps = chosen_steps(kinds, options.every)
        wrong = {}
        for step in steps:
            fault = Fault(step, options.fault, counted)
            if found := trouble_at(scenario, fault, allowed):
                wrong[f"{step} {kinds[step - 1]}"] = found
        result = {"steps": len(kinds), "tried": len(steps), "wrong": wrong}
        print(json.dumps({"fault": options.fault, "scenario": options.scenario, **result}))


if __name__ == "__main__":
    main()
