"""How Sphinx builds the manual: Markdown pages, and the reference from docstrings. Needs no network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from polytask import __version__

project = "polytask"
author = "The polytask authors"
project_copyright = "The polytask authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "offline_math", "plain_bars"]
exclude_patterns = ["_build", "_extensions", "_static"]
default_role = "code"  # `x` in a docstring is code

html_theme = "furo"
html_title = f"polytask {version}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_show_sphinx = False
html_copy_source = False

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True, "no-value": True}
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
