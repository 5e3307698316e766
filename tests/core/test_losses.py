"""Which link is weak: core/losses.py."""

from hbd.core.losses import WINDOW, Losses

NODE = "linuxha2"


def talk(losses: Losses, first: int, last: int, lost_on_eth0: int = 0, generation: int = 1) -> None:
    """Messages `first` to `last`, all on eth1, and of each WINDOW so many not on eth0."""
    for seq in range(first, last + 1):
        losses.came(NODE, "eth1", generation, seq, up=seq == first == 1)
        if seq % WINDOW >= lost_on_eth0:
            losses.came(NODE, "eth0", generation, seq, up=False)


def test_links_on_which_everything_comes_have_lost_nothing() -> None:
    losses = Losses()
    talk(losses, 1, 10 * WINDOW)

    assert [losses.lost(NODE, link) for link in ("eth0", "eth1")] == [0, 0]
    assert not losses.is_weak(NODE, "eth0")


def test_a_link_that_goes_on_losing_messages_is_weak_and_the_other_is_not() -> None:
    losses = Losses()
    talk(losses, 1, 5 * WINDOW, lost_on_eth0=6)

    assert losses.lost(NODE, "eth0") == 6
    assert losses.is_weak(NODE, "eth0")
    assert not losses.is_weak(NODE, "eth1")


def test_one_burst_of_losses_does_not_make_a_link_weak() -> None:
    losses = Losses()
    talk(losses, 1, 3 * WINDOW)
    talk(losses, 3 * WINDOW + 1, 4 * WINDOW, lost_on_eth0=WINDOW // 2)
    talk(losses, 4 * WINDOW + 1, 7 * WINDOW)

    assert losses.lost(NODE, "eth0") == 0
    assert not losses.is_weak(NODE, "eth0")


def test_a_weak_link_is_well_again_when_messages_come() -> None:
    losses = Losses()
    talk(losses, 1, 5 * WINDOW, lost_on_eth0=6)
    talk(losses, 5 * WINDOW + 1, 7 * WINDOW + 1)

    assert not losses.is_weak(NODE, "eth0")


def test_what_is_lost_on_the_only_link_is_known_by_the_numbers() -> None:
    losses = Losses()
    for seq in range(1, 6 * WINDOW):
        if seq % 4:
            losses.came(NODE, "eth1", 1, seq, up=seq == 1)

    assert losses.lost(NODE, "eth1") == WINDOW // 4
    assert losses.is_weak(NODE, "eth1")


def test_doubles_on_a_link_count_once() -> None:
    losses = Losses()
    for seq in range(1, 6 * WINDOW):
        for _ in range(2):
            losses.came(NODE, "eth1", 1, seq, up=False)
        if seq % 2:
            losses.came(NODE, "eth0", 1, seq, up=False)

    assert losses.lost(NODE, "eth0") == WINDOW // 2


def test_a_new_life_of_the_node_begins_anew() -> None:
    losses = Losses()
    talk(losses, 1, 5 * WINDOW, lost_on_eth0=6)
    losses.came(NODE, "eth1", 2, 1, up=False)

    assert not losses.is_weak(NODE, "eth0")
    assert losses.lost(NODE, "eth0") == 0


def test_a_link_that_comes_up_is_not_weak_for_what_it_lost_while_it_was_dead() -> None:
    losses = Losses()
    talk(losses, 1, 3 * WINDOW)
    for seq in range(3 * WINDOW + 1, 6 * WINDOW + 5):
        losses.came(NODE, "eth1", 1, seq, up=False)
    losses.came(NODE, "eth0", 1, 6 * WINDOW + 5, up=True)
    talk(losses, 6 * WINDOW + 6, 9 * WINDOW)

    assert losses.lost(NODE, "eth0") == 0
    assert not losses.is_weak(NODE, "eth0")


def test_messages_out_of_order_and_of_an_old_life_count_nothing() -> None:
    losses = Losses()
    talk(losses, 1, 5 * WINDOW)
    for seq in (1, 3 * WINDOW, 2 * WINDOW):
        losses.came(NODE, "eth1", 1, seq, up=False)
        losses.came(NODE, "eth0", 0, seq, up=False)
    talk(losses, 5 * WINDOW + 1, 8 * WINDOW)

    assert [losses.lost(NODE, link) for link in ("eth0", "eth1")] == [0, 0]
