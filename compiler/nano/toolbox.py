"""The tools of the corpus: names, schemas, arguments and results, each drawn at random.

A model this small cannot know tools; it has to copy names from the system prompt and values from
the question. So tool names, argument names, descriptions and result formats vary, invented words
among them, and the held-out halves (see `values`) are new names and new values, not only new
sentences.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from glmd.compiler.nano import tool_uses as uses
from glmd.compiler.nano.tool_uses import Use


@dataclass(frozen=True)
class Tool:
    """A tool as one system prompt announces it. `parameters` maps our names to the tool's names."""

    kind: str
    name: str
    parameters: dict[str, str]
    schema: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Kind:
    """A kind of tool: words for its name, its parameters, its descriptions, and one use of it."""

    verbs: str
    nouns: str
    parameters: dict[str, tuple[str, str]]  # our name → (JSON type, names that a tool may give it)
    descriptions: dict[str, str]  # language → alternatives
    use: Callable[[random.Random, str, bool], Use]


CITY = "city location place town city_name area"
KINDS: dict[str, Kind] = {
    "weather": Kind(
        "get query fetch find check read show", "weather forecast weather_info temperature",
        {"city": ("string", CITY)},
        {"en": "Get the weather of a city|The current weather|Weather forecast for a place",
         "zh": "查询城市的天气|获取当前天气|天气预报"}, uses.use_weather),
    "calculator": Kind(
        "calculate compute evaluate do run", "calculator math expression calc arithmetic",
        {"expression": ("string", "expression formula expr input query")},
        {"en": "Evaluate an arithmetic expression|A calculator|Calculate a formula",
         "zh": "计算算术表达式|计算器|计算一个公式"}, uses.use_calculator),
    "time": Kind(
        "get query tell show read", "time clock local_time current_time world_clock",
        {"city": ("string", CITY + " timezone")},
        {"en": "Get the time in a city|The current time|World clock",
         "zh": "查询城市的时间|获取当前时间|世界时钟"}, uses.use_time),
    "stock": Kind(
        "track get query check watch", "stock price stock_price share quote",
        {"symbol": ("string", "symbol ticker code stock")},
        {"en": "Track the price of a stock|Get a stock price|Stock quotes",
         "zh": "追踪指定股票的实时价格|查询股价|股票行情"}, uses.use_stock),
    "translate": Kind(
        "translate convert do", "translation text_translator translate language",
        {"text": ("string", "text sentence source words"),
         "language": ("string", "language target to target_language")},
        {"en": "Translate a text into a language|Translator", "zh": "把文字翻译成一种语言|翻译"},
        uses.use_translate),
    "convert": Kind(
        "convert change exchange", "units unit currency amount money",
        {"amount": ("number", "amount value quantity"), "unit": ("string", "unit from_unit source"),
         "unit2": ("string", "target to_unit into")},
        {"en": "Convert an amount from one unit to another|Unit converter",
         "zh": "把一个单位的数量换算成另一个单位|单位换算"}, uses.use_convert),
    "alarm": Kind(
        "set add create make", "alarm reminder timer wake_up",
        {"clock": ("string", "time at clock when")},
        {"en": "Set an alarm|Wake the user at a time", "zh": "设置闹钟|在指定时间提醒"},
        uses.use_alarm),
    "message": Kind(
        "send write post", "message text sms mail note",
        {"name": ("string", "to recipient receiver person name"),
         "text": ("string", "text message content body")},
        {"en": "Send a message to a person|Write to somebody", "zh": "给某人发消息|发送短信"},
        uses.use_message),
    "music": Kind(
        "play start put_on", "music song track tune audio",
        {"title": ("string", "title song name track")},
        {"en": "Play a song|Music player", "zh": "播放歌曲|音乐播放器"}, uses.use_music),
    "random": Kind(
        "get draw roll make", "random random_number number dice",
        {"low": ("integer", "low min start lower"), "high": ("integer", "high max end upper")},
        {"en": "A random number between two limits|Draw a number",
         "zh": "两个数之间的随机数|生成随机数"}, uses.use_random),
    "search": Kind(
        "search find query look_up", "web search internet pages google",
        {"query": ("string", "query q keywords text topic")},
        {"en": "Search the web|Find information", "zh": "搜索网页|查找信息"}, uses.use_search),
    "lookup": Kind(
        "get look_up find read", "user order customer ticket record",
        {"key": ("integer", "id key number user_id order_id")},
        {"en": "Look up a record by its number|Find a user or an order",
         "zh": "按编号查询记录|查询用户或订单"}, uses.use_lookup),
}  # fmt: skip
