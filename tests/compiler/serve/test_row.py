"""Attention of one new row."""

from __future__ import annotations

import pytest
from support.checkpoints import Shape, write_checkpoint

from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.serve.export import net_text
from glmd.compiler.serve.nets import serve_nets

SHAPE = Shape()
S = 48


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("row") / "checkpoint"
    config = Checkpoint.open(write_checkpoint(folder, SHAPE)).config
    return {net.key: net_text(net, config, S, "") for net in serve_nets(config, S)}


@pytest.mark.parametrize("key", ["decode_0.1", "decode4_0.4"])
def test_a_decode_copies_no_history(texts: dict[str, str], key: str) -> None:
    """With a cache of 8192 rows of ChatGLM3-6B that was an eighth of its time."""
    heads = f"{SHAPE.kv_heads}x{SHAPE.head_dim}"
    assert f"1x{S}x{heads}x" in texts[key]
    assert f"1x{S + 1}x{heads}x" not in texts[key]
    assert f"1x{S + 16}x{heads}x" in texts["chunk_0.16"], "many rows are put behind theirs"
