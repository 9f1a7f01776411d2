"""The model's files are replaced under a running daemon, in all the ways in which people do it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemons import Homes
from support.engine_processes import until
from support.models import model

import glmd
from glmd.wire.replies import StatusReply

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("models") / "old", 1)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("models") / "new", 2)


@pytest.fixture
def served(old: Path, homes: Homes, tmp_path: Path) -> Path:
    """A folder that a daemon serves and watches."""
    path = tmp_path / "models" / "served"
    shutil.copytree(old, path)
    homes.start(model=str(path))
    return path


@pytest.fixture
def client(served: Path) -> Iterator[glmd.Client]:
    with glmd.Client() as client:
        yield client


def is_loaded(client: glmd.Client, loads: int) -> StatusReply:
    """Wait until the daemon has loaded so many models, and let go of all but one."""
    return until(
        client.status, lambda now: (now.model_loads, now.leaving, settled(now)) == (loads, 0, True)
    )


def settled(status: StatusReply) -> bool:
    return status.reload is None or status.reload.state in {"done", "failed"}


def answer(client: glmd.Client) -> list[int]:
    return client.complete("a", seed=1, max_tokens=20, ignore_eos=True).token_ids


def test_a_folder_is_replaced(served: Path, new: Path, client: glmd.Client) -> None:
    before = answer(client)
    shutil.copytree(new, served.parent / "coming")
    served.rename(served.parent / "gone")
    (served.parent / "coming").rename(served)
    is_loaded(client, 2)
    assert answer(client) != before
    served.rename(served.parent / "gone again")
    (served.parent / "gone").rename(served)
    is_loaded(client, 3)
    assert answer(client) == before


def test_a_file_is_renamed_into_place(served: Path, new: Path, client: glmd.Client) -> None:
    coming = served.parent / "coming"
    shutil.copyfile(new / "model.safetensors", coming)
    coming.replace(served / "model.safetensors")
    is_loaded(client, 2)


@pytest.mark.parametrize("closes", [False, True], ids=["one open file", "appended to"])
def test_a_hundred_slow_writes_are_one_reload(
    served: Path, new: Path, client: glmd.Client, closes: bool
) -> None:
    before = answer(client)
    data = (new / "model.safetensors").read_bytes()
    target = served / "model.safetensors"
    target.unlink()  # what serves has it mapped
    file = target.open("wb")
    for i in range(100):
        if closes:
            file.close()
            file = target.open("ab")
        file.write(data[len(data) * i // 100 : len(data) * (i + 1) // 100])
        file.flush()
        time.sleep(0.03)
    file.close()
    is_loaded(client, 2)
    assert answer(client) != before
    another_round(served, client, 2)


def another_round(served: Path, client: glmd.Client, loads: int) -> None:
    """Had there been a reload too many, the number behind the next change would tell."""
    coming = served.parent / "another"
    shutil.copyfile(served / "model.safetensors", coming)
    coming.replace(served / "model.safetensors")
    is_loaded(client, loads + 1)


def test_a_link_is_changed(old: Path, new: Path, homes: Homes, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(old)
    homes.start(model=str(link))
    with glmd.Client() as client:
        before = answer(client)
        for loads, target in ((2, new), (3, old)):
            coming = tmp_path / "coming"
            coming.symlink_to(target)
            coming.rename(link)
            is_loaded(client, loads)
            assert (answer(client) == before) == (target == old)
        link.unlink()  # as `ln -sf` does it
        link.symlink_to(new)
        is_loaded(client, 4)


def test_what_is_read_is_not_loaded_again(served: Path, client: glmd.Client) -> None:
    for file in served.iterdir():
        file.read_bytes()
    (served / "README.md").write_text("notes")
    shutil.copytree(served, served.parent / "a copy")
    another_round(served, client, 1)


def test_what_is_broken_is_told_and_the_old_model_serves(
    served: Path, new: Path, client: glmd.Client
) -> None:
    before = answer(client)
    broken = served.parent / "broken"
    broken.write_bytes((new / "model.safetensors").read_bytes()[:-1000])
    broken.replace(served / "model.safetensors")
    status = until(client.status, lambda now: now.reload is not None and settled(now))
    assert status.reload is not None
    assert (status.reload.state, status.reload.code) == ("failed", "model_error")
    assert answer(client) == before
    shutil.copyfile(new / "model.safetensors", served.parent / "whole")
    (served.parent / "whole").replace(served / "model.safetensors")
    is_loaded(client, 2)
    assert answer(client) != before
