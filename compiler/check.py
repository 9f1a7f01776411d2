"""What cannot be compiled, said before anything is."""

from __future__ import annotations

from importlib.util import find_spec

from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.serve.nets import CHUNKS
from glmd.compiler.toolchain.toolchain import VERSION
from glmd.errors import CompileFailed


def check_build(checkpoint: Checkpoint, build: Build) -> None:
    """Raises CompileFailed for options that do not fit the checkpoint, and ModelError where it has
    no tokenizer."""
    config = checkpoint.config
    checkpoint.tokenizer()
    if build.seq_length > config.seq_length:
        raise CompileFailed(
            f"--seq-length {build.seq_length} is more than the {config.seq_length} tokens that "
            f"{checkpoint.folder.name} was trained for.",
            hint=f"Give at most {config.seq_length}.",
        )
    if build.recipe == "serve" and build.num_device > 1:
        raise CompileFailed(
            f"--num-device {build.num_device}: the nets of --recipe serve, the default, are for "
            "one chip.",
            hint="Leave --num-device out, and each of several chips serves the whole model; or "
            f"give --recipe seed --num-device {build.num_device}, and they share one.",
        )
    if build.recipe == "serve" and build.seq_length <= min(CHUNKS):
        raise CompileFailed(
            f"--seq-length {build.seq_length} is too short for --recipe serve, whose shortest "
            f"piece of a prompt has {min(CHUNKS)} tokens.",
            hint=f"Give more than {min(CHUNKS)}, or --recipe seed.",
        )
    if build.mode == "int8" and build.num_device > 1:
        raise CompileFailed(
            f"TPU-MLIR {VERSION} cannot split int8 weights over devices: it stops at an assertion "
            "of its own, with any group size.",
            hint="Give --mode f16 or int4; or leave --num-device out, and several chips serve as "
            "replicas of the whole model.",
        )
    if build.mode == "f16":
        return
    widths = {
        "hidden_size": config.hidden_size,
        "ffn_hidden_size": config.ffn_hidden_size,
        "num_attention_heads × kv_channels": config.projection_size,
    }
    for name, width in widths.items():
        if width % build.group_size:
            raise CompileFailed(
                f"--group-size {build.group_size} does not divide {name}, which is {width}.",
                hint="Give a divisor of all rows' lengths; 64 suits ChatGLM3-6B.",
            )


def check_torch() -> None:
    """Raises CompileFailed where torch and onnx are not installed."""
    missing = [name for name in ("torch", "onnx") if find_spec(name) is None]
    if missing:
        raise CompileFailed(
            f"This needs {' and '.join(missing)}, which this Python does not have.",
            hint="Install it: pip install 'glmd[compile]'.",
        )
