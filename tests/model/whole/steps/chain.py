"""The whole chain: machines, head office, and what is remembered of them to judge them."""

import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from agent.facts import Receipt
from sync.receiver.auth.tokens import AgentName
from tests.model.whole.clocks import SECOND_US, TrueTime
from tests.model.whole.head_office import Backup, HeadOffice
from tests.model.whole.kill_switch import SWITCH
from tests.model.whole.machine import Machine, Site
from tests.model.whole.till_book import Request, TillBook
from tests.support.agent.store import EpochIds

T = TypeVar("T")
STORE = "0042"
TILLS = [AgentName(STORE, "till-1"), AgentName(STORE, "till-2")]
TillReceipt: TypeAlias = tuple[str, Receipt]
"""(till, receipt)"""


@dataclass(frozen=True, slots=True)
class Image:
    """A copy of a machine's files."""

    machine: Machine
    place: Path


@dataclass(frozen=True, slots=True)
class Template:
    """The files of machines that were enrolled and started once, and head office then."""

    machines: Mapping[AgentName, Path]
    office: Backup


async def make_template(root: Path, office: HeadOffice, time: TrueTime) -> Template:
    """Enroll the machines, and start and stop each agent once: histories begin with copies."""
    await office.reset()
    site, machines = Site(root, office, time, EpochIds(itertools.count(-len(TILLS)))), {}
    for name in TILLS:
        machine = Machine(site, name, site.new_directory())
        token = await office.enroll(name)
        # Its first use ends the tokens before it; from then on it is only looked up.
        await office.enrolment.authenticate(token, time.at())
        machine.set_token(token)
        await machine.start()
        await machine.stop()
        machines[name] = machine.directory
    return Template(machines, await office.back_up())


class Chain:
    """Two tills' machines and a head office. Numbers given to a step choose among what there is."""

    def __init__(self, root: Path, office: HeadOffice, time: TrueTime) -> None:
        self.time, self.office, self.book = time, office, TillBook()
        self.site = Site(root, office, time)
        self.machines: list[Machine] = []
        self.images: list[Image] = []
        self.backups: list[Backup] = []
        # Receipts that each request had in an agent's database that is gone.
        self.receipts: dict[int, set[TillReceipt]] = {}
        self.discarded: set[int] = set()
        self.twice_by_a_person: set[str] = set()
        # Epochs of which no machine knows any more: a person put back database and mark, or the
        # machine is gone.
        self.forgotten_epochs: set[str] = set()
        # Requests that were lost with all that a machine knew of them.
        self.by_a_person: set[int] = set()
        # Those of which head office had not heard then; their numbers may be used again.
        self.unheard: set[int] = set()
        # Lost from their machine under a number that a person had given back; if head office has it
        # of another request, nobody can know that one is lost.
        self.under_a_used_number: set[int] = set()
        # True after what may lose captures, or make head office forget them.
        self.disturbed = False
        # True if a machine may have a token that head office does not know.
        self.needs_tokens = False
        # Receipts told after head office had heard two machines under one name.
        self.receipts_after_notice: list[Receipt] = []
        self.delivered_us: dict[int, int] = {}
        # Promises broken on the way.
        self.problems: list[str] = []
        self.tells = True

    async def begin(self, template: "Template") -> None:
        """Set up the machines, enrolled and installed; they start when they are first used."""
        await self.office.restore(template.office)
        self.office.tokens = template.office.tokens
        for name, place in template.machines.items():
            machine = Machine(self.site, name, self.site.new_directory())
            shutil.copytree(place, machine.directory)
            self.machines.append(machine)

    async def end(self) -> None:
        """Stop all agents."""
        SWITCH.disarm()
        for machine in self.machines:
            await machine.stop()

    @property
    def alive(self) -> list[Machine]:
        """The machines that exist."""
        return [machine for machine in self.machines if not machine.is_gone]

    def machine(self, which: int) -> Machine:
        return self.alive[which % len(self.alive)]

    async def running(self, which: int) -> Machine:
        machine = self.machine(which)
        if not machine.is_running:
            await machine.start()
        return machine

    async def add_machine(self, name: AgentName) -> None:
        machine = Machine(self.site, name, self.site.new_directory())
        machine.set_token(await self.office.enroll(name))
        self.machines.append(machine)
        await machine.start()

    async def ask(self, machine: Machine, *requests: Request) -> None:
        if not machine.is_running:
            await machine.start()
        self.time.pass_us(SECOND_US)
        at_us = self.time.now_us
        for request, outcome in zip(requests, await machine.capture(*requests), strict=True):
            self.book.captured_us[request.number].append(at_us)
            if outcome is not None and self.tells:
                self.book.tell(request, outcome.receipt)
                self.receipts.setdefault(request.number, set()).add(
                    (machine.name.till_id, outcome.receipt)
                )

    async def set_back(self, machine: Machine, image: Path, *, with_mark: bool) -> None:
        await machine.stop()
        self.disturbed = True
        self.note_receipts(machine)
        before = {one.number for one in machine.held()}
        epochs = machine.epochs()
        await machine.put_back(image, with_mark=with_mark)
        if with_mark:
            self.twice_by_a_person |= epochs | machine.epochs()
        await machine.start()
        # Without the mark of the image, the machine knows of them by its own mark alone.
        machine.epochs_of_mark |= epochs - machine.epochs()
        if with_mark:
            self.forgotten_epochs |= machine.epochs_of_mark
        lost = before - {one.number for one in machine.held()}
        self.gave_up(machine, lost if with_mark else set())
        if not with_mark:
            machine.untold |= lost
            self.under_a_used_number |= {one for one in lost if self.has_used_number(one)}

    def gave_up(self, machine: Machine, lost: set[int]) -> None:
        """Note that nobody but head office can know of these requests any more."""
        lost = lost | machine.untold
        self.by_a_person |= lost
        self.unheard |= {number for number in lost if self.is_unheard(number)}
        machine.untold = set()

    def is_unheard(self, number: int) -> bool:
        """Return whether head office has heard of no number that the request had."""
        heard, receipts = self.office.memory.heard, self.receipts.get(number, set())
        return all(heard.get((till, one.epoch), 0) < one.sequence for till, one in receipts)

    def has_used_number(self, number: int) -> bool:
        """Return whether a person gave back the number of the request, and it is not its own."""
        receipts = {receipt for _, receipt in self.receipts.get(number, set())}
        twice = self.book.told_twice
        return all(one in twice and one.epoch in self.twice_by_a_person for one in receipts)

    def note_delivered(self, machine: Machine) -> None:
        for one in machine.held():
            if not one.is_pending:
                self.delivered_us.setdefault(one.number, self.time.now_us)

    def note_receipts(self, machine: Machine) -> None:
        for one in machine.held():
            self.receipts.setdefault(one.number, set()).add((machine.name.till_id, one.receipt))

    async def give_tokens(self, name: AgentName) -> None:
        """Enroll a name again; all machines of this name get the token."""
        token = await self.office.enroll(name)
        for machine in self.alive:
            if machine.name == name:
                machine.set_token(token)


def pick(items: Sequence[T], index: int) -> T | None:
    return items[index % len(items)] if items else None
