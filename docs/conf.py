"""Settings of the site: `make docs` writes it to build/docs, which opens from the disk and asks no other host."""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

project = "gradsculpt"
author = "the authors of gradsculpt"
copyright = "the authors of gradsculpt, MIT licence"
release = version = installed("gradsculpt")
language = "en-GB"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_sitemap",
    "generation",
]
exclude_patterns = ["_static/**"]

# Notebooks are run when one of them has changed, in a folder of their own; what they gave is kept between builds.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "build" / "notebooks")
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

# Pages
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence", "attrs_block", "fieldlist"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

# Docstrings: what they are written in is made reStructuredText by `generation.docstrings`.
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# A link has to be found. The types of signatures link where they are public; those of PyTorch and Python would need the
# network, and some of the package's own are not public.
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", ".*"),
    ("py:.*", r"(?!gradsculpt\.).*"),
    ("py:obj", r"gradsculpt\.metrics\.base\.[PR]"),
]

html_theme = "furo"
html_title = "gradsculpt"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
# A sitemap has whole addresses: DOCS_URL is where the site is published.
html_baseurl = os.environ.get("DOCS_URL", "http://localhost:8000/")
sitemap_url_scheme = "{link}"
sitemap_show_lastmod = False
copybutton_prompt_text = "$ "
