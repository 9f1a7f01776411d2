"""A plugin's file is saved, in all the ways in which files are."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.plugins import managed, only, sampler, save

from glmd import paths
from glmd.daemon.plugins import checker, watch
from glmd.wire.replies import PluginInfo


def sha(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


def serves(source: str) -> Callable[[PluginInfo], bool]:
    return lambda info: info.state == "loaded" and info.sha256 == sha(source) and not info.error


def failed(info: PluginInfo) -> bool:
    return bool(info.error)


A, B = sampler("shout", only(5)), sampler("shout", only(6))
BROKEN = A.replace("def start", "def start(")


async def test_a_new_file_is_loaded() -> None:
    async with managed() as plugins:
        assert "shout" not in plugins.snapshot
        save("shout", A)
        info = await plugins.until("shout", serves(A))
        assert info.samplers == ["shout"]
        assert info.hooks == ["glmd_register_samplers"]
        assert info.path == str(paths.plugins_dir() / "shout.py")
        assert info.load_ms > 0
        assert "shout" in plugins.snapshot


async def test_a_saved_file_takes_the_old_ones_place_and_who_holds_that_keeps_it() -> None:
    save("shout", A)
    async with managed() as plugins:
        before = plugins.snapshot
        save("shout", B)
        await plugins.until("shout", serves(B))
        assert before["shout"].version.source.text == A
        assert plugins.snapshot["shout"].version.source.text == B
        assert plugins.retired == [before["shout"].version]
        assert before["shout"].version.retired


async def test_a_removed_file_is_gone() -> None:
    file = save("shout", A)
    async with managed() as plugins:
        file.unlink()
        await plugins.until("shout", lambda info: not info.name)
        assert "shout" not in plugins.snapshot


async def test_twenty_saves_in_a_second_are_few_loads() -> None:
    async with managed() as plugins:
        for token in range(20):
            save("shout", sampler("shout", only(token)))
            await asyncio.sleep(0.05)
        await plugins.until("shout", serves(sampler("shout", only(19))))
        assert len(plugins.retired) <= 4  # about one in each LONGEST_WAIT


async def test_a_half_written_file_does_not_count() -> None:
    file = save("shout", A)
    async with managed() as plugins:
        with file.open("w") as writing:
            writing.write(B[: len(B) // 2])
            writing.flush()
            # Another file has the folder looked through meanwhile.
            save("other", sampler("other"))
            await plugins.until("other", lambda info: info.state == "loaded")
            assert plugins.snapshot["shout"].version.source.text == A
            writing.write(B[len(B) // 2 :])
        await plugins.until("shout", serves(B))


@pytest.mark.parametrize("write", ["in place", "by rename", "remove and rename"])
async def test_however_an_editor_saves(write: str) -> None:
    file = save("shout", A)
    async with managed() as plugins:
        if write == "in place":
            file.write_text(B)
        else:
            temporary = file.with_name(".shout.py.tmp")
            temporary.write_text(B)
            temporary.chmod(0o600)
            if write == "remove and rename":
                file.rename(file.with_name("shout.py~"))
            temporary.rename(file)
        await plugins.until("shout", serves(B))


async def test_what_editors_leave_lying_around_is_no_plugin() -> None:
    async with managed() as plugins:
        names = [".shout.py.swp", "shout.py~", "#shout.py#", ".#shout.py", "_shout.py", "4913"]
        for name in names:
            (paths.plugins_dir() / name).write_text(A)
        save("other", sampler("other"))
        await plugins.until("other", lambda info: info.state == "loaded")
        assert [info.name for info in plugins.infos() if info.origin == "file"] == ["other"]


async def test_a_symbolic_link_that_is_turned(tmp_path: Path) -> None:
    folder = tmp_path / "versions"
    first, second = save("a", A, folder), save("b", B, folder)
    paths.plugins_dir().mkdir(parents=True, mode=0o700)
    link = paths.plugins_dir() / "shout.py"
    link.symlink_to(first)
    async with managed() as plugins:
        assert plugins.info("shout").sha256 == sha(A)
        for target, source in ((second, B), (first, A)):
            other = paths.plugins_dir() / ".link"
            other.symlink_to(target)
            other.rename(link)
            await plugins.until("shout", serves(source))


async def test_what_a_symbolic_link_leads_to_is_saved(tmp_path: Path) -> None:
    file = save("real", A, tmp_path / "elsewhere")
    paths.plugins_dir().mkdir(parents=True, mode=0o700)
    (paths.plugins_dir() / "shout.py").symlink_to(file)
    async with managed() as plugins:
        file.write_text(B)
        await plugins.until("shout", serves(B))


async def test_a_link_in_the_way_to_the_files_is_turned(tmp_path: Path) -> None:
    """As configuration is delivered into containers: shout.py -> ..data/shout.py, ..data turned."""
    for name, source in (("one", A), ("two", B)):
        save("shout", source, tmp_path / "config" / "plugins" / name)
    data = paths.plugins_dir() / "..data"
    data.symlink_to("one")
    (paths.plugins_dir() / "shout.py").symlink_to("..data/shout.py")
    async with managed() as plugins:
        assert plugins.info("shout").sha256 == sha(A)
        other = paths.plugins_dir() / "..new"
        other.symlink_to("two")
        other.rename(data)
        await plugins.until("shout", serves(B))


BAD = {
    "a syntax error": (BROKEN, "SyntaxError"),
    "an import that fails": ("import nonsense_that_is_not_there\n", "ModuleNotFoundError"),
    "an exit": ("raise SystemExit(3)\n", "SystemExit: 3 \\(line 1\\)"),
    "a death": ("import os; os._exit(7)\n", "took its process down, which exited with status 7"),
    "a crash": ("import ctypes; ctypes.string_at(0)\n", "was killed by SIGSEGV"),
    "no hook": ("x = 1\n", "no hook"),
    "a hook nobody has": (
        "import glmd\n@glmd.hookimpl\ndef glmd_register_sampler(register): pass\n",
        "glmd_register_sampler",
    ),
    "a wrong argument": (
        "import glmd\n@glmd.hookimpl\ndef glmd_register_samplers(registry): pass\n",
        "registry",
    ),
    "a hook for packages": (
        "import glmd\n@glmd.hookimpl\ndef glmd_register_commands(group): pass\n",
        "for installed packages",
    ),
    "NaN": (sampler("shout", "logits[3] = np.nan"), "NaN"),
    "nothing left": (sampler("shout", "logits[:] = -np.inf"), "none is left"),
    "another shape": (sampler("shout", "logits.shape = (2, -1)"), "left the logits as float32"),
    "an array of its own": (sampler("shout", "return logits + 1"), "change the logits in place"),
    "a slow one": (sampler("shout", "import time; time.sleep(0.3)"), "0.25 s are allowed"),
    "chance": (sampler("shout", "logits += np.random.rand()"), "cannot be replayed"),
    "a built-in's name": (sampler("top_k"), "that of a built-in stage"),
    "another plugin's name": (sampler("mirostat"), "belongs to mirostat"),
    "a place nobody knows": (
        sampler("shout").replace("name =", "place = 'middle'\n    name =", 1),
        "neither 'first' nor 'last'",
    ),
    "not UTF-8": ("\udcff", "not UTF-8"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_one_leaves_the_last_good_one_in_place(case: str) -> None:
    source, why = BAD[case]
    file = save("shout", A)
    async with managed() as plugins:
        file.write_bytes(source.encode(errors="surrogateescape"))
        info = await plugins.until("shout", failed)
        if case == "not UTF-8":  # nothing to be looked over
            assert info.state == "blocked"
        else:
            assert info.state == "loaded"
            assert info.sha256 == sha(A)
            assert plugins.snapshot["shout"].version.source.text == A
        assert re.search(why, info.error), info.error
        file.write_text(A)
        await plugins.until("shout", serves(A))


async def test_an_import_that_never_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    file = save("shout", A)
    async with managed() as plugins:
        with monkeypatch.context() as patch:  # others may take longer than this, to start a process
            patch.setattr(checker, "CHECK_SECONDS", 2.0)
            file.write_text("import threading\nthreading.Event().wait()\n")
            info = await plugins.until("shout", failed)
        assert "not come to an end after 2 s" in info.error
        assert info.state == "loaded"
        save("other", sampler("other"))  # others are looked over as ever
        await plugins.until("other", lambda info: info.state == "loaded")


async def test_the_first_version_may_be_bad_too() -> None:
    save("shout", BROKEN)
    async with managed() as plugins:
        info = plugins.info("shout")
        assert (info.state, info.samplers) == ("failed", [])
        assert "SyntaxError" in info.error
        save("shout", A)
        await plugins.until("shout", serves(A))


async def test_without_inotify_files_are_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(watch.Observer):  # type: ignore[misc, name-defined]
        def schedule(self, *arguments: object, **options: object) -> None:
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(watch, "Observer", Full)
    async with managed() as plugins:
        save("shout", A)
        await plugins.until("shout", serves(A))
        await asyncio.sleep(1.1)  # a file system may tell whole seconds apart
        save("shout", B)
        await plugins.until("shout", serves(B))
