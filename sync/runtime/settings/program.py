"""Settings of the loyalty program: the terms in the answer to a session start."""

from collections.abc import Mapping

from pydantic import Field

from sync.protocol.program_terms import Locale, Messages, ProgramTerms, RedemptionLimits
from sync.runtime.settings.schema import Section
from sync.runtime.settings.types import Currency, LocaleCode, Number, Text

_MOST = 1e15  # integers up to here are exact in a JSON reader's doubles


class RuleSettings(Section):
    """Redemption limits: points, and amounts in `program.currency`."""

    min_redeem_points: Number = Field(
        25_000, ge=0, le=_MOST, description="fewest points to redeem at one time"
    )
    min_redeem_amount: Number = Field(
        10, ge=0, le=_MOST, description="smallest amount to redeem at one time"
    )
    max_redeem_points: Number = Field(
        250_000, ge=0, le=_MOST, description="most points to redeem at one time"
    )
    max_redeem_amount: Number = Field(
        100, ge=0, le=_MOST, description="largest amount to redeem at one time"
    )
    redeem_increment_points: Number = Field(
        25_000, ge=0, le=_MOST, description="points are redeemed in multiples of this"
    )
    redeem_increment_amount: Number = Field(
        10, ge=0, le=_MOST, description="amounts are redeemed in multiples of this"
    )


class MessageSettings(Section):
    """Texts that the till displays and prints in one locale; each can be empty."""

    prompt: Text = Field(
        "Would the customer like to learn more about our loyalty program?",
        description="shown by the till",
    )
    anonymous_prompt: Text = Field(
        "You would have earned points on this purchase had you swiped a loyalty card."
        " Would you like to join our loyalty program?",
        description="shown instead of `prompt` when the till gives an anonymousSessionId",
    )
    receipt: Text = Field(
        "Join the loyalty program to claim the points you earned on this purchase.",
        description="printed on the receipt",
    )


class FrenchMessageSettings(MessageSettings):
    """Texts in Canadian French (no space before a question mark)."""

    prompt: Text = Field(
        "Le client aimerait-il en savoir plus sur notre programme de fidélité?",
        description="shown by the till",
    )
    anonymous_prompt: Text = Field(
        "Vous auriez accumulé des points sur cet achat si vous aviez glissé une carte de"
        " fidélité. Aimeriez-vous adhérer à notre programme de fidélité?",
        description="shown instead of `prompt` when the till gives an anonymousSessionId",
    )
    receipt: Text = Field(
        "Adhérez au programme de fidélité pour obtenir les points accumulés lors de cet achat.",
        description="printed on the receipt",
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
