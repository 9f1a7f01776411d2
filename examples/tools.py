"""Let the model call a function of this program: python examples/tools.py [QUESTION]"""

from __future__ import annotations

import sys
from typing import Any

import glmd

ROUNDS = 5  # a model may go on calling for ever

WEATHER = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The city"}},
        "required": ["city"],
    },
}


def get_weather(arguments: dict[str, Any]) -> str:
    """What the model asked for. Its arguments are a stranger's words: check them."""
    city = arguments.get("city")
    return f"{city}: 21 °C, sunny" if isinstance(city, str) else "Which city?"


messages: list[Any] = [
    {"role": "user", "content": " ".join(sys.argv[1:]) or "What is the weather in Beijing?"}
]
with glmd.Client() as client:
    for _ in range(ROUNDS):
        result = client.chat(messages, tools=[WEATHER], preset="greedy")
        if (call := result.tool_call) is None:
            break
        observation = get_weather(call.arguments)
        print(f"{call.name}({call.arguments}) gives {observation!r}")
        messages += [result.message, {"role": "observation", "content": observation}]
print(result.text)
