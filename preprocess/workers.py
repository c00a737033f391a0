"""Who does the work: processes or threads of this machine, or the workers of a Dask cluster."""

import importlib
import itertools
import multiprocessing
import os
import queue
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import joblib
from joblib.externals.loky import ProcessPoolExecutor

from nlbs import __version__
from nlbs.errors import ConfigError, NlbsError
from nlbs.local_store import temporary_path
from nlbs.paths import AnyPath
from nlbs.stores import in_file_system

Result = TypeVar("Result")
Task = tuple[Any, ...]

#: Where tasks may run; the first is the default.
BACKENDS = ("loky", "threading", "dask")

#: Seconds to wait for a scheduler, and then for its first worker.
_PATIENCE_S = 30
#: Tasks given out at once, per worker: one in work, one waiting, never the whole list.
_IN_FLIGHT = 2
#: Seconds that processes wait for more work before they end.
_IDLE_S = 60
#: What the libraries of a worker are told about threads, where a person says nothing else.
_THREAD_COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

#: The processes of :func:`_run_in_processes`: how many, the environment that they were started with, and the pool.
_pool: tuple[tuple[int, dict[str, str]], Any] | None = None


class WorkersDied(NlbsError):
    """Worker processes died at tasks whose results are missing now."""


@dataclass(frozen=True)
class Workers:
    """Which workers run the tasks of a command, and how many."""

    jobs: int = -1  #: processes or threads of this machine; -1 is one per core; a cluster has its own
    backend: str = BACKENDS[0]
    scheduler: str | None = None  #: address of a cluster: "tcp://host:8786"; None is for this machine

    def __post_init__(self) -> None:
        """Raise ConfigError for options that do not go together."""
        if self.backend not in BACKENDS:
            raise ConfigError(f"--backend {self.backend!r}: expected one of {', '.join(BACKENDS)}")
        if self.jobs == 0:
            raise ConfigError("--jobs 0: expected a number of workers, or -1 for one per core")
        if self.backend == "dask" and not self.scheduler:
            raise ConfigError(
                "--backend dask needs the address of its scheduler: --scheduler tcp://host:8786, as dask scheduler says"
            )
        if self.scheduler and self.backend != "dask":
            raise ConfigError(f"--scheduler {self.scheduler} goes with --backend dask, not {self.backend}")

    def run(
        self, function: Callable[..., Result], tasks: Iterable[Task], shared: AnyPath
    ) -> Generator[Result, None, None]:
        """Return what ``function(*task)`` gives for each task, in the order they end. Tasks are taken as needed.

        Args:
            function: of a module of this package.
            tasks: its arguments, with absolute paths: a worker of a cluster stands in another folder.
            shared: folder that all workers have to see.

        Raises:
            WorkersDied: a worker process died; a cluster has done all other tasks before.
            ConfigError: the cluster cannot be used.
        """
        if self.backend != "dask":
            return self._run_here(function, tasks)
        mounted = in_file_system(shared, f"--backend {self.backend} needs", "use loky or threading there")
        return self._run_by_dask(function, tasks, mounted)

    def run_fenced(
        self, function: Callable[..., Result], tasks: Iterable[Task], shared: AnyPath
    ) -> Generator[Result, None, None]:
        """Yield the same as :meth:`run` for tasks that may harm their process: it is never this one.

        A limit of memory is of a whole process, and a thread that hangs cannot be ended. So what runs in threads, or
        here, otherwise runs in as many processes of this machine.

        Args and Raises: as for :meth:`run`.
        """
        if self.backend == "dask":
            return self.run(function, tasks, shared)
        return _run_in_processes(function, tasks, joblib.effective_n_jobs(self.jobs))

    def _run_here(
        self, function: Callable[..., Result], tasks: Iterable[Task]
    ) -> Generator[Result, None, None]:
        jobs = joblib.effective_n_jobs(self.jobs)
        if self.backend == "threading":
            return _run_in_threads(function, tasks, jobs)
        if jobs == 1:
            return (function(*task) for task in tasks)
        return _run_in_processes(function, tasks, jobs)

    def _run_by_dask(
        self, function: Callable[..., Result], tasks: Iterable[Task], shared: Path
    ) -> Generator[Result, None, None]:
        """Run tasks as futures: unlike joblib's backend, one that kills its workers costs that one alone."""
        distributed = _distributed()
        waiting, dead = iter(tasks), 0
        with _dask_client(str(self.scheduler)) as client:
            _check_dask_workers(client, shared)
            at_once = _IN_FLIGHT * max(1, sum(client.nthreads().values()))
            submitted = distributed.as_completed(loop=client.loop)
            for task in itertools.islice(waiting, at_once):
                submitted.add(client.submit(function, *task, pure=False))
            try:
                for future in submitted:
                    for task in itertools.islice(waiting, 1):
                        submitted.add(client.submit(function, *task, pure=False))
                    try:
                        result: Result = future.result()
                    except distributed.KilledWorker:  # tried again by the scheduler, several times
                        dead += 1
                    else:
                        yield result
                    finally:
                        future.release()
            except GeneratorExit:
                # What runs cannot be stopped, and must not write once the folder is another's.
                for _ in submitted:
                    pass
                raise
        if dead:
            raise WorkersDied(
                f"the workers at {dead} tasks died each time they were tried: see the logs of the Dask workers; the "
                "same command continues"
            )


def _run_in_threads(
    function: Callable[..., Result], tasks: Iterable[Task], jobs: int
) -> Generator[Result, None, None]:
    run = joblib.Parallel(n_jobs=jobs, backend="threading", return_as="generator_unordered", batch_size=1)
    # Filters belong to the process: a thread that resets them would let another's warning out, which may quote a
    # file. And where too many failures stop the work, joblib remarks on results that nobody took.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with closing(run(joblib.delayed(function)(*task) for task in tasks)) as results:
            yield from results


def _run_in_processes(
    function: Callable[..., Result], tasks: Iterable[Task], jobs: int
) -> Generator[Result, None, None]:
    """Yield results of processes beside this one, which stay for the next call; joblib would run one job here."""
    executor, running = _pool_of(jobs), set[Any]()
    waiting = iter(tasks)
    try:
        with _quiet():
            for task in itertools.islice(waiting, _IN_FLIGHT * jobs):
                running.add(executor.submit(function, *task))
            while running:
                for future in futures.wait(running, return_when=futures.FIRST_COMPLETED).done:
                    result: Result = future.result()
                    running.remove(future)
                    for task in itertools.islice(waiting, 1):
                        running.add(executor.submit(function, *task))
                    yield result
    except BrokenProcessPool as error:
        raise WorkersDied(WORKER_DIED) from error
    finally:
        if running:  # it died, or what it does must not be written once the folder is another's
            _end_pool(executor)


def _pool_of(jobs: int) -> Any:
    """Return the kept pool of that many processes, or start it where there is none under the environment of now."""
    global _pool
    made_for = jobs, dict(os.environ)
    if _pool is None or _pool[0] != made_for:
        if _pool is not None:
            _end_pool(_pool[1])
        threads = str(max(1, joblib.cpu_count() // jobs))
        executor = ProcessPoolExecutor(
            max_workers=jobs,
            timeout=_IDLE_S,
            initializer=end_with_parent,
            env={} if jobs == 1 else {name: os.environ.get(name, threads) for name in _THREAD_COUNTS},
        )
        _pool = made_for, executor
    return _pool[1]


def _end_pool(executor: Any) -> None:
    """End processes at once, whatever they do."""
    global _pool
    _pool = None
    # The pool drops its tasks and then looks up the number of one that no process has taken: a KeyError in its thread.
    with suppress(queue.Empty):
        while True:
            executor._work_ids.get_nowait()
    executor.shutdown(wait=True, kill_workers=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back the remark of a pool on workers that it starts anew because they grew."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        yield


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise ConfigError(
            "--backend dask needs Dask, on all machines: pip install 'nlbs-cvae[dask]'"
        ) from None


@contextmanager
def _dask_client(scheduler: str) -> Iterator[Any]:
    try:
        client = _distributed().Client(scheduler, set_as_default=False, timeout=_PATIENCE_S)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"there is no Dask scheduler at {scheduler} ({type(error).__name__}): check --scheduler, and whether "
            "dask scheduler runs there"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE_S)
        except TimeoutError:
            raise ConfigError(
                f"the Dask scheduler at {scheduler} has no workers: start some with dask worker {scheduler}"
            ) from None
        yield client


def _check_dask_workers(client: Any, shared: Path) -> None:
    """Raise ConfigError where a worker has another release of this package, or does not see the folder."""
    probe = temporary_path(shared.absolute() / "probe")
    probe.touch()

    def look() -> tuple[str, bool]:  # sent as code, because a worker may not have this package
        try:
            import nlbs
        except ImportError:
            return "no release", False
        return str(nlbs.__version__), probe.exists()

    try:
        found = client.run(look, on_error="return")
    finally:
        probe.unlink()
    for worker, answer in sorted(found.items()):
        if isinstance(answer, BaseException):
            raise ConfigError(
                f"the Dask worker {worker} cannot run a task ({type(answer).__name__}: {answer})"
            )
        version, sees = answer
        if version != __version__:
            raise ConfigError(
                f"the Dask worker {worker} has {version} of nlbs-cvae, this command is release {__version__}: install "
                "the same on all machines, and start the workers anew"
            )
        if not sees:
            raise ConfigError(
                f"the Dask worker {worker} does not see {shared}: the folder has to be on a file system that all "
                "machines mount at the same place"
            )


#: What a person is told when a worker ends and no file is to blame.
WORKER_DIED = (
    "a worker process was ended from outside, as the system does when memory runs out. What is complete is kept: "
    "give the same command again, with fewer --jobs if it happens twice"
)
_SECONDS_BETWEEN_LOOKS = 0.5


def end_with_parent() -> None:
    """End this worker soon after the process that started it; does nothing in the command's own process.

    The initializer of every pool. A command that is killed cannot stop its workers, and those of joblib would go on
    with the file in hand and then wait for five minutes.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        threading.Thread(target=_watch, args=(parent.pid,), daemon=True).start()


def _watch(command: int) -> None:
    # A process whose parent dies gets another one at once, and keeps it. So this also sees a command that died
    # before the worker got here; asking whether a process of that number is alive would not, while it is a zombie.
    while os.getppid() == command:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
