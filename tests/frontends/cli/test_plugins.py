"""`glmd plugins`, with a daemon and without, and with every plugin broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.cli import call, run
from support.daemons import Homes, Launch
from support.plugins import Watcher, only, reload, sampler, save

from glmd import paths
from glmd.facts import DaemonFacts
from glmd.loading import CHECK_SECONDS

BROKEN = {
    "syntax": "def (:\n",
    "exits": "raise SystemExit\n",
    "dies": "import os; os._exit(1)\n",
    "hangs": "import threading; threading.Event().wait()\n",
}

NAN, ANNOTATED = "logits[3] = np.nan", "from typing import Annotated"


def plugins(*words: str) -> dict[str, dict[str, Any]]:
    told = call("plugins", "list", "--json", *words)
    assert told.returncode == 0, told.stderr
    return {row["name"]: row for row in json.loads(told.stdout)["plugins"]}


def test_without_a_daemon_everything_is_listed_and_nothing_imported(homes: Homes) -> None:
    for name, source in BROKEN.items():
        save(name, source)
    loose = save("loose", sampler("loose"))
    loose.chmod(0o666)
    listed = plugins()
    assert all(listed[name]["state"] == "found" for name in (*BROKEN, "mirostat"))
    assert listed["loose"]["state"] == "blocked"
    assert "Others can write to" in listed["loose"]["error"]
    told = call("plugins", "list")
    assert "No daemon named default is running" in told.stderr
    assert "chmod go-w" in told.stdout


def test_built_in_stages_are_listed_like_those_of_plugins(shared_daemon: DaemonFacts) -> None:
    reload(shared_daemon)  # a start does not wait for plugins for ever, a reload does
    rows = [line.split() for line in call("plugins", "list").stdout.splitlines()]
    assert ["top_k", "glmd", "itself", "k"] in rows
    assert ["mirostat", "mirostat", "tau,", "eta"] in rows


@pytest.mark.parametrize("name", BROKEN)
def test_check_says_what_is_wrong_without_a_daemon(name: str, homes: Homes) -> None:
    file = save(name, BROKEN[name])
    why = {
        "syntax": "SyntaxError",
        "exits": "SystemExit",
        "dies": "ended with 1",
        "hangs": f"after {CHECK_SECONDS:.0f} s",
    }[name]
    told = call("plugins", "check", str(file))
    assert (told.returncode, told.stderr) == (1, "")
    assert why in told.stdout


def test_check_says_what_a_good_one_is(homes: Homes) -> None:
    file = save("shout", sampler("shout", "print('here I am')"))
    told = run("plugins", "check", str(file))
    assert (told.returncode, told.stdout) == (0, f"{file} is a plugin with the sampler shout.\n")
    told = run("plugins", "check", "--json", str(file))
    assert json.loads(told.stdout)["samplers"][0]["name"] == "shout"


def test_check_says_what_it_could_not_try(homes: Homes) -> None:
    needs = "loudness: Annotated[float, msgspec.Meta(ge=0{})]"
    told = {
        kind: call("plugins", "check", str(save("shout", source)))
        for kind, source in {
            "no example": sampler("shout", NAN, params=needs.format(""), before=ANNOTATED),
            "example": sampler(
                "shout", NAN, params=needs.format(", examples=[2.0]"), before=ANNOTATED
            ),
            "wrong example": sampler(
                "shout", NAN, params=needs.format(", examples=[-1]"), before=ANNOTATED
            ),
        }.items()
    }
    assert told["no example"].returncode == 0
    assert (
        "sampler shout was not tried: loudness has neither a default" in told["no example"].stdout
    )
    assert (told["example"].returncode, "NaN" in told["example"].stdout) == (1, True)
    assert told["wrong example"].returncode == 0
    assert "was not tried: it refuses what it would be tried with" in told["wrong example"].stdout
    assert "expected float >= 0.0; loudness is -1." in told["wrong example"].stdout


@pytest.mark.timeout(120)
def test_with_every_plugin_broken_the_daemon_serves_and_says_why(launch: Launch) -> None:
    for name, source in BROKEN.items():
        save(name, source)
    daemon = launch()
    with Watcher(daemon) as watcher:
        watcher.until("syntax", lambda plugin: bool(plugin.error))  # the last one in order
    listed = plugins()
    assert all(listed[name]["state"] == "failed" for name in BROKEN)
    assert "SyntaxError" in listed["syntax"]["error"]
    assert "took its process down" in listed["dies"]["error"]
    assert call("ask", "--max-new-tokens", "2", "hi").returncode == 0
    told = call("plugins", "reload", "exits")
    assert (told.returncode, "SystemExit" in told.stdout) == (1, True)


def test_disable_and_enable_count_at_once_and_for_later(launch: Launch) -> None:
    save("shout", sampler("shout"))
    assert call("plugins", "disable", "shout").stdout == (
        "shout is disabled from the next start on.\n"
    )
    launch()
    assert plugins()["shout"]["state"] == "blocked"
    assert call("plugins", "enable", "shout").stdout == "shout is enabled.\n"
    assert plugins()["shout"]["state"] == "loaded"
    assert call("plugins", "disable", "mirostat").returncode == 0  # a built-in one, too
    assert plugins()["mirostat"]["state"] == "blocked"
    told = call("ask", "--sampler", "mirostat", "hi")
    assert "no sampler stage 'mirostat'" in told.stderr
    told = call("plugins", "disable", "nonsense")
    assert (told.returncode, "no plugin nonsense" in told.stderr) == (1, True)


def test_info_has_path_hash_hooks_and_parameters(launch: Launch) -> None:
    file = save("shout", sampler("shout", params="loudness: float = 5.0\nmode: str | None = None"))
    for running in (False, True):
        told = json.loads(call("plugins", "info", "--json", "shout").stdout)
        assert told["path"] == str(file)
        assert len(told["sha256"]) == 64
        if running:
            assert told["load_ms"] > 0
            assert told["hooks"] == ["glmd_register_samplers"]
            text = call("plugins", "info", "shout").stdout
            assert "loudness: number (5.0)" in text
            assert "mode: string or null (None)" in text
        else:
            assert told["state"] == "found"
            reload(launch())
    assert "no plugin nonsense" in call("plugins", "info", "nonsense").stderr


@pytest.mark.parametrize(
    ("settings", "environment", "why"),
    [
        ({"safe_mode": True}, None, "safe mode"),
        ({}, "", "GLMD_PLUGINS does not name it"),
        ({}, "other, another", "GLMD_PLUGINS does not name it"),
        ({}, "other,shout", ""),
    ],
)
def test_who_may_be_loaded(
    settings: dict[str, Any],
    environment: str | None,
    why: str,
    launch: Launch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save("shout", sampler("shout"))
    if environment is not None:
        monkeypatch.setenv("GLMD_PLUGINS", environment)
    reload(launch(**settings))
    found = plugins()
    assert found["shout"]["state"] == ("blocked" if why else "loaded")
    assert why in found["shout"]["error"]
    assert found["mirostat"]["state"] == "loaded"


def test_another_folder_with_plugins(homes: Homes, tmp_path: Path) -> None:
    save("shout", sampler("shout"))
    save("shout", sampler("shout"), tmp_path / "more")
    save("hush", sampler("hush"), tmp_path / "more")
    told = call("start", "--threads", "1", "--plugin-dir", str(tmp_path / "more"))
    assert told.returncode == 0, told.stderr
    found = plugins()
    assert found["hush"]["path"] == str(tmp_path / "more" / "hush.py")
    assert found["shout"]["path"] == str(paths.plugins_dir() / "shout.py")
    second = found[f"shout ({tmp_path / 'more' / 'shout.py'})"]
    assert second["state"] == "blocked"
    assert "The name shout belongs to" in second["error"]
    told = call("start", "--plugin-dir", str(tmp_path / "others"))
    assert f"with --plugin-dir {tmp_path / 'more'} instead of {tmp_path}/others" in told.stderr


def test_a_new_one_works_and_so_does_its_test(daemon: DaemonFacts) -> None:
    told = json.loads(call("plugins", "new", "--json", "big_words").stdout)
    with Watcher(daemon) as watcher:
        watcher.loaded("big_words")
    told_again = call("plugins", "new", "big_words")
    assert "is there already" in told_again.stderr
    assert call("plugins", "check", told["file"]).returncode == 0
    asked = call("ask", "--sampler", "big_words:strength=50", "--max-new-tokens", "5", "hi")
    assert (asked.returncode, asked.stdout != asked.stdout.lower()) == (0, True)
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", told["test"]],
        check=True,
        cwd=Path(told["file"]).parent,
        capture_output=True,
    )
    for name in ("two words", "_hidden", "9lives"):
        assert "cannot be a plugin's name" in call("plugins", "new", name).stderr


SHOUT = """\
import types
import glmd

class Shout(glmd.Sampler):
    name = "shout"
    def start(self, params, ctx):
        small = [i for i, text in enumerate(ctx.vocab_bytes) if text != text.upper()]
        return types.SimpleNamespace(apply=lambda logits, history: logits.put(small, -float("inf")))

@glmd.hookimpl
def glmd_register_samplers(register): register(Shout())
"""


def test_ten_lines_are_saved_and_used_by_the_next_question(daemon: DaemonFacts) -> None:
    save("shout", SHOUT)
    with Watcher(daemon) as watcher:
        watcher.loaded("shout")
    told = run("ask", "--sampler", "shout", "--max-new-tokens", "20", "What is glmd?")
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip()
    assert told.stdout == told.stdout.upper()


def test_a_wrong_parameter_is_refused_by_name(daemon: DaemonFacts) -> None:
    save("shout", sampler("shout", params="loudness: float = 5.0"))
    with Watcher(daemon) as watcher:
        watcher.loaded("shout")
    for words, why in {
        "shout:loudness=loud": "The field loudness: expected float, got str; loudness is 'loud'.",
        "shout:lodness=1": "The stage shout: There is no field lodness.",
    }.items():
        told = call("ask", "--sampler", words, "hi")
        assert told.returncode == 1
        assert why in told.stderr


def test_parameters_reach_the_sampler(daemon: DaemonFacts) -> None:
    save("only", sampler("only", only("self.params.id"), params="id: int = 20"))
    with Watcher(daemon) as watcher:
        watcher.loaded("only")
    told = call("ask", "--json", "--sampler", "only:id=30", "--max-new-tokens", "3", "hi")
    assert json.loads(told.stdout)["token_ids"] == [30, 30, 30]
