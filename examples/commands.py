"""How the examples run the product's commands: as one would type them."""

import shlex
import subprocess
import sys
from pathlib import Path


def run(command: str, **paths: Path) -> None:
    """Print a command as one would type it, run it, and end where it fails.

    Args:
        command: words without spaces in them.
        paths: options that take a path, by name.
    """
    words = command.split() + [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    print(f"\n$ {shlex.join(words)}", flush=True)
    tool = Path(sys.executable).with_name(words[0])
    finished = subprocess.run([str(tool), *words[1:]], check=False)
    if finished.returncode:
        sys.exit(finished.returncode)
