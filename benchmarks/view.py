"""The local page of nlbs-preprocess view: what a page costs at 10^3 and at 10^5 patches. Prints JSON.

Makes a set of each size as `open_manifest.py` does (patches of 256x256 zeros in files that are holes), serves it, and
asks for pages as a browser does: the page, then its 48 pictures over six connections. `seconds` is the wall clock, the
median of the repeats (of a first page the only one there is), `cpu` the processor time of server and client together,
which a busy machine lengthens little. `png_of_noise_cpu` is what the 48 pictures cost where patches hold noise. Where
there are playwright and Chromium, `chromium_seconds` is from the request to the last picture on the screen.

    python benchmarks/view.py --rows 1000 100000
"""

import argparse
import json
import re
import statistics
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from benchmarks.open_manifest import RESOLUTION, make_set

from nlbs.pictures import png_bytes
from nlbs.preprocess.view.dataset import Dataset
from nlbs.preprocess.view.listings import PATCHES
from nlbs.preprocess.view.routes import application
from nlbs.preprocess.view.runs import Runs
from nlbs.preprocess.view.server import listening

REPEATS = 7
CHROMIUM = Path("/usr/bin/chromium")
#: What is asked for -> its address. The first page is the first of all.
PAGES = {
    "first_page": "",
    "page": "",
    "filter": "?where=split+%21%3D+%27test%27+and+foreground+%3E+0.1",
    "at_random": "?order=random&page=7",
    "images": "images",
    "counts_first": "counts",
    "counts": "counts",
}


def measured(rows: int, scratch: Path) -> dict[str, Any]:
    """Return what each page costs of a set of so many patches."""
    folder = scratch / f"r{RESOLUTION}-{rows}"
    make_set(folder, rows)
    found: dict[str, Any] = {"rows": rows, "open": timed(lambda: Dataset(folder))}
    listener = listening(0)
    config = uvicorn.Config(application(Dataset(folder), Runs(None), "t"), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}/t/"
    try:
        with ThreadPoolExecutor(6) as connections:
            for name, path in PAGES.items():
                repeats = 1 if "first" in name else REPEATS
                times = [timed(lambda path=path: seen(base + path, connections)) for _ in range(repeats)]
                found[name] = {key: statistics.median(time[key] for time in times) for key in times[0]}
        found["chromium_seconds"] = in_chromium(base)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
    return found


def timed(call: Any) -> dict[str, float]:
    """Return the seconds of a call: on the clock, and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"seconds": round(time.perf_counter() - wall, 4), "cpu": round(time.process_time() - cpu, 4)}


def seen(address: str, connections: ThreadPoolExecutor) -> None:
    """Load a page and the pictures that are on it."""
    page = read(address).decode()
    pictures = re.findall(r'<img[^>]* src="([^"]+)"', page)
    host = "/".join(address.split("/")[:3])
    list(connections.map(lambda path: read(host + path), pictures))


def read(address: str) -> bytes:
    """Return what is at an address."""
    with urllib.request.urlopen(address) as answer:  # noqa: S310  # of our own server
        body: bytes = answer.read()
        return body


def in_chromium(address: str) -> float | None:
    """Return the seconds until a fresh Chromium shows the page with its pictures; None without one."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        return None
    if not CHROMIUM.exists():
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1700})
        page.goto("about:blank")
        started = time.perf_counter()
        page.goto(address)  # until all pictures are there
        took = time.perf_counter() - started
        browser.close()
    return round(took, 3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    noise = np.random.default_rng(0).integers(0, 255, (RESOLUTION, RESOLUTION), np.uint8)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        sets = [measured(rows, Path(scratch)) for rows in options.rows]
    cost = timed(lambda: [png_bytes(noise, RESOLUTION, quick=True) for _ in range(PATCHES)])
    ratios = {name: round(sets[-1][name]["cpu"] / sets[0][name]["cpu"], 2) for name in PAGES}
    print(json.dumps({"sets": sets, "cpu_last_to_first": ratios, "png_of_noise_cpu": cost["cpu"]}, indent=1))


if __name__ == "__main__":
    main()
