"""The training model against transformers' GlmForCausalLM, and a training run in small."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.checkpoints import NANO

from glmd.compiler.nano.shape import Shape
from glmd.compiler.nano.tokenizer import NanoTokenizer

pytestmark = [pytest.mark.needs("torch"), pytest.mark.timeout(180)]

SMALL = Shape(layers=2, hidden=64, heads=4, groups=2, ffn=96, context=128)


@pytest.mark.parametrize("shape", [SMALL, Shape()], ids=["small", "nano"])
def test_logits_equal_those_of_transformers(shape: Shape) -> None:
    import torch

    from glmd.compiler.nano.model import ChatGLM

    torch.manual_seed(3)
    model = ChatGLM(shape).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.1)
    oracle = transformers_model(shape, model.state_dict())
    ids = torch.randint(0, shape.vocabulary, (2, 37))
    with torch.no_grad():
        ours, theirs = model(ids), oracle(ids).logits
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_a_branch_sees_the_beginning_and_itself() -> None:
    import torch

    from glmd.compiler.nano.model import ChatGLM

    torch.manual_seed(3)
    model = ChatGLM(SMALL).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.1)
    begin, first, second = (torch.randint(0, SMALL.vocabulary, (n,)) for n in (9, 5, 7))
    ids = torch.cat([begin, first, second, torch.zeros(3, dtype=torch.int64)])
    branches = torch.tensor([0] * 9 + [1] * 5 + [2] * 7 + [-1] * 3)
    with torch.no_grad():
        together = model.states(torch.stack([ids, ids]), torch.stack([branches, branches]))
        for row, (branch, number) in enumerate([(first, 1), (second, 2)]):
            alone = model.states(torch.cat([begin, branch])[None])[0]
            seen = (branches == 0) | (branches == number)
            assert torch.allclose(together[row, seen], alone, atol=1e-4)


def test_a_short_training_learns_and_is_repeatable(tmp_path: Path) -> None:
    import torch

    from glmd.compiler.nano.train import Recipe, fresh_model, train

    tokenizer = NanoTokenizer.load(NANO)
    recipe = Recipe(steps=50, batch_tokens=128, warmup=5)
    losses: list[str] = []
    first = train(
        tokenizer, fresh_model(SMALL, recipe), recipe, tmp_path / "a.pt", losses.append
    ).state_dict()
    again = train(
        tokenizer, fresh_model(SMALL, recipe), recipe, tmp_path / "b.pt", losses.append
    ).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    loss = float(losses[0].split("loss ")[1].split()[0])
    assert loss < 7.0  # uniform guessing over the vocabulary would be 7.7


def test_an_interrupted_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    import torch

    from glmd.compiler.nano.train import Recipe, fresh_model, train

    class Interrupted(Exception):
        pass

    def stop(_: str) -> None:
        raise Interrupted

    tokenizer = NanoTokenizer.load(NANO)
    recipe = Recipe(steps=52, batch_tokens=128, warmup=5)
    whole = train(
        tokenizer, fresh_model(SMALL, recipe), recipe, tmp_path / "whole.pt", lambda _: None
    ).state_dict()
    with pytest.raises(Interrupted):
        train(tokenizer, fresh_model(SMALL, recipe), recipe, tmp_path / "parts.pt", stop)
    parts = train(
        tokenizer, fresh_model(SMALL, recipe), recipe, tmp_path / "parts.pt", lambda _: None
    ).state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_training_can_go_on_from_a_model_folder(tmp_path: Path) -> None:
    """Its tokenizer stays, its weights are where the training starts."""
    from click.testing import CliRunner
    from safetensors.numpy import load_file

    from glmd.compiler.nano.__main__ import main
    from glmd.compiler.nano.folder import SHARD

    asked = ["train", str(tmp_path / "model"), "--start", str(NANO), "--steps", "1"]
    result = CliRunner().invoke(main, [*asked, "--state", str(tmp_path / "state.pt")])
    assert result.exit_code == 0, result.output
    made = tmp_path / "model"
    assert (made / "tokenizer.model").read_bytes() == (NANO / "tokenizer.model").read_bytes()
    before, after = load_file(NANO / SHARD), load_file(made / SHARD)
    change = max(abs(before[name] - after[name]).max() for name in before)
    assert 0 < change < 0.01


def transformers_model(shape: Shape, weights):  # type: ignore[no-untyped-def]
    """GlmForCausalLM with our weights, renamed and the fused query_key_value split."""
    import torch
    from transformers import GlmConfig, GlmForCausalLM

    config = GlmConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.groups,
        head_dim=shape.head,
        rms_norm_eps=1e-5,
        attention_bias=True,
        max_position_embeddings=shape.context,
        tie_word_embeddings=False,
        pad_token_id=0,
        attn_implementation="eager",
    )
    model = GlmForCausalLM(config).eval()
    split = [shape.heads * shape.head, shape.groups * shape.head, shape.groups * shape.head]
    renamed = {
        "model.embed_tokens.weight": weights["transformer.embedding.word_embeddings.weight"],
        "model.norm.weight": weights["transformer.encoder.final_layernorm.weight"],
        "lm_head.weight": weights["transformer.output_layer.weight"],
    }
    for layer in range(shape.layers):
        ours, theirs = f"transformer.encoder.layers.{layer}", f"model.layers.{layer}"
        for kind in ("weight", "bias"):
            fused = weights[f"{ours}.self_attention.query_key_value.{kind}"]
            for name, part in zip("qkv", fused.split(split), strict=True):
                renamed[f"{theirs}.self_attn.{name}_proj.{kind}"] = part
        for name, old in (
            ("self_attn.o_proj", "self_attention.dense"),
            ("mlp.gate_up_proj", "mlp.dense_h_to_4h"),
            ("mlp.down_proj", "mlp.dense_4h_to_h"),
            ("input_layernorm", "input_layernorm"),
            ("post_attention_layernorm", "post_attention_layernorm"),
        ):
            renamed[f"{theirs}.{name}.weight"] = weights[f"{ours}.{old}.weight"]
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    assert not missing
    assert not unexpected
    with torch.no_grad():
        return model
