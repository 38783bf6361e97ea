"""Every test of the books that needs a database runs on both engines: the embedded one, and Debian's where it is installed."""

import pytest

from tests import engines


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Both engines for whatever asks for a server."""
    if "server_url" in metafunc.fixturenames:
        metafunc.parametrize("engine", engines.EVERY, indirect=True, scope="session")
