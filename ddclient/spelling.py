"""Verbs and options of ``ddctl`` that there are not: said with the nearest ones that there are."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup
from typer.exceptions import TyperException

from ddcore.spec import did_you_mean


class Verbs(TyperGroup):
    """A group of commands that names the nearest ones where a verb is not known."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first word names.

        Raises:
            TyperException: there is none.
        """
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            hint = did_you_mean(name, self.list_commands(ctx))
            ctx.fail(f"there is no command '{name}'{hint}; `{ctx.command_path} --help` lists all")
        return super().resolve_command(ctx, args)


def message(error: TyperException) -> str:
    """What to say of a mistake on the command line."""
    # typer does not export its class of errors about options.
    name, ctx = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if type(error).__name__ != "NoSuchOption" or name is None or ctx is None:
        return error.format_message()
    known = [word for each in ctx.command.get_params(ctx) for word in each.opts if word.startswith("--")]
    return f"there is no option '{name}'{did_you_mean(name, known)}; `{ctx.command_path} --help` lists all"
