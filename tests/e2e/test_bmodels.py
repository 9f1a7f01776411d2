"""A daemon on the simulator of the BM1684X: what cannot be served is told by a sentence and an exit
code, and models are exchanged under clients that stream."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support import bmodel_damage
from support.bmodel_files import write_bmodel
from support.bmodel_nets import Glm
from support.bmodels import TINY, Form, build_bmodel
from support.cli import call
from support.crowd import Crowd
from support.daemons import Homes
from support.engine_processes import engines, until
from support.tokenizers import trained

import glmd
from glmd import paths
from glmd.compiler.toolchain.find import find_root
from glmd.errors import Code, ModelError

pytestmark = [
    pytest.mark.needs("tpu_mlir", "export"),
    pytest.mark.slow,
    pytest.mark.timeout(2700),
]

CLIENTS = 8
RELOADS = 50
TOKENS = 12
GROWTH = 12 << 20  # as in test_reload.py

Models = dict[str, Path]


@pytest.fixture(scope="module", autouse=True)
def simulator() -> Iterator[None]:
    """Found by daemons whose data folder is not the user's."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TPUC_ROOT", str(find_root()))
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Two that differ in weights and form, and what cannot be served, each with a tokenizer."""
    folder = trained(tmp_path_factory.mktemp("bmodels") / "models")
    made = {"a": build_bmodel(TINY, Form(rows=True)), "b": build_bmodel(TINY, Form(), seed=1)}
    found = {
        name: Path(shutil.copy(path, folder / f"{name}.bmodel")) for name, path in made.items()
    }
    for damage in (
        bmodel_damage.truncated,
        bmodel_damage.zeroed,
        bmodel_damage.for_another_chip,
        bmodel_damage.damaged_tables,
    ):
        path = found[damage.__name__] = folder / f"{damage.__name__}.bmodel"
        shutil.copy(made["a"], path)
        damage(path)
    other = found["other_contents"] = folder / "other_contents.bmodel"
    write_bmodel(other, [net for net in Glm().nets() if net.name != "lm_head"])
    huge = Glm(layers=28, hidden=4096, head_dim=128, vocab=65024, ffn=13696)
    found["too_large"] = write_bmodel(folder / "too_large.bmodel", huge.nets())
    return found


SENTENCES = {
    "truncated": "was cut short",
    "zeroed": "it begins with zeros",
    "for_another_chip": "it is compiled for BM1690E (expected: BM1684X)",
    "damaged_tables": "damaged",
    "other_contents": "cannot be served: ",
    "too_large": "MiB for itself and the conversations, and the simulator has 3584",
}


def ask(client: glmd.Client, number: int) -> tuple[int, ...]:
    """Greedy for some, random for others."""
    stream = client.stream_complete(
        [5 + number, 6, 7, 8],
        max_tokens=TOKENS,
        seed=number,
        temperature=number / 2,
        ignore_eos=True,
    )
    with stream:
        tokens = tuple(token for delta in stream for token in delta.tokens)
        assert tokens == tuple(stream.result().token_ids)
    assert len(tokens) == TOKENS
    return tokens


@pytest.mark.parametrize("name", SENTENCES)
def test_start_tells_what_is_wrong(name: str, models: Models, homes: Homes) -> None:
    told = call("start", "--simulate", "--model", str(models[name]))
    assert told.returncode == 1
    assert SENTENCES[name] in told.stderr
    assert str(models[name]) in told.stderr
    assert call("status").returncode == 3


def test_too_many_slots(models: Models, homes: Homes) -> None:
    told = call("start", "--simulate", "--model", str(models["a"]), "--slots", "1000000")
    assert told.returncode == 1
    assert "Give fewer --slots" in told.stderr


def test_reload_of_what_cannot_be_served(models: Models, homes: Homes) -> None:
    homes.start(model=str(models["a"]), simulate=True)
    with glmd.Client() as client:
        pid, before = client.status().pid, ask(client, 0)
        for name, sentence in SENTENCES.items():
            told = call("reload", "--model", str(models[name]))
            assert told.returncode == 1
            assert sentence in told.stderr
            with pytest.raises(ModelError) as caught:
                client.reload(models[name])
            code = Code.OUT_OF_MEMORY if name == "too_large" else Code.MODEL_ERROR
            assert caught.value.code is code
            assert ask(client, 0) == before
        assert client.status().pid == pid


def test_what_it_was_not_compiled_for_is_refused_while_it_serves(
    models: Models, homes: Homes
) -> None:
    homes.start(model=str(models["a"]), simulate=True)
    with glmd.Client() as client:
        (before,) = client.status().replicas
        with pytest.raises(ModelError, match="compiled as f16 and cannot be loaded as int4"):
            client.reload(mode="int4")
        (after,) = client.status().replicas
        assert (after.pid, after.model_loads) == (before.pid, before.model_loads)
    for option, value in (("--threads", "2"), ("--context", "65"), ("--replicas", "2")):
        told = call(
            "start", "--name", "b", "--simulate", "--model", str(models["b"]), option, value
        )
        assert told.returncode == 1
        assert option in told.stderr


def reloads(models: Models) -> Iterator[Callable[[glmd.Client], None]]:
    """To the same model, to another, to a file that is refused before the chip is touched, and to
    one that fails when the old model has been unloaded already."""

    def to(name: str | None) -> Callable[[glmd.Client], None]:
        def reload(client: glmd.Client) -> None:
            client.reload(models[name] if name else None)

        return reload

    def refused(client: glmd.Client) -> None:
        with pytest.raises(ModelError, match="was cut short"):
            client.reload(models["truncated"])

    def restored(client: glmd.Client) -> None:
        with pytest.raises(ModelError, match="the simulator has"):
            client.reload(models["too_large"])

    kinds = [to("a"), to(None), to("b"), refused, to("b"), restored, to("a")]
    return itertools.islice(itertools.cycle(kinds), RELOADS)


def test_reloads_under_clients_that_stream(models: Models, homes: Homes) -> None:
    homes.start(model=str(models["a"]), simulate=True, slots=CLIENTS)
    sizes = []
    with glmd.Client() as operator:
        answers: dict[tuple[int, ...], str] = {}
        for name in ("b", "a"):
            operator.reload(models[name])
            answers |= {ask(operator, number): name for number in range(CLIENTS)}
        assert len(answers) == 2 * CLIENTS
        core = psutil.Process(operator.status().pid)
        before = core.num_fds()
        with Crowd(CLIENTS, ask, answers) as crowd:
            for reload in reloads(models):
                reload(operator)
                sizes.append(core.memory_info().rss)
        status = operator.status()
        until(core.num_fds, lambda now: now <= before)
        assert engines(core) == 1
    assert set(crowd.by) == {"a", "b"}
    assert status.requests_served == sum(crowd.by.values()) + 2 * CLIENTS
    settled, last = sizes[RELOADS // 3], sizes[-1]
    print(f"{dict(crowd.by)} answers, core {settled} to {last}")
    assert last - settled < GROWTH
    homes.stop()
    # The simulator ends a process that leaves device memory behind with status 255; what ends well
    # may be killed on its last step.
    ends = re.findall(r"Engine 0 (exited .*|was killed .*)\.", paths.log_file().read_text())
    assert len(ends) == status.model_loads + RELOADS // 7
    assert set(ends) <= {"exited with status 0", "was killed by SIGKILL"}
