"""What watches posted, one by one."""

from collections.abc import Iterable

from hbd.core.events import Event, ResourceSeen, SeenTogether


def seen(posted: Iterable[Event]) -> list[ResourceSeen]:
    """Those that were told together, too."""
    found: list[ResourceSeen] = []
    for event in posted:
        match event:
            case SeenTogether(together):
                found += together
            case ResourceSeen():
                found.append(event)
            case _:
                pass
    return found
