"""`python -m glmd.compiler.nano`: makes and measures glm3-nano."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import click

from glmd.compiler.nano.corpus import dialogues
from glmd.compiler.nano.shape import Shape
from glmd.compiler.nano.tokenizer import NanoTokenizer, train_tokenizer

TOKENIZER_DIALOGUES = 20_000


def corpus_texts(seed: int) -> Iterator[str]:
    """What the tokenizer is trained on: the first conversations of the corpus."""
    for dialogue in itertools.islice(dialogues(seed), TOKENIZER_DIALOGUES):
        for turn in dialogue.turns:
            yield f"{turn.metadata}\n{turn.content}"


@click.group()
def main() -> None:
    """Make and measure glm3-nano, the small model that ships with glmd."""


@main.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--count", default=5, show_default=True, help="Conversations to print.")
def corpus(seed: int, count: int) -> None:
    """Print conversations of the training corpus."""
    for dialogue in itertools.islice(dialogues(seed), count):
        click.echo(f"# {dialogue.kind}")
        for turn in dialogue.turns:
            click.echo(f"<|{turn.role}|>{turn.metadata}\n{turn.content}")
        click.echo()


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--steps", type=int, help="Training steps; the recipe's own number if left out.")
@click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True),
    help="Model folder whose tokenizer and weights to go on from, instead of from nothing.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path("nano-training.pt"),
    show_default=True,
    help="Where the run's state is kept; a run that was interrupted goes on from it.",
)
def train(folder: Path, steps: int | None, start: Path | None, state: Path) -> None:
    """Train tokenizer and model, from nothing or from --start, and write the model FOLDER."""
    from glmd.compiler.nano import evaluate as evaluation
    from glmd.compiler.nano import train as training

    recipe = training.Recipe() if steps is None else training.Recipe(steps=steps)
    shape = Shape()
    if start is None:
        tokenizer = train_tokenizer(corpus_texts(recipe.seed), shape.pieces)
        model = training.fresh_model(shape, recipe)
    else:
        tokenizer = NanoTokenizer.load(start)
        model = evaluation.load_model(start, shape)
    training.train(tokenizer, model, recipe, state, click.echo)
    training.write_model(folder, tokenizer, shape, model.state_dict())


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--seed", default=7, show_default=True)
@click.option("--count", default=4, show_default=True, help="Questions for each intent.")
@click.option("--failures", default=0, show_default=True, help="Failures to print.")
def evaluate(folder: Path, seed: int, count: int, failures: int) -> None:
    """Answer the held-out cases with the model in FOLDER and print the scores."""
    from glmd.compiler.nano import evaluate as evaluation
    from glmd.compiler.nano.cases import cases

    tokenizer = NanoTokenizer.load(folder)
    model = evaluation.load_model(folder, Shape())
    scores, failed = evaluation.evaluate(model, tokenizer, cases(seed, count))
    click.echo(evaluation.table(scores))
    for case, got in failed[:failures]:
        click.echo(f"\n{case.group}, {case.language}: {case.prompt[-1].content}")
        click.echo(f"  wanted {case.expected.metadata} {case.expected.content!r}")
        click.echo(f"  got    {got.metadata} {got.content!r}")


if __name__ == "__main__":
    main()
