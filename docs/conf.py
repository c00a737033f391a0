"""The documentation: ``make docs`` builds it, runs its notebooks, and ends at the first thing that is wrong."""

import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import nlbs

_here = Path(__file__).parent
# Notebooks call the commands by their names, and leave nothing behind beside the pages.
_scratch = _here / "_build" / "scratch"
_startup = _scratch / "ipython" / "profile_default" / "startup"
_startup.mkdir(parents=True, exist_ok=True)
shutil.copy(_here / "_ext" / "bash_cell.py", _startup)
os.environ |= {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "IPYTHONDIR": str(_scratch / "ipython"),
    "NLBS_KEY_FILE": str(_scratch / "key"),
    "OMP_NUM_THREADS": "1",
}

project = "NLBS-CVAE"
author = "The NLBS-CVAE authors"
copyright = "The NLBS-CVAE authors, Apache 2.0"
version = release = nlbs.__version__

extensions = [
    "myst_nb",
    "reference",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
exclude_patterns = ["_build", "_ext"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"

smartquotes = False  # they would make dashes of --options
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True

html_theme = "furo"
html_title = f"NLBS-CVAE {nlbs.__version__}"
html_show_sphinx = False
html_copy_source = False
