"""Folders the daemon would rather not live in, each with what to do about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.daemons import Homes

from glmd import control, paths
from glmd.errors import StartFailed
from glmd.settings import DaemonSettings


def start() -> None:
    control.start_daemon(DaemonSettings(threads=1))


def test_the_folder_is_made_private(homes: Homes) -> None:
    homes.start()
    folder = paths.runtime_dir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert paths.socket_file().stat().st_mode & 0o077 == 0
    assert paths.facts_file().stat().st_mode & 0o077 == 0
    assert paths.data_dir().stat().st_mode & 0o077 == 0
    assert paths.log_file().stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_can_enter(homes: Homes, mode: int) -> None:
    folder = paths.runtime_dir()
    folder.mkdir(parents=True)
    folder.chmod(mode)
    with pytest.raises(StartFailed, match=f"chmod 700 {folder}"):
        start()
    assert list(folder.iterdir()) == []


def test_a_folder_in_one_that_others_can_write_to(homes: Homes) -> None:
    homes.runtime.mkdir()
    homes.runtime.chmod(0o777)
    with pytest.raises(StartFailed, match=f"chmod go-w {homes.runtime}"):
        start()
    homes.runtime.chmod(0o1777)  # as /tmp is: nobody can remove what is another's
    start()


def test_a_link_instead_of_a_folder(homes: Homes, tmp_path: Path) -> None:
    homes.runtime.mkdir()
    paths.runtime_dir().symlink_to(tmp_path)
    with pytest.raises(StartFailed, match="not a folder"):
        start()
    paths.runtime_dir().unlink()


def test_a_folder_of_somebody_else(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "default"
    if os.getuid() == 0:
        paths.runtime_dir().mkdir(parents=True, mode=0o700)
        os.chown(paths.runtime_dir(), 12345, 12345)
    else:  # only root can give a folder away, but there are some that are root's
        monkeypatch.setenv("GLMD_RUNTIME_DIR", "/")
        name = "usr"
    with pytest.raises(StartFailed, match="not a folder of user"):
        control.start_daemon(DaemonSettings(name=name))
    if os.getuid() == 0:
        os.chown(paths.runtime_dir(), 0, 0)


def test_a_file_in_the_way(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = homes.root / "file"
    blocked.write_text("")
    monkeypatch.setenv("GLMD_RUNTIME_DIR", str(blocked))
    with pytest.raises(StartFailed, match="GLMD_RUNTIME_DIR"):
        start()


@pytest.mark.parametrize("variable", ["GLMD_DATA_DIR"])
def test_data_that_cannot_be_written(
    homes: Homes, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    blocked = homes.root / "file"
    blocked.write_text("")
    monkeypatch.setenv(variable, str(blocked))
    with pytest.raises(StartFailed, match=variable):
        start()


@pytest.mark.parametrize(("length", "fits"), [(107, True), (108, False)])
def test_the_longest_socket_path(
    homes: Homes, monkeypatch: pytest.MonkeyPatch, length: int, fits: bool
) -> None:
    base = homes.root / "long"
    missing = length - len(os.fsencode(base)) - len("/default/sock")
    monkeypatch.setenv("GLMD_RUNTIME_DIR", str(base.with_name("long" + "x" * missing)))
    assert len(os.fsencode(paths.socket_file())) == length
    if fits:
        homes.start()
        control.stop_daemon("default")
    else:
        with pytest.raises(StartFailed, match="shorter folder"):
            homes.start()


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 33, "spa ce"])
def test_names_that_are_no_names(homes: Homes, name: str) -> None:
    with pytest.raises(StartFailed, match="name"):
        control.start_daemon(DaemonSettings(name=name))
