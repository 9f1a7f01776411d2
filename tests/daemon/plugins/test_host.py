"""The plugin host: tools that run in it, hooks that it calls, what those do with the daemon."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from textwrap import dedent

import pytest
from support.plugins import Managed, managed, save

from glmd.daemon.plugins import hosting
from glmd.errors import NotFound

TOOLS = """
    import glmd, msgspec, os, time

    class Add:
        name = "add"
        description = "The sum of two numbers."
        class Params(msgspec.Struct):
            a: int
            b: int = 1
        def run(self, params):
            return f"{params.a + params.b} in {os.getpid()}"

    class Whatever:
        name = "whatever"
        description = "What it is told."
        timeout = 0.5
        class Params(msgspec.Struct):
            code: str
        def run(self, params):
            return eval(params.code)

    @glmd.hookimpl
    def glmd_register_tools(register):
        register(Add())
        register(Whatever())
"""


async def test_a_tool_runs_in_the_plugin_host() -> None:
    save("tools", dedent(TOOLS))
    async with managed() as plugins:
        info = plugins.info("tools")
        assert (info.state, info.tools) == ("loaded", ["add", "whatever"])
        done = await plugins.run_tool("add", {"a": 2, "b": 3})
        text, _, pid = done.text.partition(" in ")
        assert (text, done.failed) == ("5", False)
        assert int(pid) == plugins.host_pid != os.getpid()
        assert (await plugins.run_tool("add", {"a": 2})).text.startswith("3 in")


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("add", {"b": 1}, "The field a is missing."),
        ("add", {"a": "x"}, "The field a: expected int, got str; a is 'x'."),
        ("whatever", {"code": "1 / 0"}, "ZeroDivisionError: division by zero"),
        ("whatever", {"code": "exit(3)"}, "SystemExit: 3"),
        ("whatever", {"code": "42"}, "TypeError: the tool whatever gave int, not text"),
        ("whatever", {"code": "time.sleep(60)"}, "whatever had not come to an end after 0.5 s."),
        ("whatever", {"code": "os._exit(9)"}, "The plugin host exited with status 9 while"),
        ("whatever", {"code": "os.abort()"}, "The plugin host was killed by SIGABRT while"),
    ],
)
async def test_a_tool_that_fails_is_an_observation_like_others(
    tool: str, arguments: dict[str, object], text: str
) -> None:
    save("tools", dedent(TOOLS))
    async with managed() as plugins:
        done = await plugins.run_tool(tool, arguments)
        assert done.failed
        assert done.text.startswith(text)
        # The host is as before, or another one is.
        assert not (await plugins.run_tool("add", {"a": 1})).failed


async def test_a_tool_nobody_has() -> None:
    async with managed() as plugins:
        with pytest.raises(NotFound, match="no tool add"):
            await plugins.run_tool("add", {})


OBSERVER = """
    import glmd, json, threading

    def note(what):
        with open({log!r}, "a") as file:
            file.write(json.dumps(what) + "\\n")

    @glmd.hookimpl
    def glmd_daemon_started(daemon):
        note(["started", {version}])
        {started}

    @glmd.hookimpl
    def glmd_daemon_stopping():
        note(["stopping", {version}])

    @glmd.hookimpl
    def glmd_model_changed(old, new):
        note(["changed", old, new])
"""


def observer(log: Path, started: str = "pass", version: int = 1) -> str:
    log.touch()
    return dedent(OBSERVER).format(log=str(log), started=started, version=version)


def noted(log: Path) -> list[str]:
    return log.read_text().splitlines()


async def until_noted(plugins: Managed, log: Path, count: int) -> list[str]:
    """Any call of the host makes sure that those before it have begun; a tool's answer is one."""
    while len(lines := noted(log)) < count:
        await plugins.run_tool("add", {"a": 1})
    return lines


async def test_hooks_are_called_in_their_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    save("tools", dedent(TOOLS))
    save("observer", observer(log))
    async with managed() as plugins:
        await plugins.run_tool("add", {"a": 1})
        assert noted(log) == []
        plugins.started()
        await until_noted(plugins, log, 1)
        plugins.model_changed("a", "b")
        assert await until_noted(plugins, log, 2) == ['["started", 1]', '["changed", "a", "b"]']
        # A newer version: to the old one it is as if the daemon stopped.
        save("observer", observer(log, version=2))
        lines = await until_noted(plugins, log, 4)
        assert sorted(lines[2:]) == ['["started", 2]', '["stopping", 1]']
    assert noted(log)[4:] == ['["stopping", 2]']


async def test_a_plugin_uses_the_daemon(tmp_path: Path) -> None:
    log = tmp_path / "log"
    started = """
        daemon.subscribe("model", note)
        note(daemon.status()["state"])
        daemon.reload("other")
        note(daemon.status()["reloads"])
        try:
            daemon.reload("nonsense")
        except glmd.errors.DaemonError as error:
            note([error.message, error.hint])
    """
    body = dedent(started).strip().replace("\n", "\n    ")
    save("tools", dedent(TOOLS))
    save("observer", observer(log, body))
    async with managed() as plugins:
        plugins.started()
        lines = await until_noted(plugins, log, 6)
        assert plugins.reloads == ["other"]
    assert '"ready"' in lines
    assert '["There is no model nonsense.", "Name another."]' in lines
    assert '{"reloads": []}' in lines
    assert '{"reloads": ["other"]}' in lines


async def test_who_listens_later_is_told_how_things_are(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    save("tools", dedent(TOOLS))
    save("first", observer(first, 'daemon.subscribe("model", note)'))
    async with managed() as plugins:
        plugins.started()
        await until_noted(plugins, first, 2)
        save("second", observer(second, 'daemon.subscribe("model", note)'))
        await plugins.scan()
        assert (await until_noted(plugins, second, 2))[1] == '{"reloads": []}'
        await plugins.reload_model("other")
        assert (await until_noted(plugins, second, 3))[2] == '{"reloads": ["other"]}'
        await until_noted(plugins, first, 3)  # each is told in a thread of its own
    assert noted(first)[1:-1] == ['{"reloads": []}', '{"reloads": ["other"]}']


async def test_a_hook_that_fails_or_hangs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("failing", observer(tmp_path / "a", "1 / 0"))
    save("hanging", observer(tmp_path / "b", "threading.Event().wait()"))
    async with managed() as plugins:
        plugins.started()
        failing = await plugins.until("failing", lambda info: bool(info.error))
        assert "glmd_daemon_started failed: ZeroDivisionError" in failing.error
        assert "(line 11)" in failing.error
        hanging = await plugins.until("hanging", lambda info: bool(info.error))
        assert hanging.error == f"glmd_daemon_started has taken {hosting.HOOK_SECONDS:.0f} s."
        assert hanging.state == "loaded"


async def test_what_cannot_be_imported_in_the_host_has_failed(tmp_path: Path) -> None:
    """An import that succeeds once, which is where it is looked over."""
    mark = tmp_path / "mark"
    once = f"import os\nos.close(os.open({str(mark)!r}, os.O_CREAT | os.O_EXCL))\n"
    save("tools", once + dedent(TOOLS))
    async with managed() as plugins:
        info = plugins.info("tools")
        assert info.state == "failed"
        assert "FileExistsError" in info.error


async def test_a_host_that_is_killed_is_started_again_with_all_its_plugins(tmp_path: Path) -> None:
    log = tmp_path / "log"
    save("tools", dedent(TOOLS))
    save("observer", observer(log))
    async with managed() as plugins:
        plugins.started()
        await until_noted(plugins, log, 1)
        before = plugins.host_pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        while plugins.host_pid in (before, None):
            await plugins.run_tool("add", {"a": 1})
        assert await until_noted(plugins, log, 2) == ['["started", 1]'] * 2


async def test_a_host_that_dies_again_and_again_is_given_up() -> None:
    save("tools", dedent(TOOLS))
    async with managed() as plugins:
        for _ in range(3):
            await plugins.run_tool("whatever", {"code": "os._exit(1)"})
        done = await plugins.run_tool("add", {"a": 1})
        assert done.failed
        assert done.text == "The plugin host does not run."
        assert "died too often" in plugins.info("tools").error
