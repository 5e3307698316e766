"""ha.cf's lines about parts of 3.0.6 for which hbd has no counterpart, or needs none.

They are checked as 3.0.6 checks them. What asks for something says what there is instead; what only says
how 3.0.6 does without (`use_logd off`) asks for nothing.
"""

from __future__ import annotations

from hbd.config.directives import duration, number, switch
from hbd.config.findings import Word
from hbd.config.hacf_draft import HaCfDraft

_conn_logd_time = duration(1)
_memreserve = number(1)


def use_logd(draft: HaCfDraft, name: str, word: Word) -> None:
    """With `off`, one of the other destinations must be named: see `hacf_checks`."""
    switch(draft, name, word)
    if draft.switches.get(name):
        draft.found.warning(
            word,
            "there is no ha_logd: the log is in the journal (journalctl -u hbd); "
            "for files and syslog, write what /etc/logd.cf says of logfile, debugfile and logfacility here",
        )


def conn_logd_time(draft: HaCfDraft, name: str, word: Word) -> None:
    """How often 3.0.6 looks for its log daemon again."""
    _conn_logd_time(draft, name, word)
    draft.found.warning(word, "conn_logd_time has no effect: there is no ha_logd to connect to")


def memreserve(draft: HaCfDraft, name: str, word: Word) -> None:
    """Kilobytes that 3.0.6 touches at its start, so that they are there later."""
    _memreserve(draft, name, word)
    draft.found.warning(
        word, "memreserve has no effect: hbd reserves nothing; what it uses is locked (see realtime)"
    )


def use_apphbd(draft: HaCfDraft, name: str, word: Word) -> None:
    """Whether 3.0.6 has itself watched by a daemon of its own."""
    switch(draft, name, word)
    if draft.switches.get(name):
        draft.found.warning(word, "use_apphbd has no effect: systemd watches hbd (WatchdogSec=)")
