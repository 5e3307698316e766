"""hbctl's manual page and completions: made of its table of commands, and current."""

import re
import subprocess
from pathlib import Path

import pytest

from hbd.core.effects import Kind
from hbd.ctl import commands
from hbd.ctl.parser import Verb, plain
from hbd.journal import MESSAGE_ID
from tests import generated

SHOWN = [verb for verb in commands.VERBS if not verb.hidden]


@pytest.mark.parametrize("path", generated.files(), ids=lambda path: path.name)
def test_what_is_generated_is_current(path: Path) -> None:
    assert path.read_text() == generated.files()[path], "run: python -m tests.generated"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_understands_its_completion(shell: str) -> None:
    script = generated.DOCS / f"completion/hbctl.{shell}"

    done = subprocess.run([shell, "-n", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", sorted(generated.DOCS.glob("*.[1-8]")), ids=lambda path: path.name)
def test_each_manual_page_is_set_without_a_warning(page: Path) -> None:
    done = subprocess.run(
        ["man", "--warnings", "--local-file", page],
        capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LANG": "C.UTF-8", "MANROFFSEQ": ""},
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", SHOWN, ids=lambda verb: verb.name)
def test_help_and_manual_say_the_same_of_each_command(
    verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        commands.parser().parse_args([verb.name, "--help"])

    assert end.value.code == 0
    told = _words(capsys.readouterr().out)
    assert verb.about, "a manual says something of each"
    for sentence in re.split(r"\n\s*\n", plain(verb.about)):
        assert _words(sentence) in told
    name = verb.name.replace("-", r"\-")
    assert f'.SS "\\fBhbctl {name}\\fP' in generated.manual()


def test_a_wrong_command_line_is_answered_by_status_2_and_the_way_to_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        commands.parser().parse_args(["standby", "everything"])

    assert end.value.code == 2
    assert "see hbctl standby --help" in capsys.readouterr().err


def test_every_event_is_in_the_journals_catalog_and_in_the_manual() -> None:
    page = (generated.DOCS / "hbd-events.7").read_text()
    explained = generated.explanations()
    assert list(MESSAGE_ID) == list(Kind)
    assert list(explained) == list(MESSAGE_ID.values())
    for kind in Kind:
        name = kind.value.replace("-", r"\-")
        assert f'.SS "{name}"\n.B MESSAGE_ID={MESSAGE_ID[kind]}\n' in page
    assert page.count(".SS ") == len(Kind)


def _words(text: str) -> str:
    return " ".join(text.split())
