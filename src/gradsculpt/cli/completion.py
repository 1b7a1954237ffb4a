"""`gradsculpt completion`: a script that completes commands, options and names, for bash, zsh or fish.

Everything is in the script, so that a key press starts no Python. argcomplete would start it, and shtab knows no fish.
"""

import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import Any, Literal, NamedTuple, get_args, get_origin

from gradsculpt.cli.catalogue import sections
from gradsculpt.cli.grammar import alternatives
from gradsculpt.cli.parser import DESCRIBE, Described, command_parser
from gradsculpt.cli.screen import option_name
from gradsculpt.progress import Reporter

SHELLS = ("bash", "zsh", "fish")

_SECTIONS = {
    "--recipe": ("recipes",),
    "--data": ("data",),
    "--model": ("models", "networks with weights"),
    "--objective": ("objectives",),
    "--method": ("attributions",),
    "--attack": ("attacks",),
    "--groups": ("groups of scores", "metrics"),
    "": ("networks with weights",),
}
"""What `gradsculpt list` lists for the value of an option; for words that follow none, networks beside paths."""


class Choice(NamedTuple):
    """An option of a command, or what stands behind none: the values it takes, its help, and whether it takes any."""

    values: list[str]
    help: str
    takes: bool


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Print the script of a shell."""
    parser = command_parser(
        "completion", "Print the script that completes commands, options and names in a shell.", _USE
    )
    parser.add_argument("shell", type=str, choices=SHELLS, nargs="?", default="bash", help="The shell.")
    shell = parser.read(words)["shell"]
    from gradsculpt.cli.main import COMMANDS

    table = {name: _choices(command.module) for name, command in COMMANDS.items()}
    summaries = {name: command.summary for name, command in COMMANDS.items()}
    sys.stdout.write({"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](table, summaries))


_USE = (
    'eval "$(gradsculpt completion bash)"                                     in ~/.bashrc',
    'eval "$(gradsculpt completion zsh)"                                      in ~/.zshrc',
    "gradsculpt completion fish > ~/.config/fish/completions/gradsculpt.fish    once",
)

Table = Mapping[str, Mapping[str, Choice]]


def _choices(module: str) -> dict[str, Choice]:
    """Return what a command takes, by option, in the spelling of the help."""
    try:
        importlib.import_module(module).run([DESCRIBE], Reporter())
    except Described as described:
        listed = {title: [_typed(name) for name, _ in rows] for title, rows in sections().items()}
        return dict(_described(described.parser, listed))
    return {}


def _described(parser: Any, listed: Mapping[str, list[str]]) -> Iterator[tuple[str, Choice]]:
    for action in parser._actions:
        literals = (
            get_args(kind) for kind in alternatives(getattr(action, "hint", str)) if get_origin(kind) is Literal
        )
        values = list(map(str, action.choices or next(literals, ())))
        names = [option_name(each) for each in action.option_strings if each.startswith("--")] or [""]
        for name in names:
            known = [each for title in _SECTIONS.get(name, ()) for each in listed[title]]
            yield name, Choice(values or known, (action.help or "").partition(";")[0].rstrip("."), _takes(action))


def _takes(action: Any) -> bool:
    return action.nargs != 0 and getattr(action, "hint", str) is not bool


def _typed(name: str) -> str:
    """Return a name as far as it can be typed: `folder:` of `folder:PATH`."""
    return re.sub(r":[A-Z].*", ":", name)


def _cases(table: Table) -> str:
    """Return a case statement that sets what a command, and an option of it, take; bash and zsh read it."""
    lines = []
    for command, choices in table.items():
        options = " ".join(sorted(name for name in choices if name))
        lines.append(f"    {command}\\ *) options='{options}' ;;")
    inner = []
    for command, choices in table.items():
        for name, choice in choices.items():
            if name and not choice.takes:
                inner.append(f"    {command}\\ {name}) option='' ;;")
    ends = []
    for command, choices in table.items():
        for name, choice in choices.items():
            if choice.values:
                ends.append(f"    {command}\\ {name}) values='{' '.join(choice.values)}' ;;")
    blocks = ("\n".join(block) for block in (lines, inner, ends))
    return "\n".join(f'  case "$command $option" in\n{block}\n  esac' for block in blocks)


def _bash(table: Table, summaries: Mapping[str, str]) -> str:
    return f"""# Completion of gradsculpt for bash: eval "$(gradsculpt completion bash)"
_gradsculpt() {{
  local line=${{COMP_LINE:0:COMP_POINT}} current command='' option='' options='' values='' word
  current=${{line##* }}
  local -a typed
  read -r -a typed <<< "${{line% *}}"
  command=${{typed[1]:-}}
  if (( ${{#typed[@]}} < 2 )); then
    COMPREPLY=($(compgen -W '{" ".join([*table, "help"])} --help --version' -- "$current"))
    return
  fi
  for word in "${{typed[@]:2}}"; do [[ $word == --* ]] && option=$word; done
{_cases(table)}
  if [[ $command == help ]]; then
    values='{" ".join(table)}'
  fi
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$options --help" -- "$current"))
  else
    [[ -n $values ]] && COMPREPLY=($(compgen -W "$values" -- "$current"))
    if [[ -z $values || -z $option ]]; then
      compopt -o filenames 2>/dev/null
      local IFS=$'\\n'
      COMPREPLY+=($(compgen -f -- "$current"))
    fi
  fi
  if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then  # bash takes a colon for the end of a word
    local before=${{current%"${{current##*:}}"}}
    COMPREPLY=("${{COMPREPLY[@]#"$before"}}")
  fi
}}
complete -F _gradsculpt gradsculpt
"""


def _zsh(table: Table, summaries: Mapping[str, str]) -> str:
    commands = " ".join(quote(f"{name}:{told}") for name, told in summaries.items())
    return f"""#compdef gradsculpt
# Completion of gradsculpt for zsh: eval "$(gradsculpt completion zsh)"
_gradsculpt() {{
  local command=${{words[2]}} option='' options='' values='' word
  if (( CURRENT == 2 )); then
    local -a commands=({commands} 'help:tell what a command, a part or a recipe is')
    _describe command commands
    return
  fi
  for word in "${{(@)words[3,CURRENT-1]}}"; do [[ $word == --* ]] && option=$word; done
{_cases(table)}
  [[ $command == help ]] && values='{" ".join(table)}'
  if [[ $PREFIX == -* ]]; then
    compadd -- ${{=options}} --help
  else
    [[ -n $values ]] && compadd -- ${{=values}}
    [[ -z $values || -z $option ]] && _files
  fi
}}
(( $+functions[compdef] )) || {{ autoload -U compinit && compinit }}
compdef _gradsculpt gradsculpt
"""


def _fish(table: Table, summaries: Mapping[str, str]) -> str:
    lines = ["# Completion of gradsculpt for fish: gradsculpt completion fish | source"]
    first = "__fish_use_subcommand"
    lines += [f"complete -c gradsculpt -f -n {first} -a {name} -d {_fished(told)}" for name, told in summaries.items()]
    lines.append(f"complete -c gradsculpt -f -n {first} -a help -d {_fished('tell what a command or a part is')}")
    lines.append(f"complete -c gradsculpt -f -n '__fish_seen_subcommand_from help' -a {_fished(' '.join(table))}")
    for command, choices in table.items():
        where = f"complete -c gradsculpt -n '__fish_seen_subcommand_from {command}'"
        for name, choice in choices.items():
            values = f" -a {_fished(' '.join(choice.values))}" if choice.values else ""
            if name:
                needs = (" -x" if choice.values else " -r") if choice.takes else ""
                lines.append(f"{where} -l {name.removeprefix('--')}{needs}{values} -d {_fished(choice.help)}")
            elif values:
                lines.append(f"{where}{values}")
    return "\n".join(lines) + "\n"


def _fished(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
