"""Plugins are found by names, files and metadata; nothing of theirs is imported."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest
from support.plugins import sampler, save

from glmd import paths
from glmd.discovery import MAX_SOURCE, Source, disable, discover


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMD_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("GLMD_PLUGINS", raising=False)
    return tmp_path / "config"


def found(*folders: Path, safe_mode: bool = False) -> dict[str, Source]:
    return {source.name: source for source in discover(folders, safe_mode=safe_mode)}


def test_in_the_order_in_which_they_load(tmp_path: Path) -> None:
    save("zebra", sampler("zebra"))
    save("ant", sampler("ant"))
    save("bee", sampler("bee"), tmp_path / "more")
    names = [source.name for source in discover([tmp_path / "more"])]
    assert names.index("mirostat") < names.index("ant") < names.index("zebra") < names.index("bee")


def test_nothing_is_imported() -> None:
    save("loud", "raise SystemExit('imported')\n")
    before = set(sys.modules)
    assert found()["loud"].problem == ""
    assert not [name for name in set(sys.modules) - before if "plugins." in name or "loud" in name]


def test_the_plugins_that_ship_are_found_without_their_helpers() -> None:
    shipped = [source for source in discover() if source.origin == "built-in"]
    assert {"mirostat", "choices", "json_schema"} <= {source.name for source in shipped}
    assert not [source.name for source in shipped if source.name.startswith("_")]
    for source in shipped:
        assert source.target == f"glmd.plugins.{source.name}"
        assert source.version == importlib.metadata.version("glmd")
        assert Path(source.path).is_file()
        assert len(source.sha256) == 64


def test_entry_points_are_found_by_their_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "glmd_dice-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: glmd-dice\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[glmd.plugins]\ndice = not_there.at_all:plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    dice = found()["dice"]
    assert (dice.origin, dice.target, dice.version) == ("package", "not_there.at_all:plugin", "1.2")
    assert dice.path == "glmd-dice (not_there.at_all:plugin)"
    assert "safe mode" in found(safe_mode=True)["dice"].problem


@pytest.mark.parametrize("what", ["file", "folder", "real file", "real folder"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_may_change_is_refused(what: str, mode: int, tmp_path: Path) -> None:
    real = save("shout", sampler("shout"), tmp_path / "real")
    if what.startswith("real"):
        paths.plugins_dir().mkdir(parents=True, mode=0o700)
        (paths.plugins_dir() / "shout.py").symlink_to(real)
        place = real if what == "real file" else real.parent
    else:
        file = save("shout", sampler("shout"))
        place = file if what == "file" else file.parent
    assert found()["shout"].problem == ""
    place.chmod(place.stat().st_mode | mode)
    assert found()["shout"].problem == (
        f"Others can write to {place}; `chmod go-w {place}` ends that."
    )


def test_what_cannot_be_a_plugin_says_why() -> None:
    save("name with spaces", sampler("x"))
    save("long", "#" * (MAX_SOURCE + 1))
    file = save("latin", "")
    file.write_bytes(b"# \xe9\n")
    (paths.plugins_dir() / "lost.py").symlink_to("nowhere.py")
    (paths.plugins_dir() / "folder.py").mkdir()
    problems = {source.name: source.problem for source in discover() if source.origin == "file"}
    assert "up to 64 letters" in problems["name with spaces"]
    assert "more than 1,048,576 bytes" in problems["long"]
    assert "is not UTF-8" in problems["latin"]
    assert "No such file" in problems["lost"]
    assert "folder" not in problems


def test_the_first_of_a_name_has_it(tmp_path: Path) -> None:
    save("shout", sampler("a"))
    second = save("shout", sampler("b"), tmp_path / "more")
    save("mirostat", sampler("mine"))
    sources = found(tmp_path / "more")
    assert sources["shout"].path == str(paths.plugins_dir() / "shout.py")
    assert "The name shout belongs to" in sources[f"shout ({second})"].problem
    assert sources["mirostat"].origin == "built-in"


def test_who_is_kept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    save("ant", sampler("ant"))
    save("bee", sampler("bee"))
    disable("ant", True)
    disable("mirostat", True)
    assert "`glmd plugins enable ant`" in found()["ant"].problem
    assert found()["mirostat"].problem
    disable("ant", False)
    assert found()["ant"].problem == ""
    monkeypatch.setenv("GLMD_PLUGINS", "bee")
    assert "GLMD_PLUGINS" in found()["ant"].problem
    assert (found()["bee"].problem, found()["choices"].problem) == ("", "")
    assert "safe mode" in found(safe_mode=True)["bee"].problem
