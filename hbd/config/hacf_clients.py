"""ha.cf's lines about other programs: respawn, failfast, apiauth, env, crm.

Whether a user exists or a program can be executed depends on the machine of
the moment and is not judged here.
"""

from __future__ import annotations

import re
from dataclasses import replace

from hbd.config.findings import Word
from hbd.config.hacf_draft import HaCfDraft
from hbd.config.model import Client
from hbd.config.scalars import boolean
from hbd.config.words import stripped, words

_CRM_MODES = ("respawn", "minimal", "manual", "ccm-only", "valgrind")
_API_NAME_LENGTH = 32


def client(draft: HaCfDraft, name: str, line: Word) -> None:
    """`respawn user /full/path args` and `failfast …`."""
    user, *command = words(line)
    if not command:
        draft.found.error(line, f"{name} needs a user and a command; write {name} hacluster /full/path args")
        return
    if not command[0].text.startswith("/"):
        draft.found.error(command[0], f"Client child command [{command[0].text}] is not full pathname")
        return
    whole = stripped(line.part(command[0].place.column - line.place.column))
    new = Client(user.text, whole.text, name == "failfast", line.place)
    new = replace(new, repeated=sum(replace(each, repeated=0) == new for each in draft.clients))
    draft.clients.append(new)


def apiauth(draft: HaCfDraft, name: str, line: Word) -> None:
    """`apiauth client uid=… gid=…`: at least one list. Nothing connects where there is no socket."""
    who, *lists = words(line)
    if len(who.text) >= _API_NAME_LENGTH:
        draft.found.error(who, f"the name of an API client has fewer than {_API_NAME_LENGTH} characters")
    first = draft.api_clients.get(who.text)
    if first is not None:
        draft.found.error(who, f"apiauth {who.text} is given twice; first at {first.place}")
    draft.api_clients.setdefault(who.text, who)
    draft.found.warning(
        who,
        "apiauth has no effect: hbd has no socket for heartbeat's clients; "
        "everyone may read its state on D-Bus",
    )
    if not lists:
        draft.found.error(who, f"apiauth {who.text} needs uid=user,... or gid=group,...")
    for names in lists:
        key, _, members = names.text.partition("=")
        if key not in ("uid", "gid") or not members.strip(","):
            draft.found.error(names, f"'{names.text}' is neither uid=user,... nor gid=group,...")


def env(draft: HaCfDraft, name: str, word: Word) -> None:
    """`env NAME=value`."""
    key, equals, value = word.text.partition("=")
    if not key or not equals:
        draft.found.error(word, f"'{word.text}' is not NAME=value (a value holds no blank, comma or #)")
        return
    if re.fullmatch(r"\w+", key, re.ASCII) is None or not value.isprintable():
        draft.found.warning(word, f"no script could read HA_{key} from its environment; left out")
        return
    draft.environment[key] = value


def crm(draft: HaCfDraft, name: str, word: Word) -> None:
    """Off is what hbd does anyway; anything that turns it on is refused."""
    first = draft.said.get("pacemaker" if name == "crm" else "crm")
    if first is not None:
        draft.found.error(word, f"crm and pacemaker are one directive, given twice; first at {first.place}")
    if boolean(word.text) is False:
        return
    if boolean(word.text) is None and word.text not in _CRM_MODES:
        draft.found.error(word, f"'{word.text}' is not a value of {name}; write off or remove the line")
        return
    draft.found.error(
        word,
        f"{name} {word.text}: hbd is a daemon for two nodes and haresources and has no crm; "
        f"for a crm cluster use Pacemaker with Corosync, else write '{name} off' or remove the line",
    )


def crm_only(draft: HaCfDraft, name: str, word: Word) -> None:
    """Without crm these have no effect in 3.0.6 either."""
    draft.found.warning(word, f"{name} has a meaning only with crm and is ignored")
