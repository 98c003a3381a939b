"""What the pages say can be typed: commands parse, files and links are there."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from launcher import cli
from tests.support.docs import DOCS

_ROOT = DOCS.parent
_PAGES = sorted(
    path for pattern in ("*.md", "deploy/*.md", "docs/*.md", "benchmarks/*.md", "examples/*.md")
    for path in _ROOT.glob(pattern)
)  # fmt: skip
_TEXTS = {path.relative_to(_ROOT).as_posix(): path.read_text() for path in _PAGES}
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(?<![\w/.-])((?:benchmarks|deploy|docs|examples|tests)/[\w./-]*\w\.\w+)")


def whole_commands(text: str) -> list[str]:
    """Returns the lines of shell blocks that call `distflow`, without prompts and what follows."""
    found = []
    for kind, block in _BLOCK.findall(text):
        if kind not in ("bash", "sh", "console"):
            continue
        for line in block.splitlines():
            for part in re.split(r" (?:&&|\|) ", line):
                match = re.match(r"(?:\$ )?(?:\S*/)?distflow (.*)", part.strip())
                if match:
                    found.append(match[1])
    return found


def named_commands(text: str) -> list[str]:
    """Returns what stands behind `distflow` within a line of prose, whole or not."""
    return re.findall(r"`distflow ([^`]+)`", _BLOCK.sub("", text))


def words_of(command: str) -> list[str]:
    """Returns the words of a command line, without its comment."""
    return shlex.split(command.replace(r"\|", "|"), comments=True)


def options_of(command: str) -> set[str]:
    """Returns all options of a command of `distflow`."""
    parser, _ = cli.build_parser(command)
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return set(actions[0].choices[command]._option_string_actions)


def cases(find):
    return [(page, command) for page in sorted(_TEXTS) for command in find(_TEXTS[page])]


def test_there_are_commands_to_look_at():
    assert len(cases(whole_commands)) > 15
    assert len(cases(named_commands)) > 30


@pytest.mark.parametrize(("page", "command"), cases(whole_commands))
def test_a_whole_command_is_understood(page, command):
    words = words_of(command)
    cli.build_parser(words[0])[0].parse_args(words)


@pytest.mark.parametrize(("page", "command"), cases(named_commands))
def test_a_command_and_its_options_are_there(page, command):
    name, *rest = words_of(command.partition(" | ")[0])
    assert name in cli.COMMANDS
    own = rest[: next((i for i, word in enumerate(rest) if word.endswith(".py")), len(rest))]
    used = {word.strip("[]").partition("=")[0] for word in own if word.strip("[]")[:1] == "-"}
    assert used - {"-"} <= options_of(name)


@pytest.mark.parametrize("page", sorted(_TEXTS))
def test_links_lead_to_files(page):
    folder = (_ROOT / page).parent
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", _BLOCK.sub("", _TEXTS[page]))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (folder / target).exists()] == []


@pytest.mark.parametrize("page", sorted(_TEXTS))
def test_files_that_are_named_are_there(page):
    named = set(_FILE.findall(_TEXTS[page]))
    assert sorted(name for name in named if not (_ROOT / name).exists()) == []


@pytest.mark.parametrize("page", ["README.md", "benchmarks/README.md"])
def test_options_of_benchmarks_are_there(page):
    scripts = "".join(p.read_text() for p in sorted((_ROOT / "benchmarks").rglob("*.py")))
    lines = re.findall(r"python benchmarks/\S+\.py[^`\n]*", _TEXTS[page])
    lines += re.findall(r"^Options: .*", _TEXTS[page], re.MULTILINE)
    used = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", " ".join(lines)))
    assert used
    assert sorted(option for option in used if f'"{option}"' not in scripts) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```bash\na && b/distflow run x.py | cat\n```\n", ["run x.py"]),
        ("```console\n$ distflow status\nok\n```\n", ["status"]),
        ("```text\ndistflow status\n```\n", []),
    ],
)
def test_commands_are_found(text, found):
    assert whole_commands(text) == found
