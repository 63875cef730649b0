"""Settings of the loyalty program: the terms in the answer to a session start."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from sync.protocol.program_terms import Locale, Messages, ProgramTerms, RedemptionLimits
from sync.protocol.terms_check import MAX_LIMIT
from sync.runtime.settings.schema import Section
from sync.runtime.settings.types import Currency, LocaleCode, Number, Text

Limit = Annotated[Number, Field(ge=0, le=MAX_LIMIT)]

Prompt = Annotated[Text, Field(description="shown by the till")]
AnonymousPrompt = Annotated[
    Text, Field(description="shown instead of `prompt` when the till gives an anonymousSessionId")
]
ReceiptText = Annotated[Text, Field(description="printed on the receipt")]


class RuleSettings(Section):
    """Redemption limits: points, and amounts in `program.currency`."""

    min_redeem_points: Limit = Field(25_000, description="fewest points to redeem at one time")
    min_redeem_amount: Limit = Field(10, description="smallest amount to redeem at one time")
    max_redeem_points: Limit = Field(250_000, description="most points to redeem at one time")
    max_redeem_amount: Limit = Field(100, description="largest amount to redeem at one time")
    redeem_increment_points: Limit = Field(
        25_000, description="points are redeemed in multiples of this"
    )
    redeem_increment_amount: Limit = Field(
        10, description="amounts are redeemed in multiples of this"
    )


class MessageSettings(Section):
    """Texts that the till displays and prints in one locale; each can be empty."""

    prompt: Prompt = "Would the customer like to learn more about our loyalty program?"
    anonymous_prompt: AnonymousPrompt = (
        "You would have earned points on this purchase had you swiped a loyalty card."
        " Would you like to join our loyalty program?"
    )
    receipt: ReceiptText = (
        "Join the loyalty program to claim the points you earned on this purchase."
    )


class FrenchMessageSettings(MessageSettings):
    """Texts in Canadian French (no space before a question mark)."""

    prompt: Prompt = "Le client aimerait-il en savoir plus sur notre programme de fidélité?"
    anonymous_prompt: AnonymousPrompt = (
        "Vous auriez accumulé des points sur cet achat si vous aviez glissé une carte de"
        " fidélité. Aimeriez-vous adhérer à notre programme de fidélité?"
    )
    receipt: ReceiptText = (
        "Adhérez au programme de fidélité pour obtenir les points accumulés lors de cet achat."
    )


class LocaleSettings(Section):
    """The messages of each locale; a locale that is not set keeps its default."""

    en_ca: MessageSettings = MessageSettings()
    en_us: MessageSettings = MessageSettings()
    fr_ca: FrenchMessageSettings = FrenchMessageSettings()

    def by_locale(self) -> Mapping[Locale, MessageSettings]:
        """Return the messages of every locale."""
        return {Locale.EN_CA: self.en_ca, Locale.EN_US: self.en_us, Locale.FR_CA: self.fr_ca}


class ProgramSettings(Section):
    """Program terms, used until central sends its own."""

    locale: LocaleCode = Field(Locale.EN_CA, description="locale of a session that names none")
    currency: Currency = Field("CAD", description="currency of all amounts")
    prompt: Text = Field("REQUEST_EMAIL", description="prompt code that the till acts on")
    rules: RuleSettings = RuleSettings()
    messages: LocaleSettings = LocaleSettings()

    def terms(self) -> ProgramTerms:
        """Return the configured terms, with messages in every locale."""
        return ProgramTerms(
            locale=self.locale,
            currency=self.currency,
            prompt=self.prompt,
            rules=RedemptionLimits(**self.rules.model_dump()),
            messages={
                locale.value: Messages(**messages.model_dump())
                for locale, messages in self.messages.by_locale().items()
            },
        )
