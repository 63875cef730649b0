"""Completion for bash, zsh and fish: scripts that hold the commands and options.

Nothing is started and nothing is read when a person presses Tab, so it takes no time, touches no
state and works while head office is away.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator

from sync.runtime.cli.reference.commands import CommandReference, Parameter

_BASH = """# Completion for {name} in bash, generated from its commands.
_{function}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} place='' words='' i
    [[ $cur != = ]] || cur=
    [[ $prev != = ]] || prev=${{COMP_WORDS[COMP_CWORD - 2]}}
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$place ${{COMP_WORDS[i]}}" in
        {places}) place="$place ${{COMP_WORDS[i]}}" ;;
        esac
    done
    COMPREPLY=()
    case "$place:$prev" in
{values}
    esac
    case "$place" in
{words}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    [[ -n ${{COMPREPLY[0]}} || $cur == -* ]] || compopt -o default
}}
complete -F _{function} {name}
"""
_ZSH = """#compdef {name}
# Completion for {name} in zsh, generated from its commands.
local place='' word
local -a found
for word in "${{(@)words[2,CURRENT-1]}}"; do
    case "$place $word" in
    {places}) place="$place $word" ;;
    esac
done
case "$place:${{words[CURRENT-1]}}" in
{values}
esac
case "$place" in
{words}
esac
_describe -V '{name}' found
_files
"""


def bash_completion(program: CommandReference) -> str:
    """Return the script for bash."""
    return _filled(_BASH, program, _bash_values, _bash_words, "    ")


def zsh_completion(program: CommandReference) -> str:
    """Return the function for zsh."""
    return _filled(_ZSH, program, _zsh_values, _zsh_words, "")


def fish_completion(program: CommandReference) -> str:
    """Return the script for fish."""
    name = program.words[0]
    lines = [
        f"# Completion for {name} in fish, generated from its commands.",
        f"complete -c {name} -f",
    ]
    for command in program.walk():
        start = f"complete -c {name} -n {shlex.quote(_fish_condition(command))}"
        lines += [f"{start} -a {one.words[-1]} -d {_fish(one.summary)}" for one in command.commands]
        for option in command.options:
            spelled = " ".join(
                f"-l {one[2:]}" if one.startswith("--") else f"-s {one[1:]}" for one in option.names
            )
            lines.append(f"{start} {spelled}{_fish_value(option)} -d {_fish(option.text)}")
        for argument in command.arguments:
            if argument.choices:
                lines.append(f"{start} -a {shlex.quote(' '.join(argument.choices))}")
            elif argument.is_file:
                lines.append(f"{start} -F")
    return "\n".join(lines) + "\n"


def _filled(
    template: str,
    program: CommandReference,
    value: Callable[[Parameter], str],
    words: Callable[[CommandReference], str],
    indent: str,
) -> str:
    commands = list(program.walk())
    values = [
        f"{indent}{_pattern(command, option)}) {value(option)} ;;"
        for command in commands
        for option in command.options
        if option.takes_value
    ]
    return template.format(
        name=program.words[0],
        function=program.words[0].replace("-", "_"),
        places=" | ".join(shlex.quote(_place(command)) for command in commands[1:]),
        values="\n".join(values),
        words="\n".join(f"{indent}{_quoted(_place(one))}) {words(one)} ;;" for one in commands),
    )


def _place(command: CommandReference) -> str:
    """Return the words after the program's name, each after a space."""
    return "".join(f" {word}" for word in command.words[1:])


def _pattern(command: CommandReference, option: Parameter) -> str:
    return " | ".join(_quoted(f"{_place(command)}:{name}") for name in option.names)


def _quoted(text: str) -> str:
    return shlex.quote(text) if text else "''"


def _bash_values(option: Parameter) -> str:
    if option.is_file:
        return "compopt -o default; return"
    choices = shlex.quote(" ".join(option.choices))
    return f'mapfile -t COMPREPLY < <(compgen -W {choices} -- "$cur"); return'


def _bash_words(command: CommandReference) -> str:
    words = [word for word, _ in _offered(command)]
    return f"words={shlex.quote(' '.join(words))}"


def _zsh_values(option: Parameter) -> str:
    if option.is_file:
        return "_files; return"
    if option.choices:
        return f"compadd -- {' '.join(map(shlex.quote, option.choices))}; return"
    return f"_message {shlex.quote(option.text)}; return"


def _zsh_words(command: CommandReference) -> str:
    described = (
        shlex.quote(word.replace(":", r"\:") + (f":{text}" if text else ""))
        for word, text in _offered(command)
    )
    return f"found=({' '.join(described)})"


def _offered(command: CommandReference) -> Iterator[tuple[str, str]]:
    """Yield the words that may follow, described: commands, values of arguments, options."""
    yield from ((one.words[-1], one.summary) for one in command.commands)
    yield from ((choice, "") for one in command.arguments for choice in one.choices)
    yield from ((name, option.text) for option in command.options for name in option.names)


def _fish_condition(command: CommandReference) -> str:
    seen = [f"__fish_seen_subcommand_from {word}" for word in command.words[1:]]
    if command.commands:
        inner = " ".join(one.words[-1] for one in command.commands)
        seen.append(f"not __fish_seen_subcommand_from {inner}")
    return "; and ".join(seen) or "true"


def _fish_value(option: Parameter) -> str:
    if option.is_file:
        return " -r -F"
    if option.choices:
        return f" -x -a {shlex.quote(' '.join(option.choices))}"
    return " -x" if option.takes_value else ""


def _fish(text: str) -> str:
    """Quote for fish, where a backslash escapes within single quotes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def files(program: CommandReference) -> Iterable[tuple[str, str]]:
    """Yield path below /usr/share and content of each script."""
    name = program.words[0]
    yield f"bash-completion/completions/{name}", bash_completion(program)
    yield f"zsh/vendor-completions/_{name}", zsh_completion(program)
    yield f"fish/vendor_completions.d/{name}.fish", fish_completion(program)
