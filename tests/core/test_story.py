"""What hbctl makes of records and explanations."""

import json
import re
from dataclasses import replace
from typing import Any

from hbd.bus import records
from hbd.core.records import Decision, Evidence, Record, Step
from hbd.ctl import story
from hbd.ctl.snapshot import Group, Resource

DEAD = Record(
    node="linuxha1", life=7, number=4, generation=12, seq=90, at_ms=50_000, wall_s=1_700_000_000,
    heard=(9, 77), decision=Decision.DEAD, peer="linuxha2", action="takes over what linuxha2 had",
    cause="no heartbeat of linuxha2 for 2003 ms; its deadtime is 2000 ms", result="took 192.168.85.3",
    took_ms=80,
    evidence=(
        Evidence("last heartbeat, 10 missed since", "linuxha2", "", 2003),
        Evidence("link is dead", "linuxha2", "eth1", 2003),
    ),
)  # fmt: skip
TAKE = Record(
    node="linuxha1", life=7, number=5, generation=12, seq=90, at_ms=50_000, wall_s=1_700_000_000,
    heard=(9, 77), decision=Decision.TAKE, group="192.168.85.3", peer="linuxha2", under=4,
    cause="linuxha2 is dead", action="claims it and starts it", result="started", took_ms=80,
    steps=(Step(0, "192.168.85.3 start"), Step(9, "192.168.85.3 start: done")),
)  # fmt: skip


def told(*shown: Record) -> list[dict[str, Any]]:
    """As hbctl reads it from the bus."""
    return [{name: value for name, (_, value) in records.record(one).items()} for one in shown]


def test_what_followed_from_a_decision_stands_in_its_time_line() -> None:
    lines = story.as_text(story.stories(told(TAKE, DEAD))).splitlines()
    assert re.fullmatch(r"2023-11-1\d \d\d:\d\d:\d\d  linuxha1: linuxha2 is declared dead", lines[0])
    assert lines[1:] == [
        "  because     no heartbeat of linuxha2 for 2003 ms; its deadtime is 2000 ms",
        "  known       linuxha2: last heartbeat, 10 missed since (2003 ms before)",
        "              linuxha2 on eth1: link is dead (2003 ms before)",
        "  does        takes over what linuxha2 had",
        "        0 ms  takes 192.168.85.3: linuxha2 is dead",
        "        0 ms    192.168.85.3 start",
        "        9 ms    192.168.85.3 start: done",
        "       80 ms  192.168.85.3: started",
        "  result      took 192.168.85.3, after 80 ms",
    ]


def test_the_other_node_is_asked_for_enough_and_not_without_end() -> None:
    assert not story.suffice(told(DEAD, TAKE), 1)
    assert story.suffice(told(*(replace(DEAD, number=n) for n in (1, 2, 3))), 1)
    of_one_story = told(DEAD, *(replace(TAKE, number=n) for n in range(5, 1005)))
    assert not story.suffice(of_one_story[:999], 1)
    assert story.suffice(of_one_story[:1000], 1)


def test_a_wall_clock_that_is_set_back_shuffles_nothing() -> None:
    hour_s = 3600

    def one(life: int, number: int, at_ms: int, wall_s: int) -> Record:
        return replace(
            TAKE, life=life, number=number, under=0, at_ms=at_ms, wall_s=wall_s,
            boot=f"boot {life // 10}", result=f"{life}.{number}",
        )  # fmt: skip

    # Three lives, the last in another boot. Each number of a life is random; the clock is set back twice.
    kept = [
        one(19, 1, 50_000, 1_700_000_000), one(19, 2, 60_000, 1_700_000_010 - hour_s),
        one(19, 3, 70_000, 1_700_000_020 - hour_s),
        one(12, 1, 90_000, 1_700_000_040 - hour_s), one(12, 2, 95_000, 1_700_000_045),
        one(21, 1, 9_000, 1_700_000_100 - 2 * hour_s), one(21, 2, 9_500, 1_700_000_000 + hour_s),
    ]  # fmt: skip
    expected = [record.result for record in kept]
    assert [head["Result"] for head, *_ in story.stories(told(*kept))] == expected
    # A record whose first version has left the files comes behind what was decided after it.
    late = [kept[1], kept[2], kept[0], *kept[3:]]
    assert [head["Result"] for head, *_ in story.stories(told(*late))] == expected


def test_json_has_the_names_of_the_contract_in_snake_case() -> None:
    (shown,) = json.loads(story.as_json(told(DEAD)))["records"]
    assert (shown["decision"], shown["took_ms"], shown["heard_seq"]) == ("declared dead", 80, 77)
    assert shown["evidence"][1] == {
        "node": "linuxha2", "link": "eth1", "ago_ms": 2003, "text": "link is dead"
    }  # fmt: skip


def test_every_decision_has_a_title_of_its_own() -> None:
    titles = {story.title(told(DEAD)[0] | {"Decision": each.value}) for each in Decision}
    assert len(titles) == len(Decision)
    assert not titles & {each.value for each in Decision} - {"standby", "takeover"}


def test_a_group_is_found_by_its_name_by_an_address_and_by_any_of_its_resources() -> None:
    def resource(name: str, kind: str, unit: str = "") -> Resource:
        return Resource(name, kind, unit, "/g", "started", "")

    web = Group("IPaddr::10.0.0.9/24/eth0", "a", "a", "started", [
        resource("IPaddr::10.0.0.9/24/eth0", "address"), resource("httpd", "unit", "httpd.service"),
    ])  # fmt: skip
    data = Group("drbd0", "b", "b", "started", [
        resource("drbd0", "script"), resource("10.0.0.10", "address"),
    ])  # fmt: skip
    groups = [web, data]
    for wanted in ("IPaddr::10.0.0.9/24/eth0", "10.0.0.9", "10.0.0.9/24/eth0", "httpd", "httpd.service"):
        assert story.find(groups, wanted) is web, wanted
    for wanted in ("drbd0", "10.0.0.10"):
        assert story.find(groups, wanted) is data, wanted
    assert story.find(groups, "10.0.0.1") is None
    assert story.find(groups, "") is None


def test_why_puts_the_reason_first_and_then_what_would_move_the_group() -> None:
    entries: list[dict[str, Any]] = [
        {"What": "group", "Name": "192.168.85.3", "State": "started", "Owner": "linuxha1",
         "PreferredNode": "linuxha2", "Reason": ""},
        {"What": "resource", "Name": "httpd", "State": "started", "Reason": ""},
        {"What": "because", "Reason": "linuxha1 has it: linuxha2 is dead."},
        {"What": "would-move", "Reason": "Nothing can take it while linuxha2 is dead."},
        {"What": "evidence", "Node": "linuxha2", "Link": "eth1", "AgoMs": 9000, "Reason": "link is dead"},
    ]  # fmt: skip
    text = story.why(entries, told(DEAD, TAKE), "linuxha1")
    assert text.startswith(
        "192.168.85.3 is started on linuxha1. Its home is linuxha2.\n  linuxha1 has it: linuxha2 is dead.\n"
    )
    assert "takes 192.168.85.3, because linuxha2 is dead. Result: started, after 80 ms." in text
    assert "linuxha2 is declared dead, because no heartbeat of linuxha2 for 2003 ms" in text
    assert "What would move it:\n  Nothing can take it while linuxha2 is dead.\n" in text
    assert "linuxha2 on eth1: link is dead (9000 ms ago)" in text


def test_an_event_tells_the_cause_when_it_is_decided_and_the_result_when_it_ends() -> None:
    begun, ended = told(TAKE)[0] | {"Result": "", "TookMs": 0}, told(TAKE)[0]
    assert story.event(begun) == "takes 192.168.85.3, because: linuxha2 is dead"
    assert story.event(ended) == "takes 192.168.85.3: started, after 80 ms"


def test_on_a_narrow_terminal_no_line_is_wider_and_no_word_is_broken() -> None:
    long = replace(
        TAKE, cause="this is a long sentence that somebody who was woken up has to read " * 3,
        steps=(Step(5, "postgresql@14-main.service start: failed: " + "it does not answer " * 8),),
        evidence=(Evidence("last heartbeat, 10 missed since, and more than that", "linuxha2", "", 2003),),
    )  # fmt: skip
    entries: list[dict[str, Any]] = [
        {"What": "group", "Name": "192.168.85.3", "State": "started", "Owner": "linuxha1.example.org",
         "PreferredNode": "linuxha1.example.org", "Reason": ""},
        {"What": "because", "Reason": long.cause}, {"What": "would-move", "Reason": long.cause},
        {"What": "evidence", "Node": "linuxha2.example.org", "Link": "eth1", "AgoMs": 4, "Reason": "up " * 9},
        {"What": "resource", "Name": "postgresql", "State": "failed", "Reason": "no answer " * 20},
    ]  # fmt: skip
    shown = told(replace(DEAD, cause=long.cause), long)
    narrow, wide = (
        story.as_text(story.stories(shown), width) + "\n" + story.why(entries, shown, "linuxha1", width)
        for width in (80, 1000)
    )
    assert max(map(len, narrow.splitlines())) <= 80
    assert narrow.split() == wide.split()
