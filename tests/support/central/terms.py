"""Program terms for tests."""

from sync.protocol.program_terms import Messages, ProgramTerms, RedemptionLimits

PROGRAM = ProgramTerms(
    locale="en-CA",
    currency="CAD",
    prompt="REQUEST_EMAIL",
    rules=RedemptionLimits(
        min_redeem_points=10_000,
        min_redeem_amount=10,
        max_redeem_points=500_000,
        max_redeem_amount=500,
        redeem_increment_points=10_000,
        redeem_increment_amount=10,
    ),
    messages={
        "en-CA": Messages(
            prompt="Would you like to join?",
            anonymous_prompt="You would have earned points.",
            receipt="Join to claim your points.",
        )
    },
)
