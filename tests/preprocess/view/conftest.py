"""The page as a client sees it: served on the loopback by a thread of the test, which ends it."""

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from nlbs.pictures import write_png
from nlbs.preprocess.view.dataset import Dataset
from nlbs.preprocess.view.runs import Runs
from nlbs.preprocess.view.server import listening
from tests.shards.conftest import make_shard_set

TOKEN = "a-token-of-the-tests"  # noqa: S105


@dataclass(frozen=True)
class Site:
    """A page that is being served."""

    port: int
    runs: Path | None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{TOKEN}/"

    def ask(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Gives status, headers and body of a path as it stands: no client's library puts it in order first."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def text(self, path: str = "", status: int = 200, **query: object) -> str:
        """Gives what stands at an address below the token."""
        found, _, body = self.ask(f"/{TOKEN}/{path}" + (f"?{urlencode(query)}" if query else ""))
        assert found == status, body
        return body.decode()


@contextmanager
def served(shards: Path, runs: Path | None = None) -> Iterator[Site]:
    """Serves a dataset and runs until the block ends."""
    uvicorn = pytest.importorskip("uvicorn")
    from nlbs.preprocess.view.routes import application

    listener = listening(0)
    app = application(Dataset(shards), Runs(runs), TOKEN)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield Site(listener.getsockname()[1], runs)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def make_run(folder: Path, epochs: int = 3, **values: float) -> Path:
    """Writes what the page reads of a training run: rows of metrics.jsonl, and a page of samples."""
    (folder / "samples").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for epoch in range(epochs):
        step = 10 * (epoch + 1)
        rows.append({"kind": "train", "step": step, "epoch": epoch, "total": 1.0 / step, **values})
        judged = {"train_total": 2.0 / step, "val_total": 3.0 / step}
        rows.append({"kind": "epoch", "step": step, "epoch": epoch, **judged})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_png(folder / "samples" / "step-00000010.png", np.full((8, 8), 7, np.uint8))
    return folder


@pytest.fixture(scope="module")
def site(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The phantom's dataset root, served with two runs."""
    runs = tmp_path_factory.mktemp("runs")
    make_run(runs / "first")
    make_run(runs / "second", epochs=5)
    with served(dataset_root, runs) as there:
        yield there


@pytest.fixture
def shard_folder(tmp_path: Path) -> Path:
    """A shard set of 12 patches."""
    make_shard_set(tmp_path / "set")
    return tmp_path / "set"
