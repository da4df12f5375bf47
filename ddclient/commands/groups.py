"""Commands of ``ddctl`` that share a first word, such as ``ddctl keys list``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import typer

from ddclient.spelling import Verbs


def add_group(app: typer.Typer, name: str, about: str, commands: Mapping[str, Callable[..., None]]) -> None:
    """Add a group of commands.

    Args:
        app: what it is added to.
        name: the first word.
        about: the group in a sentence.
        commands: by the second word, in the order in which the help lists them.
    """
    group = typer.Typer(cls=Verbs, help=about, no_args_is_help=True)
    for verb, command in commands.items():
        group.command(verb)(command)
    app.add_typer(group, name=name)
