"""One use of each kind of tool, drawn at random: the question's values, the call, the result."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from glmd.compiler.nano import values
from glmd.compiler.nano.values import POOLS

Slots = dict[str, str]


@dataclass(frozen=True)
class Use:
    """One use of a tool: what fills the question, the call's arguments, and what came back."""

    slots: Slots
    arguments: dict[str, Any]
    observation: str
    answer_slots: Slots


def _result(rng: random.Random, value: str) -> str:
    """`value` as a tool may return it: bare, or in a JSON object, there perhaps as a number."""
    if rng.random() < 0.6:
        return value
    payload: Any = value
    if rng.random() < 0.5 and value.replace(".", "", 1).lstrip("-").isdigit():
        as_number = float(value) if "." in value else int(value)
        payload = as_number if str(as_number) == value else value
    return json.dumps({rng.choice(["result", "value", "output"]): payload}, ensure_ascii=False)


def _simple(rng: random.Random, slots: Slots, arguments: dict[str, Any], result: str) -> Use:
    return Use(slots, arguments, _result(rng, result), {**slots, "result": result})


def use_weather(rng: random.Random, language: str, held: bool) -> Use:
    """Asks for a city's weather; the result is text or JSON."""
    city = values.pick(rng, POOLS["cities", language], held)
    if values.invents(rng, held, 0.15):
        city = values.name(rng, language, held)
    conditions = POOLS["conditions", language]
    condition, degrees = rng.choice(conditions), rng.randint(-15, 39)
    observation = rng.choice(
        [
            json.dumps({"temperature": degrees, "condition": condition}, ensure_ascii=False),
            json.dumps(
                {"city": city, "condition": condition, "temperature": degrees}, ensure_ascii=False
            ),
            f"{condition}, {degrees}°C",
            f"{degrees}°C {condition}",
        ]
    )
    answer = {"city": city, "condition": condition, "temperature": str(degrees)}
    return Use({"city": city}, {"city": city}, observation, answer)


_SPOKEN = {
    "en": {"+": "plus", "-": "minus", "*": "times", "/": "divided by"},
    "zh": {"+": "加", "-": "减", "*": "乘以", "/": "除以"},
}


def use_calculator(rng: random.Random, language: str, held: bool) -> Use:
    """Two or three numbers to reckon with, in signs or in words."""
    left, right = (int(values.number(rng, 4, held)) for _ in range(2))
    operator = rng.choice("+-**/")
    result: float = {"+": left + right, "-": left - right, "*": left * right}.get(operator, 0)
    if operator == "/":
        right = right or 7
        result = round(left / right, 3)
    gap = rng.choice(["", " "])
    expression = asked = f"{left}{gap}{operator}{gap}{right}"
    style = rng.random()
    if style < 0.2:
        asked = f"{left} {_SPOKEN[language][operator]} {right}"
        expression = f"{left} {operator} {right}"
    elif style < 0.4 and operator != "/":
        third = rng.randint(2, 99)
        expression = asked = f"({expression}){gap}*{gap}{third}"
        result *= third
    use = _simple(rng, {"expression": asked}, {"expression": expression}, str(result))
    use.answer_slots["expression"] = expression
    return use


def use_time(rng: random.Random, language: str, held: bool) -> Use:
    """Asks for the time in a city."""
    city = values.pick(rng, POOLS["cities", language], held)
    if values.invents(rng, held, 0.0):
        city = values.name(rng, language, held)
    clock = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    return _simple(rng, {"city": city}, {"city": city}, clock)


def use_stock(rng: random.Random, language: str, held: bool) -> Use:
    """Asks for the price of a share."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    symbol = values.draw(
        rng, lambda r: "".join(r.choice(letters) for _ in range(r.randint(2, 4))), held
    )
    price = f"{rng.randint(1, 999)}.{rng.randrange(100):02}"
    return _simple(rng, {"symbol": symbol}, {"symbol": symbol}, price)


def use_translate(rng: random.Random, language: str, held: bool) -> Use:
    """Asks for a sentence in another language; the result is invented."""
    target = rng.choice(POOLS["targets", language])
    if not held and rng.random() < 0.3:
        target = values.name(rng, language, False)
    text = rng.choice(POOLS["sentences", language]) if not held else ""
    if held or rng.random() < 0.5:
        text = " ".join(values.word(rng, held) for _ in range(rng.randint(1, 3)))
    result = " ".join(values.word(rng, held) for _ in range(2))
    slots = {"text": text, "language": target}
    return _simple(rng, slots, dict(slots), result)


def use_convert(rng: random.Random, language: str, held: bool) -> Use:
    """Converts an amount; the rate is invented."""
    unit, unit2 = rng.sample(POOLS["units", language], 2)
    if not held and rng.random() < 0.4:
        unit, unit2 = (values.name(rng, language, False) for _ in range(2))
    amount = int(values.number(rng, 4, held))
    result = str(round(amount * rng.uniform(0.1, 9), 2))
    slots = {"amount": str(amount), "unit": unit, "unit2": unit2}
    return _simple(rng, slots, {"amount": amount, "unit": unit, "unit2": unit2}, result)


def use_alarm(rng: random.Random, language: str, held: bool) -> Use:
    """Sets an alarm."""
    clock = values.draw(rng, lambda r: f"{r.randrange(24):02}:{r.randrange(60):02}", held)
    return _simple(rng, {"clock": clock}, {"clock": clock}, rng.choice(["ok", "set", clock]))


def use_message(rng: random.Random, language: str, held: bool) -> Use:
    """Sends a message to a person."""
    name = values.pick(rng, POOLS["names", language], held)
    if values.invents(rng, held, 0.0):
        name = values.name(rng, language, held)
    text = rng.choice(POOLS["notes", language])
    if held or rng.random() < 0.4:
        text = " ".join(values.word(rng, held) for _ in range(rng.randint(1, 3)))
    slots = {"name": name, "text": text}
    return _simple(rng, slots, dict(slots), rng.choice(["sent", "delivered", "ok"]))


def use_music(rng: random.Random, language: str, held: bool) -> Use:
    """Plays a song."""
    title = " ".join(values.word(rng, held).capitalize() for _ in range(rng.randint(1, 2)))
    return _simple(rng, {"title": title}, {"title": title}, rng.choice(["playing", "ok"]))


def use_random(rng: random.Random, language: str, held: bool) -> Use:
    """Draws a number between two limits."""
    low = int(values.number(rng, 2, held))
    high = low + rng.randint(1, 900)
    slots = {"low": str(low), "high": str(high)}
    return _simple(rng, slots, {"low": low, "high": high}, str(rng.randint(low, high)))


def use_search(rng: random.Random, language: str, held: bool) -> Use:
    """Searches for a thing or for invented words."""
    query = values.pick(rng, POOLS["things", language], held)
    if rng.random() < 0.6:
        query = " ".join(values.word(rng, held) for _ in range(rng.randint(1, 3)))
    result = " ".join(values.word(rng, held) for _ in range(rng.randint(2, 4)))
    return _simple(rng, {"query": query}, {"query": query}, result)


def use_lookup(rng: random.Random, language: str, held: bool) -> Use:
    """Looks a record up by its number."""
    key = int(values.number(rng, 5, held))
    slots = {"key": str(key)}
    return _simple(rng, slots, {"key": key}, rng.choice(POOLS["statuses", language]))
