"""The pytest plugin, as a plugin author's tests use it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from glmd import paths
from glmd.testing.daemon import Homes

pytest_plugins = ["pytester"]


def test_a_daemon_is_there_when_it_is_asked_for(glmd_daemon: Homes) -> None:
    assert glmd_daemon.client.chat("你好", preset="greedy", max_tokens=4).text
    assert glmd_daemon.client is glmd_daemon.client
    assert glmd_daemon.plugins == paths.plugins_dir()
    assert glmd_daemon.plugins.stat().st_mode & 0o777 == 0o700
    assert paths.plugins_dir().is_relative_to(glmd_daemon.root)


def test_a_daemon_may_be_started_otherwise(glmd_daemon: Homes) -> None:
    assert glmd_daemon.start(context=128).model
    assert glmd_daemon.client.status().context == 128


def test_pytest_finds_it_where_glmd_is_installed(pytester: pytest.Pytester) -> None:
    """And nothing of it is left when the tests have ended, also when they failed."""
    pytester.makepyfile(
        """
        from pathlib import Path

        def test_fails(glmd_daemon):
            Path("facts").write_text(f"{glmd_daemon.start().pid} {glmd_daemon.root}")
            assert glmd_daemon.client.status().pid == 0
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    pid, root = (pytester.path / "facts").read_text().split()
    assert not runs(int(pid))
    assert not Path(root).exists()


def runs(pid: int) -> bool:
    """A process that only waits to be reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
