"""What cannot be compiled, and the sentence that says so. None of it needs torch or TPU-MLIR."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from support import cli
from support.checkpoints import Shape, write_checkpoint

from glmd.checkpoint.folder import Checkpoint
from glmd.compiler import check
from glmd.compiler.build import Build
from glmd.compiler.check import check_build
from glmd.compiler.needs import check_room
from glmd.compiler.nets import Net
from glmd.compiler.pipeline import Pipeline
from glmd.compiler.seed.nets import seed_nets
from glmd.compiler.toolchain.run import run_tool
from glmd.compiler.toolchain.toolchain import Toolchain
from glmd.compiler.workspace import Workspace
from glmd.errors import CompileFailed, ModelError


class Deaf:
    def begin(self, total: int, done: int) -> None: ...
    def started(self, net: str, step: str) -> None: ...
    def finished(self, net: str, work: int) -> None: ...


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint", shards=2)


def refusal(checkpoint: Path) -> str:
    told = cli.call("compile", str(checkpoint), "--out", str(checkpoint.parent))
    assert told.returncode == 1
    assert told.stdout == ""
    return told.stderr


def test_a_missing_shard(checkpoint: Path) -> None:
    shard = checkpoint / "model-00002-of-00002.safetensors"
    shard.unlink()
    said = refusal(checkpoint)
    assert said.startswith(f"glmd: {shard} is missing, and model.safetensors.index.json names it.")


def test_another_architecture(checkpoint: Path) -> None:
    config = checkpoint / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "llama"}))
    assert 'model_type is "llama", where "chatglm" is expected' in refusal(checkpoint)


def test_no_tokenizer(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.model").unlink()
    assert f"{checkpoint} holds no tokenizer.model." in refusal(checkpoint)


def test_no_checkpoint(tmp_path: Path) -> None:
    assert "is not there, where a checkpoint folder is expected" in refusal(tmp_path / "none")


def test_more_tokens_than_the_model_knows(checkpoint: Path) -> None:
    assert "--seq-length 512 is more than the 256 tokens" in refusal(checkpoint)


def test_groups_that_do_not_fit_the_rows(checkpoint: Path) -> None:
    opened = Checkpoint.open(checkpoint)
    check_build(opened, Build(mode="int4", seq_length=64, group_size=32))
    with pytest.raises(CompileFailed, match="--group-size 64 does not divide ffn_hidden_size"):
        check_build(opened, Build(mode="int4", seq_length=64))


@pytest.mark.parametrize("option", ["--num-device", "--seq-length", "--group-size", "--jobs"])
def test_options_that_a_packed_file_has_no_use_for(option: str, checkpoint: Path) -> None:
    told = cli.call("compile", str(checkpoint), "--target", "cpu", option, "2")
    assert told.returncode == 2
    assert f"{option} means nothing for --target cpu" in told.stderr


def sparse_checkpoint(folder: Path, shape: Shape) -> Path:
    """One of any size, whose weights are holes in the file."""
    header, end = {}, 0
    for name, dims in shape.tensors().items():
        size = 2
        for dim in dims:
            size *= dim
        header[name] = {"dtype": "F16", "shape": dims, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    (folder / "config.json").write_text(json.dumps(shape.config()))
    return folder


def room_for(shape: Shape, tmp_path: Path) -> None:
    opened = Checkpoint.open(sparse_checkpoint(tmp_path / "huge", shape))
    build = Build(seq_length=64, recipe="seed")
    with Workspace(tmp_path, build) as workspace:
        nets: list[Net] = seed_nets(opened.config, 64)
        check_room(Pipeline(opened, build, workspace, Deaf()), nets)


def test_disk_is_looked_at_first(tmp_path: Path) -> None:
    """More layers than any disk holds, each small enough for memory."""
    shape = Shape(layers=5_000, hidden=2048, heads=16, kv_heads=2, head_dim=128, ffn=4096)
    with pytest.raises(CompileFailed, match=r"needs about .* GiB of disk in .*, and .* are free"):
        room_for(shape, tmp_path)


def test_memory_is_looked_at_first(tmp_path: Path) -> None:
    shape = Shape(layers=1, hidden=65536, heads=512, kv_heads=2, head_dim=128, ffn=262144)
    with pytest.raises(CompileFailed, match=r"needs about .* GiB of memory for the largest net"):
        room_for(shape, tmp_path)


def test_a_disk_that_fills_up_meanwhile(checkpoint: Path, tmp_path: Path) -> None:
    """/dev/full answers each write as a full disk does."""
    opened = Checkpoint.open(checkpoint)
    build = Build(seq_length=64, recipe="seed")
    toolchain = Toolchain(Path("/"), Path("/bin/true"), "1.30.2", ())
    with Workspace(tmp_path, build) as workspace:
        pipeline = Pipeline(opened, build, workspace, Deaf())
        for net in pipeline.nets:
            workspace.net_folder(net)
            workspace.exported(net).touch()
            workspace.log(net).symlink_to("/dev/full")
        with pytest.raises(CompileFailed, match=r"The disk of .* is full") as caught:
            pipeline.deploy(toolchain)
    assert "it goes on where it was" in caught.value.hint


@pytest.mark.parametrize("step", [[], ["export"], ["estimate"]])
def test_without_torch_what_was_made_before_is_left(
    step: list[str], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bmodel of the other recipe has the same name, and takes hours."""
    monkeypatch.setattr(check, "find_spec", lambda name: None)
    build = Build(seq_length=64)
    with Workspace(tmp_path, build) as workspace:
        workspace.claim({"options": asdict(build)})
        workspace.model.touch()
    options = ["--recipe", "seed", "--seq-length", "64", "--out", str(tmp_path)]
    told = cli.call("compile", *step, str(checkpoint), *options)
    assert (told.returncode, workspace.model.exists()) == (1, True)
    assert told.stderr.startswith("glmd: This needs torch and onnx")


def test_two_in_one_folder(tmp_path: Path) -> None:
    with (
        Workspace(tmp_path, Build()),
        pytest.raises(CompileFailed, match="Another glmd compiles into"),
        Workspace(tmp_path, Build()),
    ):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(CompileFailed, match="cannot be made: Not a directory"),
        Workspace(tmp_path / "file", Build()),
    ):
        pass


@pytest.mark.parametrize(
    ("script", "said", "next_step"),
    [
        ("echo No space left on device; exit 1", "exit code 1", "Make room on the disk"),
        ("kill -9 $$", "signal SIGKILL", "Memory ran out"),
        ("echo '*** stack smashing detected ***'; exit 134", "exit code 134", "C library"),
        ("exit 3", "exit code 3", "Run the same command again"),
    ],
)
def test_a_tool_that_fails(script: str, said: str, next_step: str, tmp_path: Path) -> None:
    toolchain = Toolchain(tmp_path, Path("/bin/sh"), "1.30.2", ())
    log = tmp_path / "log"
    with pytest.raises(CompileFailed) as caught:
        run_tool(
            toolchain, ["sh", "-c", script], folder=tmp_path, log=log, step="deploy", net="block_3"
        )
    assert caught.value.message.startswith(f"block_3: deploy failed ({said}). The end of {log}:")
    assert next_step in caught.value.hint


def test_a_weight_that_is_missing_is_a_fault_of_the_checkpoint(checkpoint: Path) -> None:
    index = checkpoint / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"].popitem()
    index.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="has no tensor"):
        Checkpoint.open(checkpoint)
