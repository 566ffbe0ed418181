"""An argument may be given by its name, as `mlflow run` gives all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer


class NamedArgument(typer.core.TyperCommand):
    """A command whose single argument has an option of its name, too: ``--concepts table.tsv``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Turn the option into the argument it stands for."""
        named = [p for p in self.params if isinstance(p, typer.core.TyperArgument) and p.nargs == 1]
        if len(named) == 1 and named[0].name:
            args = _unnamed(args, "--" + named[0].name.replace("_", "-"))
        return super().parse_args(ctx, args)


def _unnamed(args: Sequence[str], flag: str) -> list[str]:
    end = args.index("--") if "--" in args else len(args)
    kept, values = [], []
    words = iter(args[:end])
    for word in words:
        if word == flag:
            # Without a value it stays, and is refused as the unknown option that it then is.
            values.append(next(words, flag))
        elif word.startswith(f"{flag}="):
            values.append(word.removeprefix(f"{flag}="))
        else:
            kept.append(word)
    return [*kept, *values, *args[end:]]
