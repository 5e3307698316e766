"""ha.cf's stonith lines: which device is to reset the peer of this node.

    stonith       TYPE FILE            for every node
    stonith_host  HOST|* TYPE WORDS    for the node of that name, or for every

Of those that are for this node the last one counts (3.0.6). hbd drives no devices: unless hbd.cf says
`fencing none`, `refuse` makes each line an error. A cluster that was to be fenced does not run unfenced
because nobody noticed.
"""

from __future__ import annotations

from hbd.config.findings import Findings, Word, node_suggestion
from hbd.config.hacf_draft import HaCf, HaCfDraft
from hbd.config.model import Stonith
from hbd.config.words import stripped, words

EVERY = "*"


def stonith(draft: HaCfDraft, name: str, line: Word) -> None:
    """`stonith TYPE FILE`: the file has the words that the device needs."""
    kind, *files = words(line)
    if len(files) != 1:
        draft.found.error(line, "stonith needs a type and a file; write stonith TYPE /etc/ha.d/FILE")
        return
    draft.stonith.append((EVERY, line, Stonith(kind.text, files[0].text, line.place)))


def stonith_host(draft: HaCfDraft, name: str, line: Word) -> None:
    """`stonith_host HOST TYPE WORDS`: the node that has the device, and what the device needs."""
    host, *device = words(line)
    if not device:
        draft.found.error(line, "stonith_host needs a node or *, and a type; write stonith_host * TYPE WORDS")
        return
    kind = device[0]
    parameters = stripped(line.part(kind.place.column - line.place.column + len(kind.text)))
    draft.stonith.append((host.text.lower(), line, Stonith(kind.text, parameters.text, line.place)))


def chosen(draft: HaCfDraft, local_node: str) -> Stonith | None:
    """The device of this node. A line for a host that is no node is told: it would fence nobody."""
    found = None
    for host, line, device in draft.stonith:
        if host in (EVERY, local_node):
            found = device
        elif draft.nodes and host not in draft.nodes:
            text = f"stonith_host {host}: not a node of this cluster{node_suggestion(host, draft.nodes)}"
            draft.found.warning(line, text)
    return found


def refuse(ha_cf: HaCf, accepted: bool, found: Findings) -> None:
    """An error at each line, or with `fencing none` a warning: also where the line is for another node."""
    for line in ha_cf.stonith_lines:
        if accepted:
            text = "nothing is fenced: hbd drives no stonith devices, and hbd.cf says fencing none"
            found.warning(line, text)
        else:
            found.error(
                line,
                "this version of hbd cannot fence, and refuses to run unfenced where fencing is asked for; "
                "if you accept that silence for deadtime counts as death, write 'fencing none' in hbd.cf",
            )
