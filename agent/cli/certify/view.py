"""View of a certification for a person: instructions, requests, findings, verdict."""

import asyncio
import textwrap
from collections.abc import Mapping, Sequence

from agent.certify.json_report import exchange_members
from agent.certify.judgement import Judgement, RuleFinding, SaleEnd, TillVerdict, overall
from agent.certify.situations import SITUATIONS, Situation
from agent.cli.typed_lines import TypedLines
from agent.sandbox.answers import NOTICE
from sync.runtime.cli.printing import say
from sync.runtime.cli.translation import in_language

_COLOURS = {TillVerdict.PASSED: "green", TillVerdict.ADVICE: "yellow", TillVerdict.FAILED: "red"}
_WIDTH = 79
_SHOWN_EXCHANGES = 8
_HEADING = "      time  call     id  body  conn  fault: outcome, duration"
_SUMS = {
    TillVerdict.PASSED: "PASSED: the till has the manners that the agent expects.",
    TillVerdict.FAILED: "FAILED: see the findings above.",
    TillVerdict.NOT_SEEN: "NOT PASSED: not everything was seen.",
}


class CertificationView:
    """Prints the steps of a certification and their results."""

    def __init__(self, url: str, *, is_on_stderr: bool) -> None:
        self.url = url
        self._err = is_on_stderr
        self._number = 0

    def greet(self, *, is_attended: bool) -> None:
        """Print the address of the sandbox."""
        self.say(NOTICE, fg="yellow")
        if is_attended:
            self.say(f"Set the till's address of the agent to {self.url}.")
            self.say("After each step: y (sold), n (the till stopped the sale), s (skip), Enter.")

    def instruct(self, situation: Situation) -> None:
        """Print the next step of the person at the till."""
        self._number += 1
        title = in_language(situation.title, err=self._err)
        self.say(f"\n{self._number}. {title}", bold=True)
        self.say(f"   {situation.instruction}")
        self.say("   Sold? [y/n/s]")

    def show(self, judgement: Judgement) -> None:
        """Print a situation with its requests and findings."""
        situation, verdict = judgement.situation, judgement.verdict
        title = in_language(situation.title, err=self._err)
        label = in_language(verdict, err=self._err).upper()
        self.say(f"\n{label:9} {situation.key}: {title}", fg=_COLOURS.get(verdict))
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
        verdict = TillVerdict.PASSED if verdict is TillVerdict.ADVICE else verdict
        bad = [one for one in judgements if one.verdict is verdict is not TillVerdict.PASSED]
        bad = [one for one in bad if overall([one]) is verdict]
        label = "Failed" if verdict is TillVerdict.FAILED else "Not seen"
        named = f" {label}: {', '.join(one.situation.key for one in bad)}." if bad else ""
        played = f"{len(judgements)} of {len(SITUATIONS)} situations played."
        unseen = [one for one in judgements if one.verdict is TillVerdict.NOT_SEEN]
        optional = [one.situation.key for one in unseen if one.situation.is_optional]
        words = _SUMS[verdict]
        if verdict is TillVerdict.PASSED and len(judgements) < len(SITUATIONS):
            words = "PASSED what was played. A certificate needs all situations."
        self.say(f"\n{words}", bold=True, fg=_COLOURS.get(verdict))
        self.say(f"{played}{named}")
        if optional:
            self.say(f"Not seen, and not needed: {', '.join(optional)}.")

    def say(self, text: str, *, bold: bool = False, fg: str | None = None) -> None:
        """Print lines in the language of the locale."""
        say(text, err=self._err, bold=bold, fg=fg)

    def _show_finding(self, finding: RuleFinding) -> None:
        verdict = finding.verdict
        mark = {TillVerdict.PASSED: "ok", TillVerdict.FAILED: "FAILED"}.get(verdict, verdict)
        self._wrap(f"{mark}: {finding.text}", "  ")
        if finding.advice:
            self._wrap(f"> {finding.advice}", "    ")

    def _wrap(self, text: str, indent: str) -> None:
        deeper, text = indent + "  ", in_language(text, err=self._err)
        for line in textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=deeper):
            self.say(line)


class PersonTill:
    """A person at a till, who types the outcome of each sale."""

    def __init__(self, view: CertificationView, lines: TypedLines) -> None:
        self._view = view
        self._lines = lines

    async def sell(self, situation: Situation) -> SaleEnd | None:
        """Print the instruction; wait until the person types the outcome. None: skipped."""
        self._view.instruct(situation)
        while (line := await self._lines.next()) is not None:
            at = asyncio.get_running_loop().time()
            match line.lower():
                case "y" | "yes":
                    return SaleEnd(True, "The sale was sold, as the person at the till said.", at)
                case "n" | "no":
                    return SaleEnd(False, "The person at the till said so.", at)
                case "s" | "skip":
                    return None
            self._view.say("   Type y, n or s, and Enter.")
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
