"""Steps of store IT: images, machines, dead letters."""

from tests.model.whole.line import DENIALS
from tests.model.whole.machine import Machine
from tests.model.whole.steps.chain import Chain, Image, pick


class StoreSteps(Chain):
    """Images put back, machines cloned and replaced, dead letters decided."""

    async def image(self, which: int) -> None:
        """An image of a machine's disk is made."""
        machine, place = self.machine(which), self.site.new_directory()
        machine.copy_to(place)
        self.images.append(Image(machine, place))

    async def put_back(self, index: int, with_mark: int) -> None:
        """A machine's database is put back from an image, or database and mark."""
        images = [one for one in self.images if not one.machine.is_gone]
        if image := pick(images, index):
            machine = image.machine
            await self.set_back(machine, image.place, with_mark=bool(with_mark % 2))

    async def lose_wal(self, which: int) -> None:
        """A killed agent's main file is put back without its write-ahead log."""
        machine, place = self.machine(which), self.site.new_directory()
        machine.copy_to(place)
        (place / "agent.db-wal").unlink(missing_ok=True)
        await self.set_back(machine, place, with_mark=False)

    async def damage(self, which: int) -> None:
        """The header of a machine's database file is overwritten."""
        machine = self.machine(which)
        await machine.stop()
        machine.damage()
        await machine.start()

    async def clone(self, index: int) -> None:
        """A second machine runs from an image, under the same name."""
        if len(self.alive) < 4 and (image := pick(self.images, index)):
            machine = Machine(self.site, image.machine.name, self.site.new_directory())
            original, machine.directory = machine.directory, image.place
            machine.copy_to(original)
            machine.directory = original
            self.machines.append(machine)
            self.twice_by_a_person |= machine.epochs()
            self.disturbed = self.needs_tokens = True
            await machine.start()

    async def replace(self, which: int) -> None:
        """A machine dies and is replaced by a new one, with a new token."""
        dead = self.machine(which)
        await dead.stop()
        self.note_receipts(dead)
        self.forgotten_epochs |= dead.epochs()
        dead.is_gone = self.needs_tokens = True
        await self.add_machine(dead.name)

    async def come_back(self, index: int) -> None:
        """A machine that was replaced is switched on again, with the token of its successor."""
        gone = [machine for machine in self.machines if machine.is_gone]
        if machine := pick(gone, index):
            machine.is_gone, self.needs_tokens = False, True
            self.forgotten_epochs -= machine.epochs()
            machine.set_token(await self.office.enroll(machine.name))
            for other in self.alive:
                if other.name == machine.name:
                    other.set_token((machine.directory / "token").read_text())
            await machine.start()

    async def retry(self, which: int, index: int) -> None:
        """Store IT has a dead letter or a deferred event retried."""
        machine = await self.running(which)
        letters = machine.outbox.dead_letters
        if found := pick(await letters.page(100, is_any=True), index):
            await letters.retry(found.receipt.epoch, found.receipt.sequence)

    async def discard(self, which: int, index: int) -> None:
        """Store IT discards a dead letter or a deferred event."""
        machine = await self.running(which)
        letters = machine.outbox.dead_letters
        if found := pick(await letters.page(100, is_any=True), index):
            numbers = [one.number for one in machine.held() if one.receipt == found.receipt]
            self.discarded.update(numbers)
            await letters.discard(found.receipt.epoch, found.receipt.sequence)

    async def set_aside(self, which: int, index: int) -> None:
        """Store IT makes a deferred event a dead letter."""
        machine = await self.running(which)
        letters = machine.outbox.dead_letters
        shown = await letters.page(100, is_any=True)
        if found := pick([one for one in shown if one.stuck_since_us is not None], index):
            await letters.set_aside(found.receipt.epoch, found.receipt.sequence)

    async def set_aside_stuck(self, which: int) -> None:
        """The agent sets aside what is stuck, as each hour."""
        machine = await self.running(which)
        await machine.outbox.dead_letters.set_aside_stuck(1)

    async def sync(self, which: int) -> None:
        """Store IT runs `loyalty-agent sync`."""
        machine = await self.running(which)
        await machine.outbox.dead_letters.retry_deferred()
        await machine.deliver()
        self.note_delivered(machine)

    async def deny(self, index: int, kind: int) -> None:
        """A firewall dislikes the content of a request, until `allow`."""
        if found := pick(self.book.requests, -1 - index):
            for machine in self.machines:
                machine.line.denied[found.number] = DENIALS[kind % len(DENIALS)]

    async def allow(self) -> None:
        """The firewall is put right."""
        for machine in self.machines:
            machine.line.denied.clear()
