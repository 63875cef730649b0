"""View of a certification: what to do at the till, what passed on the wire, what was found."""

import asyncio
import textwrap
from collections.abc import Mapping, Sequence

from agent.certify.findings import Finding, Judgement, SaleEnd, Verdict, overall
from agent.certify.report import exchange_members
from agent.certify.situations import SITUATIONS, Situation
from agent.cli.lines import TypedLines
from agent.sandbox.answers import NOTICE
from sync.runtime.cli.printing import echo

_COLOURS = {Verdict.PASSED: "green", Verdict.ADVICE: "yellow", Verdict.FAILED: "red"}
_WIDTH = 79
_SHOWN_EXCHANGES = 8
_HEADING = "      time  call     id  body  conn  fault: outcome, duration"
_SUMS = {
    Verdict.PASSED: "PASSED: the till has the manners that the agent expects.",
    Verdict.FAILED: "FAILED: see the findings above.",
    Verdict.NOT_SEEN: "NOT PASSED: not everything was seen.",
}


class Talk:
    """Says what to do and what was found."""

    def __init__(self, url: str, *, is_on_stderr: bool) -> None:
        self.url = url
        self._err = is_on_stderr
        self._number = 0

    def greet(self, *, is_attended: bool) -> None:
        """Say where the sandbox is."""
        self.say(NOTICE, fg="yellow")
        if is_attended:
            self.say(f"Set the till's address of the agent to {self.url}.")
            self.say("After each step: y (sold), n (the till stopped the sale), s (skip), Enter.")

    def instruct(self, situation: Situation) -> None:
        """Say what the person at the till has to do."""
        self._number += 1
        self.say(f"\n{self._number}. {situation.title}", bold=True)
        self.say(f"   {situation.instruction}")
        self.say("   Sold? [y/n/s]")

    def show(self, judgement: Judgement) -> None:
        """Show what was found in a situation."""
        situation, verdict = judgement.situation, judgement.verdict
        heading = f"\n{verdict.upper():9} {situation.key}: {situation.title}"
        self.say(heading, fg=_COLOURS.get(verdict))
        if judgement.exchanges:
            self.say(_HEADING)
        for members in exchange_members(judgement.exchanges[:_SHOWN_EXCHANGES]):
            self.say(_row(members))
        if more := len(judgement.exchanges[_SHOWN_EXCHANGES:]):
            self.say(f"    ... and {more:,} more")
        for finding in judgement.findings:
            self._show_finding(finding)

    def sum_up(self, judgements: Sequence[Judgement]) -> None:
        """Print the verdict on the till."""
        verdict = overall(judgements)
        verdict = Verdict.PASSED if verdict is Verdict.ADVICE else verdict
        bad = [one for one in judgements if one.verdict is verdict is not Verdict.PASSED]
        bad = [one for one in bad if overall([one]) is verdict]
        label = "Failed" if verdict is Verdict.FAILED else "Not seen"
        named = f" {label}: {', '.join(one.situation.key for one in bad)}." if bad else ""
        played = f"{len(judgements)} of {len(SITUATIONS)} situations"
        unseen = [one for one in judgements if one.verdict is Verdict.NOT_SEEN]
        optional = [one.situation.key for one in unseen if one.situation.is_optional]
        words = _SUMS[verdict]
        if verdict is Verdict.PASSED and len(judgements) < len(SITUATIONS):
            words = "PASSED what was played. A certificate needs all situations."
        self.say(f"\n{words}", bold=True, fg=_COLOURS.get(verdict))
        self.say(f"{played} played.{named}")
        if optional:
            self.say(f"Not seen, and not needed: {', '.join(optional)}.")

    def say(self, text: str, *, bold: bool = False, fg: str | None = None) -> None:
        """Print lines."""
        echo(text, err=self._err, bold=bold, fg=fg)

    def _show_finding(self, finding: Finding) -> None:
        verdict = finding.verdict
        mark = {Verdict.PASSED: "ok", Verdict.FAILED: "FAILED"}.get(verdict, verdict)
        self._wrap(f"{mark}: {finding.text}", "  ")
        if finding.advice:
            self._wrap(f"> {finding.advice}", "    ")

    def _wrap(self, text: str, indent: str) -> None:
        deeper = indent + "  "
        for line in textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=deeper):
            self.say(line)


class PersonTill:
    """A person at a till, who says how each sale ended."""

    def __init__(self, talk: Talk, lines: TypedLines) -> None:
        self._talk = talk
        self._lines = lines

    async def sell(self, situation: Situation) -> SaleEnd | None:
        """Tell the person what to do; wait for the word that the sale has ended."""
        self._talk.instruct(situation)
        while (line := await self._lines.next()) is not None:
            at = asyncio.get_running_loop().time()
            match line.lower():
                case "y" | "yes":
                    return SaleEnd(True, "The sale was sold, as the person at the till said.", at)
                case "n" | "no":
                    return SaleEnd(False, "The person at the till said so.", at)
                case "s" | "skip":
                    return None
            self._talk.say("   Type y, n or s, and Enter.")
        return None


def _row(members: Mapping[str, object]) -> str:
    """Return an exchange as a row below `_HEADING`."""
    fault = f"{members['fault']}: " if members["fault"] else ""
    status = f" {members['status']}" if members["status"] else ""
    took = "" if members["seconds"] is None else f", {members['seconds']:.1f} s"
    return (
        f"  {members['at']:6.1f} s  {members['call']:7} {members['session']:3} {members['body']:5}"
        f" {members['connection']:5}  {fault}{members['ending'] or 'open'}{status}{took}"
    )
