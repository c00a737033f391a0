"""The server of the page: on the loopback alone, for whoever has the token, until Ctrl-C."""

import secrets
import socket
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path

import click

from nlbs.errors import ConfigError
from nlbs.paths import AnyPath
from nlbs.preprocess.view.dataset import Dataset
from nlbs.preprocess.view.runs import Runs

_HOST = "127.0.0.1"


def serve(shards: AnyPath, runs: Path | None, port: int, browser: bool) -> None:
    """Show a dataset until the command is interrupted.

    Args:
        shards: a shard set, or a dataset root with one, or with one that is being built.
        runs: a run folder, or a folder of them; None: ``runs`` beside the dataset root or in this folder.
        port: to listen on; 0: a free one.
        browser: whether to open the page in one.

    Raises:
        ConfigError: starlette and uvicorn are not installed, the port is taken, or there is no folder ``runs``.
        NlbsError: there is nothing to look at.
    """
    try:
        import uvicorn

        from nlbs.preprocess.view.routes import application
    except ModuleNotFoundError as error:
        package = str(error.name).split(".")[0]
        if package not in ("starlette", "uvicorn"):
            raise
        raise ConfigError(
            f"view needs the package {package}: pip install 'nlbs-cvae[view]'; nlbs-preprocess report writes a "
            "page without it"
        ) from None
    if runs is not None and not runs.is_dir():
        raise ConfigError(f"there is no folder {runs}: --runs takes a run folder, or a folder of them")
    dataset, token = Dataset(shards), secrets.token_urlsafe(24)
    with listening(port) as listener:
        address = f"http://{_HOST}:{listener.getsockname()[1]}/{token}/"
        click.echo(f"Page        {address}\nTo end      Ctrl-C")
        if browser:  # a browser in the terminal does not return
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        config = uvicorn.Config(
            application(dataset, Runs(runs or _runs_beside(shards)), token),
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        with suppress(KeyboardInterrupt):  # given on by uvicorn once it has closed everything
            uvicorn.Server(config).run(sockets=[listener])
        click.echo("Closed.")


def listening(port: int) -> socket.socket:
    """Return a socket that listens on the loopback; 0 is a free port. Raises ConfigError where the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on port {port} ({error.strerror}): leave --port out, which takes a free one"
        ) from None
    return listener


def _runs_beside(shards: AnyPath) -> Path | None:
    """Return the folder ``runs`` that is nearest: beside the set, beside its root, or in this folder."""
    above = shards.absolute().parents[:2] if isinstance(shards, Path) else ()
    return next((place / "runs" for place in (*above, Path.cwd()) if (place / "runs").is_dir()), None)
