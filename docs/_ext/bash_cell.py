"""Run by the kernel of each notebook as it starts: a cell of commands fails with the first of them that does.

IPython's own %%bash goes on after a command that failed, and gives what commands say in pieces.
"""

import subprocess
import sys

from IPython.core.magic import register_cell_magic


@register_cell_magic
def bash(line: str, cell: str) -> None:
    """Run the commands of a cell, and show what they say once they are through."""
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", cell], capture_output=True, text=True, check=False
    )
    print(done.stdout, end="", flush=True)
    print(done.stderr, end="", file=sys.stderr, flush=True)
    done.check_returncode()
