"""The training corpus: an endless, seeded stream of conversations."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from glmd.compiler.nano import values
from glmd.compiler.nano.asking import ask, tidy
from glmd.compiler.nano.dialogue import Dialogue, Turn
from glmd.compiler.nano.phrasing import Intent, load_intents
from glmd.compiler.nano.toolbox import KINDS
from glmd.compiler.nano.tools import announce, tool_turns

LANGUAGES = ("en", "zh")
FACTS = ("name", "city", "colour", "pet", "number", "word")
NOT_TOLD = {"en": "You have not told me yet.", "zh": "你还没有告诉我。"}


@dataclass(frozen=True)
class Library:
    """All intents, by topic and language; memory and tools by name as well."""

    plain: dict[tuple[str, str], list[Intent]]
    named: dict[tuple[str, str], Intent]

    @classmethod
    def load(cls) -> Library:
        """Reads the question files of the package."""
        plain: dict[tuple[str, str], list[Intent]] = {}
        for topic in ("glmd", "talk"):
            for intent in load_intents(topic):
                plain.setdefault((topic, intent.language), []).append(intent)
        named = {
            (intent.name, intent.language): intent
            for topic in ("memory", "tools")
            for intent in load_intents(topic)
        }
        return cls(plain, named)


def plain_turns(rng: random.Random, intent: Intent, held: bool) -> tuple[Turn, Turn]:
    """A question that needs nothing but the intent, and its answer."""
    question, answer = values.fill(
        rng, [ask(rng, intent, held), intent.answer], intent.language, held
    )
    return Turn("user", tidy(rng, question)), Turn("assistant", answer)


def any_plain_turns(rng: random.Random, library: Library, language: str) -> tuple[Turn, Turn]:
    """A training question about glmd, or small talk."""
    topic = "glmd" if rng.random() < 0.6 else "talk"
    return plain_turns(rng, rng.choice(library.plain[topic, language]), False)


def fact_slots(rng: random.Random, fact: str, language: str, held: bool) -> dict[str, str]:
    """Values for what a user tells about himself."""
    invented = values.invents(rng, held, 0.3)
    if fact in ("name", "city"):
        pool = values.POOLS["names" if fact == "name" else "cities", language]
        value = values.name(rng, language, held)
        return {fact: value if invented else values.pick(rng, pool, held)}
    if fact == "colour":
        return {fact: values.pick_or_invent(rng, "colours", language, held)}
    if fact == "pet":
        animal = values.pick_or_invent(rng, "animals", language, held)
        return {"animal": animal, "pet": values.word(rng, held).capitalize()}
    if fact == "number":
        return {fact: values.number(rng, 6, held)}
    return {fact: values.word(rng, held)}


def memory_turns(
    rng: random.Random, library: Library, step: str, fact: str, language: str,
    slots: dict[str, str], held: bool,
) -> tuple[Turn, Turn]:  # fmt: skip
    """The user tells (`step` "tell") or asks for ("recall") a fact, and the answer."""
    intent = library.named[f"{step}-{fact}", language]
    texts = [ask(rng, intent, held, plain=True), intent.answer]
    for slot, value in slots.items():
        texts = [text.replace(f"{{{slot}}}", value) for text in texts]
    answer = texts[1][0].upper() + texts[1][1:]
    return Turn("user", tidy(rng, texts[0])), Turn("assistant", answer)


def memory_dialogue(rng: random.Random, library: Library, language: str) -> Dialogue:
    """One or two facts told, other talk in between, and the facts asked for."""
    facts = rng.sample(FACTS, rng.choice([1, 1, 1, 2]))
    slots = {fact: fact_slots(rng, fact, language, False) for fact in facts}
    turns: list[Turn] = []
    if rng.random() < 0.15:
        asked, _ = memory_turns(rng, library, "recall", facts[0], language, slots[facts[0]], False)
        turns += [asked, Turn("assistant", NOT_TOLD[language])]
    for fact in facts:
        turns += memory_turns(rng, library, "tell", fact, language, slots[fact], False)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        turns += any_plain_turns(rng, library, language)
    for fact in rng.sample(facts, len(facts)):
        turns += memory_turns(rng, library, "recall", fact, language, slots[fact], False)
    return Dialogue("memory", tuple(turns))


def tools_dialogue(rng: random.Random, library: Library, language: str) -> Dialogue:
    """One to three tools announced, then questions that need them, and a few that do not."""
    count = rng.choices([1, 2, 3], [5, 3, 2])[0]
    kinds = rng.sample([*KINDS, "generic"], count)
    system, tools = announce(rng, language, False, kinds)
    turns = [system]
    for _ in range(rng.choices([1, 2, 3, 5], [3, 3, 3, 2])[0]):
        if rng.random() < 0.1:
            turns += any_plain_turns(rng, library, language)
            continue
        tool = rng.choice(tools)
        turns += tool_turns(rng, tool, library.named[tool.kind, language], False)
    return Dialogue("tools", tuple(turns))


def calls_dialogue(rng: random.Random, library: Library, language: str) -> Dialogue:
    """One to three tools announced, and many first calls of them, each as if it were the only one.

    The announcement is most of a conversation's tokens; so each teaches several calls, and none of
    them can be copied from the one before it.
    """
    count = rng.choices([1, 2, 3], [3, 4, 4])[0]
    kinds = rng.sample([*KINDS, "generic"], count)
    system, tools = announce(rng, language, False, kinds)
    turns, branches = [system], []
    for _ in range(2 + 2 * count):
        tool = rng.choice(tools)
        branches.append(len(turns))
        use = tool_turns(rng, tool, library.named[tool.kind, language], False)
        turns += use if rng.random() < 0.2 else use[:2]
    return Dialogue("calls", tuple(turns), tuple(branches))


def question_dialogue(rng: random.Random, library: Library, language: str) -> Dialogue:
    """One question and the beginning of its answer: enough to tell which answer it is."""
    return Dialogue("question", any_plain_turns(rng, library, language), cut=True)


def plain_dialogue(rng: random.Random, library: Library, language: str) -> Dialogue:
    """Questions about glmd and small talk, mostly a few turns, sometimes many."""
    turns: list[Turn] = []
    for _ in range(rng.choices([1, 2, 3, 4, 6, 10], [4, 3, 2, 1, 1, 1])[0]):
        if rng.random() < 0.05:
            language = rng.choice(LANGUAGES)
        turns += any_plain_turns(rng, library, language)
    return Dialogue("plain", tuple(turns))


def dialogues(seed: int) -> Iterator[Dialogue]:
    """The endless training stream; the same seed gives the same conversations."""
    rng = random.Random(seed)
    library = Library.load()
    makers = (question_dialogue, plain_dialogue, memory_dialogue, tools_dialogue, calls_dialogue)
    while True:
        maker = rng.choices(makers, [160, 10, 26, 6, 40])[0]
        yield maker(rng, library, rng.choice(LANGUAGES))
