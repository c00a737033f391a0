"""Processes that train together, as torchrun starts them, but forked from one that has imported torch already."""

import contextlib
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlbs.cvae.objective import Objective
from nlbs.models import registry
from nlbs.train import loop, step
from nlbs.train.cli import main
from nlbs.train.data import stream
from nlbs.train.turns import TurnNetwork

TIMEOUT_S = 240.0  #: for a machine that is busy with other things

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.train.processes"])


@dataclass(frozen=True)
class Ended:
    """What became of one process."""

    code: int | None
    said: str
    complained: str


class Together:
    """Processes of one run, in order of their ranks."""

    def __init__(self, commands: Sequence[Sequence[object]], folder: Path, hook: str = "") -> None:
        """Starts a process for each command, ``nlbs-train`` with these arguments."""
        folder.mkdir(parents=True)
        self.folder = folder
        port = free_port()
        self.processes = []
        for rank, command in enumerate(commands):
            told = {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(len(commands)),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
            }  # fmt: skip
            arguments = [str(argument) for argument in command]
            process = _CONTEXT.Process(target=_train, args=(told, arguments, folder, rank, hook))
            process.start()
            self.processes.append(process)

    def send(self, rank: int, number: signal.Signals) -> None:
        """Sends a signal to one of them."""
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, number)

    def wait_until(self, seen: Callable[[], bool]) -> None:
        """Returns once something is seen, while all are at work."""
        until = time.monotonic() + TIMEOUT_S
        while not seen():
            assert time.monotonic() < until, "nothing was seen"
            assert all(process.is_alive() for process in self.processes), self.ended()
            time.sleep(0.05)

    def ended(self) -> list[Ended]:
        """Gives what became of them, once all have ended; a hang ends here."""
        until = time.monotonic() + TIMEOUT_S
        for process in self.processes:
            process.join(max(until - time.monotonic(), 0.1))
        hung = [rank for rank, process in enumerate(self.processes) if process.exitcode is None]
        for rank in hung:
            self.processes[rank].kill()
            self.processes[rank].join()
        texts = [
            [(self.folder / f"{rank}.{kind}").read_text() for kind in ("out", "err")]
            for rank in range(len(self.processes))
        ]
        assert not hung, f"processes {hung} hang: {texts}"
        return [Ended(process.exitcode, *text) for process, text in zip(self.processes, texts, strict=True)]

    def recorded(self) -> list[dict[str, Any]]:
        """Gives what the hook "record" saw of each step, the parts of all processes put together."""
        of_all = [
            np.load(self.folder / f"{rank}.npy", allow_pickle=True) for rank in range(len(self.processes))
        ]
        return [
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            for parts in zip(*of_all, strict=True)
        ]


def together(world_size: int, folder: Path, *command: object, hook: str = "") -> Together:
    """Trains in several processes, the same command in each, to the end."""
    processes = Together([command] * world_size, folder, hook)
    for ended in processes.ended():
        assert ended.code == 0, ended
        assert ended.complained == ""
    return processes


def free_port() -> int:
    """Gives a port of the loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _train(told: dict[str, str], arguments: list[str], folder: Path, rank: int, hook: str) -> None:
    for number, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{rank}.{kind}", os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    os.environ.update(told)
    torch.set_num_threads(1)
    loop.write_curve = lambda path, metrics: None  # which takes as long as the rest of a tiny run
    with HOOKS[hook](folder, rank):
        main(arguments)


@contextlib.contextmanager
def _record(folder: Path, rank: int) -> Iterator[None]:
    """Writes rows, augmentation parameters and noise of each step."""
    rows: dict[tuple[int, int], Any] = {}
    steps: list[dict[str, Any]] = []
    read, augment = stream.PatchStream.read, step.augment
    forward = TurnNetwork.forward

    def reading(self: Any, epoch: int, number: int) -> Any:
        batch = read(self, epoch, number)
        if self.split == "train":
            rows[epoch, number] = batch.rows
        return batch

    def augmenting(pixels: Any, codes: Any, parameters: Any, config: Any, speckle: Any, schema: Any) -> Any:
        arrays = ("flip", "angle_deg", "brightness", "contrast", "corners")
        steps.append({name: getattr(parameters, name) for name in arrays} | {"speckle": speckle.numpy()})
        return augment(pixels, codes, parameters, config, speckle, schema)

    def passing(self: Any, pixels: Any, codes: Any, noise: Any, clock: Any) -> Any:
        steps[-1]["latent noise"] = noise[0].numpy()
        return forward(self, pixels, codes, noise, clock)

    stream.PatchStream.read, step.augment, TurnNetwork.forward = reading, augmenting, passing  # type: ignore[method-assign]
    try:
        yield
    finally:
        for place, one in zip(sorted(rows), steps, strict=False):  # rows may have been read ahead
            one["rows"] = rows[place]
        np.save(folder / f"{rank}.npy", np.array(steps, dtype=object))


@contextlib.contextmanager
def _bad(folder: Path, rank: int) -> Iterator[None]:
    """Makes the loss of the third step infinite in the last of two processes; its gradients stay finite."""
    terms, calls = Objective.terms, iter(range(10**6))

    def sometimes(self: Objective, output: Any, pixels: Any, betas: Any, *more: Any) -> Any:
        found = terms(self, output, pixels, betas, *more)
        if rank == 1 and torch.is_grad_enabled() and next(calls) == 2:
            found["total"] = found["total"] + float("inf")
        return found

    Objective.terms = sometimes  # type: ignore[method-assign]
    yield


@contextlib.contextmanager
def _toys(folder: Path, rank: int) -> Iterator[None]:
    """Registers the families of the tests."""
    registry.register("toy", "tests.models.toy")
    registry.register("toy-gan", "tests.models.toy_gan")
    registry.register("diffusion", "tests.models.tiny_diffusion")
    yield


@contextlib.contextmanager
def _nothing(folder: Path, rank: int) -> Iterator[None]:
    yield


#: What a process does beside training, by name: what is forked takes no functions of a test.
HOOKS = {"": _nothing, "record": _record, "bad": _bad, "toys": _toys}
