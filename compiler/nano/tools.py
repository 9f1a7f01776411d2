"""Conversations with tools: the announcing system turn, calls, observations and answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from glmd.compiler.nano import values
from glmd.compiler.nano.asking import ask, tidy
from glmd.compiler.nano.dialogue import Turn, tool_call, tools_prompt
from glmd.compiler.nano.phrasing import Intent
from glmd.compiler.nano.tool_uses import Use
from glmd.compiler.nano.toolbox import KINDS, Kind, Tool


def _tool_name(rng: random.Random, kind: Kind, held: bool) -> str:
    def make(r: random.Random) -> str:
        verb, noun = r.choice(kind.verbs.split()), r.choice(kind.nouns.split())
        camel = verb + "".join(part.capitalize() for part in noun.split("_"))
        return r.choice([f"{verb}_{noun}", f"{verb}_{noun}", noun, camel, f"{noun}_{verb}"])

    return (
        _invented_name(rng, held)
        if values.invents(rng, held, 0.2)
        else values.draw(rng, make, held)
    )


def _invented_name(rng: random.Random, held: bool) -> str:
    name = values.word(rng, held)
    if held or rng.random() < 0.7:
        return f"{name}_{values.word(rng, held)}" if rng.random() < 0.3 else name
    other = values.word(rng, held)
    return rng.choice([name + other.capitalize(), name.capitalize(), f"{name}{rng.randrange(10)}"])


def _parameter_names(rng: random.Random, kind: Kind, held: bool) -> dict[str, str]:
    names: dict[str, str] = {}
    for ours, (_, pool) in kind.parameters.items():

        def make(r: random.Random, pool: str = pool) -> str:
            if values.invents(r, held, 0.15):
                return values.word(r, True) if held else _invented_name(r, False)
            base = r.choice(pool.split())
            return (
                base if r.random() < 0.765 else f"{r.choice(['the', 'my', 'input', 'one'])}_{base}"
            )

        name = values.draw(rng, make, held)
        while name in names.values():
            name = values.draw(rng, make, held)
        names[ours] = name
    return names


def _schema(
    rng: random.Random, name: str, description: str, types: dict[str, str]
) -> dict[str, Any]:
    """A tool's announcement; parts that tools in the wild leave out are left out at random."""
    described, typed, required = (rng.random() < chance for chance in (0.35, 0.85, 0.85))
    properties: dict[str, dict[str, str]] = {}
    for parameter, json_type in types.items():
        properties[parameter] = {}
        if typed or json_type != "string":
            properties[parameter]["type"] = json_type
        if described or not properties[parameter]:
            properties[parameter]["description"] = parameter.replace("_", " ")
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = list(types)
    return {"name": name, "description": description, "parameters": parameters}


def make_tool(rng: random.Random, kind_name: str, language: str, held: bool) -> Tool:
    """A tool of the kind; `generic` ones have invented names throughout."""
    if kind_name == "generic":
        name = _invented_name(rng, held)
        types = {
            values.word(rng, held): rng.choice(["string", "string", "integer"])
            for _ in range(rng.choice([1, 1, 2, 2, 3] if held else [1, 2, 3, 3, 4]))
        }
        schema = _schema(rng, name, " ".join(values.word(rng, held) for _ in range(2)), types)
        return Tool("generic", name, types, schema)
    kind = KINDS[kind_name]
    name = _tool_name(rng, kind, held)
    parameters = _parameter_names(rng, kind, held)
    types = {parameters[ours]: json_type for ours, (json_type, _) in kind.parameters.items()}
    description = rng.choice(kind.descriptions[language].split("|"))
    return Tool(kind_name, name, parameters, _schema(rng, name, description, types))


def _use_generic(rng: random.Random, tool: Tool, held: bool) -> Use:
    arguments: dict[str, Any] = {
        name: int(values.number(rng, 4, held)) if kind == "integer" else values.word(rng, held)
        for name, kind in tool.parameters.items()
    }
    join, between = rng.choice([("=", ", "), (" = ", ", "), (" ", " and "), (": ", ", ")])
    listing = between.join(f"{key}{join}{value}" for key, value in arguments.items())
    result = values.word(rng, held) if rng.random() < 0.5 else values.number(rng, 4, held)
    return Use({"tool": tool.name, "arguments": listing}, arguments, result, {"result": result})


def tool_turns(
    rng: random.Random, tool: Tool, intent: Intent, held: bool
) -> tuple[Turn, Turn, Turn, Turn]:
    """Question, call, observation and answer of one use of `tool`."""
    question, answer = ask(rng, intent, held, plain=True), intent.answer
    if tool.kind == "generic":
        use = _use_generic(rng, tool, held)
        arguments = use.arguments
    else:
        use = KINDS[tool.kind].use(rng, intent.language, held)
        arguments = {tool.parameters[ours]: value for ours, value in use.arguments.items()}
    for slot, value in use.slots.items():
        question = question.replace(f"{{{slot}}}", value)
    for slot, value in use.answer_slots.items():
        answer = answer.replace(f"{{{slot}}}", value)
    return (
        Turn("user", tidy(rng, question)),
        tool_call(tool.name, arguments),
        Turn("observation", use.observation),
        Turn("assistant", answer),
    )


def announce(
    rng: random.Random, language: str, held: bool, kinds: Sequence[str]
) -> tuple[Turn, list[Tool]]:
    """A system turn with one tool of each of `kinds`, in random order."""
    tools = [make_tool(rng, kind, language, held) for kind in kinds]
    rng.shuffle(tools)
    return tools_prompt([tool.schema for tool in tools]), tools
