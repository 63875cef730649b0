"""Steps of head office: backups, retention, tokens, terms, versions."""

from tests.model.whole.steps.chain import Chain, pick


class OfficeSteps(Chain):
    """Head office, day by day."""

    async def back_up(self) -> None:
        """Head office is backed up."""
        self.backups.append(await self.office.back_up())

    async def restore(self, index: int) -> None:
        """Head office is restored from a backup."""
        if backup := pick(self.backups, index):
            self.disturbed = self.needs_tokens = True
            await self.office.restore(backup)

    async def purge_office(self) -> None:
        """Head office deletes what is past its retention."""
        await self.office.purge()

    async def forget(self, index: int) -> None:
        """Head office erases a customer's address."""
        addressed = [one for one in self.book.answers() if one.address]
        if (found := pick(addressed, index)) and found.address:
            await self.office.forget(found.address)

    async def refuse(self, index: int) -> None:
        """Head office refuses a request's content, as an older version does, until `understand`."""
        if found := pick(self.book.requests, index):
            self.office.refused.add(found.number)

    async def understand(self) -> None:
        """Head office is upgraded."""
        self.office.refused.clear()

    async def publish(self, index: int) -> None:
        """Head office publishes other program terms; some of them cannot be used."""
        self.office.publish(index)

    async def revoke(self, which: int) -> None:
        """Head office revokes a machine's token."""
        self.needs_tokens = True
        await self.office.revoke(self.machine(which).name)

    async def enroll(self, which: int) -> None:
        """A machine gets a new token."""
        machine = self.machine(which)
        await self.give_tokens(machine.name)
