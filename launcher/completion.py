"""`distflow completion`: a script that lets a shell complete commands, options and their values.

It is made from the commands' own parsers, so it knows what they know; it is static, so that a Tab
costs no start of Python.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from . import cli
from .arguments import Parser

EXAMPLE = """examples:
  distflow completion bash > ~/.local/share/bash-completion/completions/distflow
  distflow completion zsh > "${fpath[1]}/_distflow"
  distflow completion fish > ~/.config/fish/completions/distflow.fish"""


@dataclass(frozen=True)
class Option:
    """One option of a command: its names, whether it takes a value, which ones, and its help."""

    names: tuple[str, ...]
    takes_value: bool
    choices: tuple[str, ...]
    help: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the name of the shell."""
    parser.description = "Prints a script for a shell; put it where the shell looks for such."
    parser.epilog = EXAMPLE
    parser.add_argument("shell", choices=sorted(SCRIPTS), help="whose script")


def run(options: argparse.Namespace) -> int:
    """Prints the script; returns the exit code."""
    print(SCRIPTS[options.shell](), end="")
    return 0


def options_of(command: str) -> list[Option]:
    """Returns the options of a command, as its parser has them."""
    parser = Parser(prog=f"distflow {command}")
    cli.load(command).add_arguments(parser)
    return [
        Option(
            tuple(action.option_strings),
            action.nargs != 0,
            tuple(map(str, action.choices or ())),
            " ".join((action.help or "").replace("%%", "%").split()),
        )
        for action in parser._actions
        if action.option_strings and action.help is not argparse.SUPPRESS
    ]


def bash() -> str:
    """Returns the script for bash."""
    values, names = [], []
    for command in cli.COMMANDS:
        found = options_of(command)
        words = " ".join(name for option in found for name in option.names)
        names.append(f"        {command}) options={shlex.quote(words)} ;;")
        for option in found:
            if option.choices:
                cases = "|".join(f'"{command} {name}"' for name in option.names)
                values.append(f"        {cases}) values={shlex.quote(' '.join(option.choices))} ;;")
    return _BASH.format(
        commands=" ".join(cli.COMMANDS), values="\n".join(values), options="\n".join(names)
    )


def zsh() -> str:
    """Returns the script for zsh."""
    commands = "\n".join(
        f"        {shlex.quote(f'{name}:{_zsh_escaped(command.help)}')}"
        for name, command in cli.COMMANDS.items()
    )
    cases = []
    for name in cli.COMMANDS:
        rows = []
        for option in options_of(name):
            value = ""
            if option.takes_value:
                value = (
                    f":value:({' '.join(option.choices)})" if option.choices else ":value:_files"
                )
            text = _zsh_escaped(option.help)
            rows += [shlex.quote(f"{spelt}[{text}]{value}") for spelt in option.names]
        cases.append(f"        {name}) _arguments {' '.join(rows)} '*:file:_files' ;;")
    return _ZSH.format(commands=commands, cases="\n".join(cases))


def fish() -> str:
    """Returns the script for fish."""
    lines = []
    for name, command in cli.COMMANDS.items():
        lines.append(
            f"complete -c distflow -n __fish_use_subcommand -f -a {name} "
            f"-d {_fish_quoted(command.help)}"
        )
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        for option in options_of(name):
            spelt = " ".join(
                f"-l {text[2:]}" if text.startswith("--") else f"-s {text[1:]}"
                for text in option.names
            )
            value = " -r" if option.takes_value else ""
            if option.choices:
                value = f" -x -a {_fish_quoted(' '.join(option.choices))}"
            text = _fish_quoted(option.help)
            lines.append(f"complete -c distflow {seen} {spelt}{value} -d {text}")
    return "\n".join(lines) + "\n"


def _zsh_escaped(text: str) -> str:
    for sign in "\\[]:":
        text = text.replace(sign, "\\" + sign)
    return text


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_BASH = """# bash completion of distflow: distflow completion bash
_distflow() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local command=${{COMP_WORDS[1]}} options="" values=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{commands} --help --version" -- "$current"))
        return
    fi
    case "$command $before" in
{values}
    esac
    if [ -n "$values" ]; then
        COMPREPLY=($(compgen -W "$values" -- "$current"))
        return
    fi
    case "$command" in
{options}
    esac
    case "$current" in
        -*) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
        *) COMPREPLY=($(compgen -f -- "$current")) ;;
    esac
}}
complete -o filenames -F _distflow distflow
"""

_ZSH = """#compdef distflow
# zsh completion of distflow: distflow completion zsh
_distflow() {{
    local -a commands
    commands=(
{commands}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    local name=$words[2]
    shift words
    (( CURRENT-- ))
    case $name in
{cases}
    esac
}}
_distflow "$@"
"""

SCRIPTS: dict[str, Callable[[], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
