"""What becomes of the programs of respawn and failfast lines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hbd.config.model import Client, Place
from hbd.core.clients import Clients
from hbd.core.desk import Desk
from hbd.core.effects import Effect, Log, StartClient, StopClient
from hbd.core.events import ClientEnded, ClientGone, ClientRefused, ClientStarted, Instant, Reload, Stop
from tests.scenarios.pair import Pair, all_on

PLACE = Place("ha.cf", 1, 1)
WATCH = Client("nobody", "/bin/watch -n 5", False, PLACE)
MAIL = Client("mail", "/bin/mail", False, PLACE)
VITAL = Client("root", "/bin/vital", True, PLACE)
CCM = Client("hacluster", "/usr/lib/heartbeat/ccm", False, PLACE)


class Told:
    """One set of clients on hand-given time, and what it wants."""

    def __init__(self, *clients: Client) -> None:
        self.now_ms = 0
        self.desk = Desk()
        self.clients = Clients(clients, self.desk)
        self.step()
        self.clients.begin()
        self.begun = self.desk.close()

    def step(self, after_ms: int = 0) -> None:
        self.now_ms += after_ms
        self.desk.open(Instant(self.now_ms, 0))

    def runs(self, client: Client) -> None:
        self.step()
        self.clients.started(ClientStarted(client, 77, 1, 1))

    def ends(self, client: Client, status: int = 0, signal: int = 0, ran_ms: int = 60_000) -> list[Effect]:
        """It has ended; what is wanted at once."""
        self.step()
        self.clients.ended(ClientEnded(client, 77, status, signal, ran_ms))
        self.clients.tick()
        return self.desk.close()


def texts(effects: list[Effect]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, Log)]


def test_clients_begin_in_file_order_and_what_is_built_in_is_only_mentioned() -> None:
    told = Told(WATCH, CCM, MAIL)
    assert [effect for effect in told.begun if isinstance(effect, StartClient)] == [
        StartClient(WATCH, anew=False),
        StartClient(MAIL, anew=False),
    ]
    assert texts(told.begun) == [
        'Client "/usr/lib/heartbeat/ccm" is not started: hbd knows its members itself'
    ]


def test_a_client_that_ran_long_is_started_again_at_once() -> None:
    told = Told(WATCH)
    told.runs(WATCH)
    effects = told.ends(WATCH, status=1)
    assert texts(effects) == [
        "Client /bin/watch -n 5 exited with return code 1.",
        'Respawning client "/bin/watch -n 5":',
    ]
    assert effects[-1] == StartClient(WATCH, anew=True)


@pytest.mark.parametrize("ran_ms", [10, 60_000])
def test_exit_status_100_is_final(ran_ms: int) -> None:
    told = Told(WATCH)
    told.runs(WATCH)
    assert texts(told.ends(WATCH, status=100, ran_ms=ran_ms)) == [
        "Client /bin/watch -n 5 exited with return code 100."
    ]
    assert told.clients.deadline_ms() is None


def test_ten_short_runs_are_borne_a_second_apart_and_the_eleventh_is_the_last() -> None:
    told = Told(WATCH)
    for _ in range(10):
        told.runs(WATCH)
        assert StartClient(WATCH, anew=True) not in told.ends(WATCH, ran_ms=29_999)
        assert told.clients.deadline_ms() == told.now_ms + 1000
        told.step(1000)
        told.clients.tick()
        assert told.desk.close()[-1] == StartClient(WATCH, anew=True)
    told.runs(WATCH)
    assert texts(told.ends(WATCH, ran_ms=29_999))[-1] == 'Client /bin/watch -n 5 "respawning too fast"'
    assert told.clients.deadline_ms() is None


def test_a_longer_run_forgives_the_short_ones() -> None:
    told = Told(WATCH)
    for ran_ms in [10] * 10 + [30_000] + [10] * 10:
        told.runs(WATCH)
        assert not any("too fast" in text for text in texts(told.ends(WATCH, ran_ms=ran_ms)))
        told.step(1000)
        told.clients.tick()


def test_a_user_who_is_not_there_is_said_once_and_tried_again() -> None:
    told = Told(WATCH)
    refused = ClientRefused(WATCH, "Invalid uid [nobody] specified for client child")
    said = []
    for _ in range(3):
        told.step()
        told.clients.refused(refused)
        said += texts(told.desk.close())
        told.step(10_000)
        told.clients.tick()
        assert told.desk.close() == [StartClient(WATCH, anew=True)]
    assert said == ["Invalid uid [nobody] specified for client child (/bin/watch -n 5); trying again"]


def test_they_stop_one_after_the_other_the_last_first() -> None:
    told = Told(WATCH, MAIL)
    told.runs(WATCH)
    told.runs(MAIL)
    told.step()
    told.clients.leave()
    assert told.desk.close() == [StopClient(MAIL)]
    assert texts(told.ends(MAIL, signal=15)) == ["Client /bin/mail (pid=77) killed by signal 15."]
    told.step()
    told.clients.gone(ClientGone(MAIL))
    assert told.desk.close() == [StopClient(WATCH)]
    assert not told.clients.are_gone
    told.clients.gone(ClientGone(WATCH))
    assert told.clients.are_gone


def test_a_reload_stops_what_is_no_longer_named_and_starts_what_is_new() -> None:
    told = Told(WATCH)
    told.runs(WATCH)
    told.step()
    told.clients.reconfigure((MAIL,))
    assert told.desk.close() == [StopClient(WATCH), StartClient(MAIL, anew=False)]
    # Named again before it is gone: it begins once it is.
    told.step()
    told.clients.reconfigure((MAIL, WATCH))
    assert told.desk.close() == []
    told.clients.gone(ClientGone(WATCH))
    assert told.desk.close() == [StartClient(WATCH, anew=False)]


def pair_with(*clients: Client) -> Pair:
    """A pair at rest whose alpha has clients."""
    pair = Pair().started()
    pair.ask(pair.alpha, Reload(replace(pair.alpha.config, clients=clients)))
    pair.run(500)
    return pair


def test_clients_are_stopped_after_the_goodbye_and_hbd_ends_after_them() -> None:
    pair = pair_with(WATCH, MAIL)
    assert pair.alpha.clients == {WATCH.unit: 1, MAIL.unit: 1}
    asked_ms = pair.now_ms
    pair.ask(pair.alpha, Stop())
    pair.until(lambda: pair.alpha.quit, 3000)
    story = pair.log(pair.alpha, asked_ms)
    order = [
        story.index("All HA resources relinquished."),
        story.index("Client /bin/mail (pid=1) killed by signal 15."),
        story.index("Client /bin/watch -n 5 (pid=1) killed by signal 15."),
        story.index("alpha Heartbeat shutdown complete."),
    ]
    assert order == sorted(order)
    assert pair.alpha.clients == {}


def test_a_failfast_client_that_fails_makes_its_node_leave_in_order() -> None:
    pair = pair_with(VITAL)
    failed_ms = pair.now_ms
    pair.alpha.clients.clear()
    pair.alpha.post(ClientEnded(VITAL, 1, 3, 0, 60_000))
    took_ms = pair.until(lambda: pair.owners() == all_on("beta"), 1000)
    assert took_ms < 300
    pair.until(lambda: pair.alpha.quit, 3000)
    assert pair.logged(pair.alpha, "failfast client /bin/vital has failed", failed_ms)
    assert pair.logged(pair.beta, "Received shutdown notice from 'alpha'.", failed_ms)


def test_a_failfast_client_that_ends_well_is_started_again() -> None:
    pair = pair_with(VITAL)
    pair.alpha.post(ClientEnded(VITAL, 1, 0, 0, 60_000))
    pair.run(1000)
    assert pair.alpha.clients == {VITAL.unit: 2}
    assert not pair.alpha.quit
