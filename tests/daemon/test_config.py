"""What was said on the command line goes over config.toml, and that over the defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.daemons import Homes

from glmd import paths
from glmd.daemon.config import resolve
from glmd.errors import ModelError, StartFailed
from glmd.settings import DaemonSettings


def configure(text: str) -> None:
    paths.config_file().parent.mkdir(parents=True, exist_ok=True)
    paths.config_file().write_text(text)


def test_nothing_said_is_the_shipped_model_on_the_cpu(homes: Homes) -> None:
    config = resolve(DaemonSettings())
    assert config.model == paths.embedded_model()
    assert (config.backend, config.replicas, config.max_queue) == ("cpu", 0, 64)
    assert config.listen is None


def test_the_file_is_over_the_defaults_and_the_name_over_the_file(homes: Homes) -> None:
    configure(
        """
        [daemon]
        model = "~/one"
        mode = "int4"
        slots = 3
        [daemons.work]
        mode = "int8"
        """
    )
    one, work = resolve(DaemonSettings()), resolve(DaemonSettings(name="work"))
    assert one.model == work.model == Path("~/one").expanduser()
    assert (one.mode, work.mode) == ("int4", "int8")
    assert one.slots == work.slots == 3


def test_what_was_said_is_over_the_file(homes: Homes) -> None:
    configure("[daemon]\nmode = 'int4'\nsimulate = false\nslots = 3\n")
    config = resolve(DaemonSettings(mode="f16", slots=0))
    assert (config.mode, config.slots) == ("f16", 0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[daemon]\nmode = 'int3'\n", r"table \[daemon\]: The field mode: invalid enum value"),
        ("[daemon]\nmodle = 'x'\n", r"There is no field modle"),
        ("[daemons.default]\nslots = -1\n", r"table \[daemons.default\]: The field slots"),
        ("[daemons]\ndefault = 1\n", r"table \[daemons.default\]"),
        ("daemons = 1\n", r"table \[daemons.default\]"),
        ("[daemon\n", r"is not TOML: .*line 1"),
        ("\xff", r"is not TOML"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(homes: Homes, text: str, sentence: str) -> None:
    configure("")
    paths.config_file().write_bytes(text.encode("latin-1"))
    with pytest.raises(StartFailed, match=sentence) as caught:
        resolve(DaemonSettings())
    assert str(paths.config_file()) in caught.value.message


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (DaemonSettings(devices=[0, 1]), "--devid.*needs a bmodel, and no model was named"),
        (DaemonSettings(devices=[0], model="/m/glm"), "/m/glm is none"),
        (DaemonSettings(simulate=True), "simulator"),
        (DaemonSettings(backend="bm1684x"), "needs a bmodel"),
        (DaemonSettings(backend="cpu", model="/m/x.bmodel"), "cannot run on the CPU"),
        (DaemonSettings(model="/m/x.bmodel"), "runs on BM1684X chips, and none was named"),
        (DaemonSettings(model="/m/x.bmodel", backend="bm1684x"), "none was named"),
    ],
)
def test_there_is_no_silent_fallback(homes: Homes, settings: DaemonSettings, sentence: str) -> None:
    """P8: CPU instead of a card is never chosen for somebody who asked for a card."""
    with pytest.raises(ModelError, match=sentence) as caught:
        resolve(settings)
    hints = ("CPU", "leave --backend out", "--devid 0")
    assert any(hint in caught.value.hint for hint in hints)


def test_a_bmodel_goes_to_the_chips_that_are_named(homes: Homes) -> None:
    config = resolve(DaemonSettings(model="/m/x.bmodel", devices=[2, 3], libsophon="~/lib"))
    assert (config.backend, config.devices, config.simulate) == ("bm1684x", [2, 3], False)
    assert config.libsophon == Path("~/lib").expanduser()


def test_the_simulator_has_to_be_there(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    said = DaemonSettings(model="/m/x.bmodel", simulate=True)
    monkeypatch.delenv("TPUC_ROOT", raising=False)
    with pytest.raises(StartFailed, match=r"no simulator of the BM1684X in .*tpu-mlir") as caught:
        resolve(said)
    assert "glmd toolchain install" in caught.value.hint
    with pytest.raises(StartFailed, match="no simulator of the BM1684X in /nowhere"):
        resolve(DaemonSettings(model="/m/x.bmodel", simulate=True, libsophon="/nowhere"))


@pytest.mark.parametrize("below", ["", "lib", "lib/python3.10/site-packages/tpu_mlir/lib"])
def test_the_simulator_is_found(
    homes: Homes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    folder = tmp_path / below
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "libcmodel_bm1684x.so").touch()
    monkeypatch.setenv("TPUC_ROOT", str(tmp_path))
    config = resolve(DaemonSettings(model="/m/x.bmodel", simulate=True))
    assert (config.libsophon, config.devices, config.simulate) == (folder, [0], True)


def test_the_simulator_is_one_chip(homes: Homes) -> None:
    with pytest.raises(StartFailed, match="one chip, device 0"):
        resolve(DaemonSettings(model="/m/x.bmodel", simulate=True, devices=[0, 1]))


@pytest.mark.parametrize(
    "endpoint", ["tcp://*:5570", "tcp://127.0.0.1:1", "tcp://[::1]:5570", "tcp://box.lan:65535"]
)
def test_endpoints(homes: Homes, endpoint: str) -> None:
    assert resolve(DaemonSettings(listen=endpoint)).listen == endpoint


@pytest.mark.parametrize(
    "endpoint", ["", "5570", "ipc:///tmp/x", "tcp://*", "tcp://*:0", "tcp://*:65536", "tcp://a b:1"]
)
def test_endpoints_that_are_none(homes: Homes, endpoint: str) -> None:
    with pytest.raises(StartFailed, match="no tcp endpoint"):
        resolve(DaemonSettings(listen=endpoint))
