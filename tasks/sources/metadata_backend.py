"""A build backend that builds nothing: it answers pip's question for a project's metadata from its PKG-INFO.

``pip download`` prepares the metadata of a source distribution even with ``--no-deps``, by running the
project's own build backend in a fresh environment. For SQLAlchemy that took 5 minutes (it compiles Cython
first) and it runs third-party code. ``tasks/sources/packages.py`` therefore puts this file, under the name of
setuptools' backend (PEP 517), in front of the path that pip's child process sees: 3 seconds, and no foreign
code runs.
Standard library only, and nothing of Unveil: it is copied out and run on its own.
"""

from __future__ import annotations

import email.parser
from pathlib import Path
from typing import Any


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Nothing is needed, for nothing is built."""
    return []


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Any = None) -> str:
    """Copy PKG-INFO of the project in the current folder into a ``.dist-info`` and return its name."""
    content = Path("PKG-INFO").read_bytes()
    headers = email.parser.BytesParser().parsebytes(content, headersonly=True)
    folder = f"{headers['Name'].replace('-', '_')}-{headers['Version']}.dist-info"
    target = Path(metadata_directory, folder)
    target.mkdir()
    (target / "METADATA").write_bytes(content)
    return folder


class _Legacy:
    """What ``setuptools.build_meta:__legacy__`` names: the backend of projects without pyproject.toml."""

    get_requires_for_build_wheel = staticmethod(get_requires_for_build_wheel)
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)


__legacy__ = _Legacy()
