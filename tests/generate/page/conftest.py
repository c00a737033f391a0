"""Runs whose cards say that no copies were found, and a browser."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nlbs.errors import ConfigError
from nlbs.generate.page.runtime import runtime
from nlbs.models import card
from nlbs.models.checkpoint import save_checkpoint
from nlbs.models.stages.fitted import save_stage
from nlbs.models.stages.flow_stage import FLOW, WEAK_FLOW
from tests.generate.test_generator import make_run
from tests.models.stages.conftest import autoencoder, untrained_flow

CHROMIUM = Path("/usr/bin/chromium")


def audited(run: Path, verdict: str = card.NO_COPIES) -> Path:
    """Return a run once its card says a verdict."""
    identity = card.identity(run / "best_model.safetensors")
    card.update_card(run / "best_model.safetensors", "toy", {"": {"model": identity}})
    card.complete_card(run / "best_model.safetensors", {"memorisation": {"": card.audited(verdict)}})
    return run


@pytest.fixture(scope="session")
def cvae_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional VAE with flow, weak flow and grain."""
    return audited(make_run(tmp_path_factory.mktemp("cvae")))


@pytest.fixture(scope="session")
def latent_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A latent diffusion model, drawn by DPM-Solver++ away from a weak flow."""
    folder = tmp_path_factory.mktemp("latent")
    torch.manual_seed(0)
    model = autoencoder()
    save_checkpoint(folder / "best_model.safetensors", model, {})
    save_stage(folder / "best_model.safetensors", FLOW, untrained_flow(model), model)
    save_stage(folder / "best_model.safetensors", WEAK_FLOW, untrained_flow(model, 2), model)
    return audited(folder)


@pytest.fixture(scope="session")
def has_runtime() -> None:
    """ONNX Runtime Web lies in the user's cache, or can be fetched."""
    try:
        runtime(None, lambda line: None)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def browser(has_runtime: None) -> Iterator[Any]:
    """Debian's Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return a function that serves a folder on this machine alone, and returns its address."""
    servers = []

    def serve(folder: Path) -> str:
        handler = functools.partial(_Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield serve
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()
