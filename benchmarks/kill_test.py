"""Kills build-shards at random moments and checks that nothing is lost and nothing is left over.

Each time a fresh build of a tiny set, two jobs, is killed with SIGKILL: the whole process group, the command alone, or
one of its workers. Then: every file with a final name is whole, no process is left, the same command again completes,
and every byte of the root equals that of an undisturbed run. Prints one JSON line.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.reliability.faulty_disk import incomplete, tree

VICTIMS = ("group", "command", "worker")
SECONDS_TO_END = 10.0


def descendants(process: int) -> list[int]:
    """Return the processes below one, itself left out."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(") ", 1)[1].split()
        except OSError:  # it has ended meanwhile
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = [], [process]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def is_running(process: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def is_worker(process: int) -> bool:
    """Tell whether a process is a worker of a pool."""
    try:
        return b"popen_loky_posix" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def kill_once(
    command: list[str], root: Path, victim: str, seconds: float, choice: int, whole: dict[str, bytes | None]
) -> tuple[list[str], dict[str, object]]:
    """Kill one build after some seconds and return what was wrong then, and what became of it."""
    shutil.rmtree(root, ignore_errors=True)
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    time.sleep(seconds)
    family = descendants(running.pid)
    ended = running.poll() is not None
    workers = [process for process in family if is_worker(process)]
    try:
        if victim == "group":
            os.killpg(running.pid, signal.SIGKILL)
        elif victim == "worker" and workers:
            os.kill(workers[choice % len(workers)], signal.SIGKILL)
        elif victim == "command" and not ended:
            running.kill()
    except ProcessLookupError:
        ended = True
    _, said = running.communicate(timeout=120)
    wrong = ["a traceback: " + said.decode()[-800:]] if b"Traceback" in said else []
    deadline = time.monotonic() + SECONDS_TO_END
    while (left := [process for process in family if is_running(process)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        names = [
            Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode() for process in left
        ]
        wrong.append(f"processes are left: {names}")
    state = tree(root) if root.exists() else {}
    wrong += incomplete(state, [whole])
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    if again.returncode:
        wrong.append(f"the same command again ended with {again.returncode}: {again.stderr[-800:]}")
    found = tree(root)
    wrong += [
        f"after the second run {name} differs"
        for name in sorted({*found, *whole})
        if found.get(name, b"-") != whole.get(name, b"-")
    ]
    return wrong, {"victim": victim, "code": running.returncode, "files": len(state)}


def main() -> None:
    """Kill as often as asked, at moments spread over the whole run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dice = random.Random(options.seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as name:
        folder, nlbs = Path(name), [sys.executable, "-m", "nlbs.preprocess"]
        os.environ["NLBS_KEY_FILE"] = str(folder / "key")
        drawn = ["--patients", "3", "--rows", "256", "--columns", "192", "--jobs", "1"]
        subprocess.run([*nlbs, "phantom", "--out", folder / "in", *drawn], check=True, capture_output=True)
        root, table = folder / "shards", folder / "in" / "meta.csv"
        build = [*nlbs, "build-shards", "--csv", str(table), "--out", str(root), "--resolution", "64"]
        build += ["--stride", "64", "--jobs", "2"]
        subprocess.run(build, check=True, capture_output=True)  # warms the file cache
        shutil.rmtree(root)
        begun = time.monotonic()
        subprocess.run(build, check=True, capture_output=True)
        seconds = time.monotonic() - begun
        whole = tree(root)
        wrong, outcomes = {}, []
        for number in range(options.times):
            moment = seconds * (number + dice.random()) / options.times
            trouble, outcome = kill_once(build, root, VICTIMS[number % 3], moment, number, whole)
            outcomes.append(outcome)
            if trouble:
                wrong[f"{number} {VICTIMS[number % 3]} after {moment:.2f} s"] = trouble
        states = sorted({int(str(outcome["files"])) for outcome in outcomes})
        counts = {
            "kills": options.times,
            "killed": sum(outcome["code"] == -signal.SIGKILL for outcome in outcomes),
            "survived_a_worker": sum(
                outcome["victim"] == "worker" and not outcome["code"] for outcome in outcomes
            ),
            "different_states": len(states),
            "files_when_killed": [states[0], states[-1]],
            "files_of_a_whole_root": len(whole),
        }
        print(json.dumps({"benchmark": "kill_test", "seed": options.seed, **counts, "wrong": wrong}))


if __name__ == "__main__":
    main()
