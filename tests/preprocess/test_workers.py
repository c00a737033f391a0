"""The same bytes whoever does the work: processes, threads, a Dask cluster whose workers die."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nlbs
from nlbs.errors import ConfigError
from nlbs.manifests.conditions import Conditions
from nlbs.manifests.tables.table import ImageRow
from nlbs.preprocess import workers
from nlbs.preprocess.formats.image_errors import DecodeError
from nlbs.preprocess.images.decode import DecodedImage, DecodeOptions
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.decoding import Decoding
from nlbs.preprocess.root.ingest import ingest
from nlbs.preprocess.root.sources import Source
from nlbs.preprocess.workers import Workers, WorkersDied
from tests.conftest import CUT, run_command
from tests.preprocess.roots import build, files_of


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three worker processes of one thread, each with a nanny that starts it anew when it dies."""
    distributed, dask = pytest.importorskip("distributed"), pytest.importorskip("dask")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=3,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as found,
    ):
        yield found


def squared(number: int) -> int:
    time.sleep(0.005)
    return number**2


def killer(number: int) -> int:
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def odd_decoder(path: Path, options: DecodeOptions) -> DecodedImage:
    """Stands for a decoder that crashes for good at one file, and gives each other its name's length."""
    if path.stem == "crash":
        ctypes.string_at(0)
    if path.stem == "bad":
        raise DecodeError("no pixels in here")
    mask = {"step": 1, "rows": 8, "columns": 8, "runs": [0, 64]}
    return DecodedImage(
        np.full((8, 8), len(path.stem), np.uint8), {"crop_rows": 8, "crop_columns": 8, "mask": mask}, ()
    )


def decode(folder: Path, names: list[str], workers: Workers, most_failures: float = 99) -> list[Source]:
    folder.mkdir(exist_ok=True)
    sources = []
    for number, name in enumerate(names, start=1):
        (folder / name).write_text(name)
        row = ImageRow(number, name, Conditions(), "p")
        sources.append(Source(row, f"{number:016x}", "p0", "train", folder / name))
    store = ImageStore.open(folder / "images.zarr", DecodeOptions().recipe())
    how = Decoding(store, DecodeOptions(), CutOptions(resolution=8, stride=8), odd_decoder, timeout_s=20)
    return ingest(sources, how, {}, workers, most_failures)


@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.parametrize("jobs", [1, 3])
def test_every_task_is_done_once_and_tasks_are_not_all_taken_at_once(
    backend: str, jobs: int, tmp_path: Path
) -> None:
    taken = []

    def tasks() -> Iterator[tuple[int]]:
        for number in range(200):
            taken.append(number)
            yield (number,)

    results = Workers(jobs, backend).run(squared, tasks(), tmp_path)
    first = next(results)
    assert len(taken) < 100
    assert sorted([first, *results]) == [number**2 for number in range(200)]


def test_a_worker_that_dies_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(WorkersDied, match="fewer --jobs"):
        list(Workers(2).run(killer, ((number,) for number in range(20)), tmp_path))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"backend": "dask"}, "--scheduler tcp://host:8786"),
        ({"scheduler": "tcp://host:1"}, "goes with --backend dask"),
        ({"jobs": 0}, "--jobs 0"),
        ({"backend": "slurm"}, "expected one of loky, threading, dask"),
    ],
)
def test_options_that_do_not_go_together_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Workers(**options)


def test_a_missing_package_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    workers = Workers(backend="dask", scheduler="tcp://127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"pip install 'nlbs-cvae\[dask\]'"):
        list(workers.run(squared, [(1,)], tmp_path))


def test_threads_give_the_outcomes_of_processes(tmp_path: Path) -> None:
    names = [f"{'n' * number}.dcm" for number in range(1, 12)] + ["bad.dcm"]
    by_backend = {}
    for backend in ("loky", "threading"):
        outcomes = decode(tmp_path / backend, names, Workers(2, backend))
        by_backend[backend] = [(o.status, o.reason, o.patches) for o in outcomes]
    assert by_backend["loky"] == by_backend["threading"]
    assert by_backend["loky"] == [("ok", "", 1)] * 11 + [("decode_failed", "no pixels in here", 0)]
    assert files_of(tmp_path / "loky") == files_of(tmp_path / "threading")


@pytest.mark.parametrize(("jobs", "backend"), [(2, "loky"), (7, "threading")])
def test_the_whole_root_is_the_same_for_any_jobs_and_backend(
    phantom: Path, dataset_root: Path, tmp_path: Path, jobs: int, backend: str
) -> None:
    build(phantom / "meta.csv", phantom, tmp_path, "--jobs", jobs, "--backend", backend)
    assert files_of(tmp_path) == files_of(dataset_root)


def test_a_build_by_dask_has_the_same_bytes_also_when_a_worker_is_killed_midway(
    phantom: Path, dataset_root: Path, cluster: Any, tmp_path: Path
) -> None:
    out, killed = tmp_path / "shards", []
    victim = cluster.workers[1].pid

    def kill_midway() -> None:
        deadline = time.monotonic() + 200
        while len(list((out / "images.zarr").glob("*/zarr.json"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        killed.append(len(list((out / "images.zarr").glob("*/zarr.json"))))
        os.kill(victim, signal.SIGKILL)

    thread = threading.Thread(target=kill_midway)
    thread.start()
    done = run_command(
        *("preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", "shards", *CUT[:4]),
        *("--backend", "dask", "--scheduler", cluster.scheduler_address),
        cwd=tmp_path,
    )
    thread.join()
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert 3 <= killed[0] < 16, "the worker was not killed midway"
    assert files_of(out) == files_of(dataset_root)


def test_a_file_that_kills_every_worker_of_dask_is_named_and_the_others_are_decoded(
    cluster: Any, tmp_path: Path
) -> None:
    names = [f"good-{number}.dcm" for number in range(12)]
    names.insert(4, "crash.dcm")
    outcomes = decode(tmp_path / "f", names, Workers(backend="dask", scheduler=cluster.scheduler_address))
    assert [outcome.status for outcome in outcomes] == ["ok"] * 4 + ["codec_crash"] + ["ok"] * 8


def test_dask_stops_where_too_many_fail(cluster: Any, tmp_path: Path) -> None:
    workers = Workers(backend="dask", scheduler=cluster.scheduler_address)
    outcomes = decode(tmp_path / "f", ["bad.dcm"] * 30, workers, most_failures=2)
    statuses = [outcome.status for outcome in outcomes]
    assert 3 <= statuses.count("decode_failed") <= 12
    assert statuses.count("decode_failed") + statuses.count("not_reached") == 30


def test_a_dask_cluster_that_cannot_do_it_is_refused_in_one_sentence(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = Workers(backend="dask", scheduler=cluster.scheduler_address)
    monkeypatch.setattr("nlbs.preprocess.workers.__version__", "99.0")
    with pytest.raises(
        ConfigError, match=f"has {nlbs.__version__} of nlbs-cvae, this command is release 99.0"
    ):
        list(workers.run(squared, [(1,)], tmp_path))
    monkeypatch.setattr("nlbs.preprocess.workers._PATIENCE_S", 1)
    nobody = Workers(backend="dask", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"there is no Dask scheduler at tcp://127\.0\.0\.1:9"):
        list(nobody.run(squared, [(1,)], tmp_path))


@pytest.mark.parametrize("jobs", [1, 2])
def test_work_that_is_given_up_leaves_no_error_of_the_pools_thread(
    jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    given_up = 0
    for _ in range(5):
        results = Workers(jobs).run_fenced(abs, [(number,) for number in range(50)], tmp_path)
        assert next(results) >= 0
        manager = workers._pool[1]._executor_manager_thread
        results.close()  # while a task has just been handed over
        manager.join(30)
        given_up += not manager.is_alive()
    assert (given_up, errors) == (5, [])
