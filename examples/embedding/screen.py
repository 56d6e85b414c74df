"""Show something that goes on: redrawn in a terminal, as lines in a log."""

import sys
from collections.abc import Callable, Iterable

from rich.console import Console, RenderableType
from rich.live import Live


def show[T](
    states: Iterable[T], draw: Callable[[T], RenderableType], say: Callable[[T], None]
) -> list[T]:
    """Show each state as it comes, and return all of them.

    draw: the whole picture of a state, for a terminal. say: prints what is new in it.
    """
    console = Console(file=sys.stdout)
    seen: list[T] = []
    if not console.is_terminal:
        for state in states:
            seen.append(state)
            say(state)
        return seen
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        for state in states:
            seen.append(state)
            live.update(draw(state))
    return seen
