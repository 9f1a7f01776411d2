"""Where heads are told to look in training."""

from __future__ import annotations

import itertools

import pytest
from support.checkpoints import NANO

from glmd.compiler.nano.corpus import dialogues
from glmd.compiler.nano.dialogue import Dialogue, Turn, tool_call, tools_prompt
from glmd.compiler.nano.guide import NOWHERE, WEIGHTS, Link, Look
from glmd.compiler.nano.rows import FIRST_WEIGHT, RECALL_WEIGHT, Row, training_row
from glmd.compiler.nano.shape import Shape
from glmd.compiler.nano.tokenizer import NanoTokenizer

TOKENIZER = NanoTokenizer.load(NANO)
PARAMETERS = {
    "type": "object",
    "properties": {"zofa": {"type": "string"}, "kiri_du": {"type": "integer"}},
    "required": ["zofa", "kiri_du"],
}
TOOLS = tools_prompt(
    [
        {"name": "weather", "description": "查询天气", "parameters": PARAMETERS},
        {"name": "mabo", "description": "A thing", "parameters": PARAMETERS},
    ]
)
ASKED = (
    TOOLS,
    Turn("user", "mabo 合肥, kiri_du=1 for 4 of 45?"),
    tool_call("mabo", {"zofa": "合肥, kiri_du=1", "kiri_du": 4}),
)


def text(row: Row, *places: int) -> str:
    special = set(TOKENIZER.special.values())
    return TOKENIZER.decode([row.ids[i] for i in places if row.ids[i] not in special]).strip()


def links(row: Row, look: Look) -> list[Link]:
    return [link for link in row.links if link.look is look]


def test_a_call_looks_for_the_announced_names_of_its_own_tool() -> None:
    row = training_row(TOKENIZER, Dialogue("tools", ASKED))
    (tool,) = links(row, Look.TOOL)
    assert text(row, tool.target) == "parameters"
    first, second, _, _ = links(row, Look.NEXT)
    assert tool.target < first.target < second.target < tool.origin < first.origin < second.origin
    for link, name in ((first, "zofa"), (second, "kiri_du")):
        count = len(TOKENIZER.encode(name)) - 1  # without the space before it
        for begin in (link.origin + 1, link.target):
            assert text(row, *range(begin, begin + count)) == name
    announced = text(row, *range(first.target))
    assert announced.count("parameters") == 2  # behind those of the other tool
    assert row.weights[first.origin + 1] == row.weights[tool.origin + 1] == FIRST_WEIGHT


def test_the_end_of_a_value_looks_for_another_name_and_behind_the_last_one_nowhere() -> None:
    row = training_row(TOKENIZER, Dialogue("tools", ASKED))
    _, second, behind_first, behind_last = links(row, Look.NEXT)
    assert behind_first.target == second.target
    assert behind_last.target == NOWHERE
    for link, end in ((behind_first, "',"), (behind_last, ")")):
        assert text(row, link.origin + 1) == end


def test_a_name_looks_for_the_one_before_it() -> None:
    row = training_row(TOKENIZER, Dialogue("tools", ASKED))
    pairs = [(text(row, link.origin), text(row, link.target)) for link in links(row, Look.BEFORE)]
    zofa, kiri, mabo, weather = (
        TOKENIZER.decode([TOKENIZER.encode(name)[1]])
        for name in ("zofa", "kiri_du", "mabo", "weather")
    )
    announced = [(zofa, weather), (kiri, zofa), ("parameters", weather)]
    announced += [(zofa, mabo), (kiri, zofa), ("parameters", mabo)]
    assert pairs == [*announced, ("(", mabo), ("", zofa), ("1", zofa), ("4", kiri)]
    ends = links(row, Look.BEFORE_END)
    assert [link.origin for link in ends] == [link.origin for link in links(row, Look.BEFORE)]
    assert {text(row, link.target) for link in ends} == {'",', '":', "", "='", "="}


def test_a_value_looks_for_its_beginning_in_the_question() -> None:
    row = training_row(TOKENIZER, Dialogue("tools", ASKED))
    (value,) = links(row, Look.VALUE)  # 4 is there twice, and none is told apart by its pieces
    said = TOKENIZER.encode("合肥, kiri_du=1")[1:]
    for begin in (value.origin + 1, value.target):
        assert row.ids[begin : begin + len(said)] == said
    assert row.ids[value.target - 1] != row.ids[value.origin]
    assert row.weights[value.origin + 1] == FIRST_WEIGHT


def test_each_piece_of_a_copy_looks_for_the_next_one() -> None:
    row = training_row(TOKENIZER, Dialogue("tools", ASKED))
    copied = [row.ids[link.origin] for link in links(row, Look.COPY)]
    texts = ("mabo", "zofa", "kiri_du", "合肥, kiri_du=1")
    assert copied == [token for text in texts for token in TOKENIZER.encode(text)[1:]]
    for link in links(row, Look.COPY):
        assert row.ids[link.target - 1] == row.ids[link.origin]
    first, second, *_ = links(row, Look.COPY)
    assert (first.origin + 1, first.target + 1) == (second.origin, second.target)


def test_what_is_not_in_the_question_is_not_looked_for() -> None:
    asked = (TOOLS, Turn("user", "1 plus 2"), tool_call("mabo", {"zofa": "1 + 2", "kiri_du": 7}))
    assert not links(training_row(TOKENIZER, Dialogue("tools", asked)), Look.VALUE)


def test_behind_parameters_the_tools_name_is_wanted() -> None:
    row = training_row(TOKENIZER, Dialogue("tools", ASKED))
    other = [i for i, token in enumerate(row.ids) if token != row.wanted[i]]
    assert [text(row, place - 1) for place in other] == ["parameters", "parameters"]
    assert [row.weights[place] for place in other] == [RECALL_WEIGHT, RECALL_WEIGHT]
    wanted = [TOKENIZER.encode(name)[1] for name in ("weather", "mabo")]
    assert [row.wanted[place] for place in other] == wanted


def test_a_call_of_two_tools_of_one_name_is_that_of_the_one_with_its_arguments() -> None:
    tools = [
        {"name": "change", "description": "x", "parameters": {"properties": {name: {}}}}
        for name in ("zofa", "kiri")
    ]
    call = tool_call("change", {"kiri": "a"})
    row = training_row(TOKENIZER, Dialogue("tools", (tools_prompt(tools), call)))
    following, _ = links(row, Look.NEXT)
    assert row.ids[following.target] == row.ids[following.origin + 1] == TOKENIZER.encode("kiri")[1]
    unknown = (tools_prompt(tools), tool_call("change", {"bo": "a"}))
    assert not links(training_row(TOKENIZER, Dialogue("tools", unknown)), Look.NEXT)


def test_a_tool_looks_at_its_description() -> None:
    row = training_row(TOKENIZER, Dialogue("tools", ASKED))
    described = links(row, Look.DESCRIPTION)
    origins = {link.origin: text(row, link.origin) for link in described}
    assert sorted(origins.values())[:2] == ["parameters", "parameters"]
    for origin in origins:
        seen = [link for link in described if link.origin == origin]
        assert text(row, *(link.target for link in seen)) in ("查询天气", "A thing")
        assert sum(link.weight for link in seen) == pytest.approx(WEIGHTS[Look.DESCRIPTION])


def test_heads_are_told_to_look_at_what_they_can_see() -> None:
    shape = Shape()
    looks = set()
    for dialogue in itertools.islice(dialogues(1), 300):
        row = training_row(TOKENIZER, dialogue)
        for link in row.links:
            looks.add(link.look)
            assert 0 <= link.target < link.origin < len(row.ids)
            assert row.branches[link.target] in (0, row.branches[link.origin])
    assert looks == set(Look)
    for layer, head in (look.value for look in Look):
        assert layer < shape.layers
        assert head < shape.heads


def test_spans_of_tokens_cover_the_text() -> None:
    for said in ("a b", "合肥 x=1\n", "彧 rare", ' {\n        "name": "天气"'):
        spans = TOKENIZER.spans(said)
        assert len(spans) == len(TOKENIZER.encode(said))
        assert "".join(said[begin:end] for begin, end in spans) == said


@pytest.mark.needs("torch")
def test_heads_learn_to_look_where_they_are_told() -> None:
    import torch

    from glmd.compiler.nano.model import ChatGLM
    from glmd.compiler.nano.train import Part, part_gradients, watches

    torch.manual_seed(3)
    torch.set_num_threads(1)
    model = ChatGLM(Shape(hidden=32, ffn=32, context=512))
    row = training_row(TOKENIZER, Dialogue("tools", ASKED))
    links = tuple((0, link) for link in row.links)
    part = Part(*map(torch.tensor, ([row.ids], [row.wanted], [row.weights])), None, links)
    unguided = Part(part.ids, part.wanted, part.weights, None, ())

    def attention() -> float:
        """Mean attention on the targets, from the scores that the layers were made to show."""
        watched = list(watches(links))
        with torch.no_grad():
            model.states(part.ids[:, :-1], None, {layer: watch for layer, watch, _, _ in watched})
        shares = [
            watch.scores.softmax(-1).gather(1, targets[:, None])  # type: ignore[union-attr]
            for _, watch, targets, _ in watched
        ]
        return float(torch.cat(shares).mean())

    before = attention()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(10):
        loss, gradients = part_gradients(model, part, part.weight)
        assert loss == part_gradients(model, unguided, part.weight)[0]
        for weight, gradient in zip(model.parameters(), gradients, strict=True):
            weight.grad = gradient
        optimizer.step()
    assert attention() > 2 * before


@pytest.mark.needs("torch")
def test_a_watch_is_given_the_scores_of_its_head() -> None:
    """Those of the last position of a row decide what it mixes of the values."""
    import torch

    from glmd.compiler.nano.model import SelfAttention, Watch, rope_table

    torch.manual_seed(3)
    shape = Shape(hidden=32, heads=4, groups=2)
    attention = SelfAttention(shape)
    hidden, table = torch.randn(2, 7, 32), rope_table(shape, 7)
    unseen = torch.zeros(2 * 7, 7)
    for row, head in ((0, 0), (1, 1), (0, 2), (1, 3)):
        watch = Watch(torch.tensor([row]), torch.tensor([head]), torch.tensor([6]))
        with torch.no_grad():
            attention.dense.weight.zero_()
            attention.dense.weight[:8, head * 8 : head * 8 + 8] = torch.eye(8)
            mixed = attention(hidden, table, unseen, watch)[row, 6, :8]
            values = attention.query_key_value(hidden[row])[:, (6 + head // 2) * 8 :][:, :8]
        assert watch.scores is not None
        assert torch.allclose(watch.scores[0].softmax(-1) @ values, mixed, atol=1e-5)
