"""Answers of the peers, as long as the agent's with its default program terms.

Equal lengths keep the comparison fair.
"""

RULES: dict[str, int | float | str] = {
    "minRedeemPoints": 25000,
    "minRedeemAmount": 10,
    "maxRedeemPoints": 250000,
    "maxRedeemAmount": 100,
    "redeemIncrementPoints": 25000,
    "redeemIncrementAmount": 10,
    "currency": "CAD",
}
SESSION_ANSWER: dict[str, object] = {
    "loyaltyId": "anonymous",
    "membershipType": "N",
    "status": "NO_CARD",
    "prompt": "REQUEST_EMAIL",
    "isValid": True,
    "promptMessage": "Would the customer like to learn more about our loyalty program?",
    "receiptMessage": "Join the loyalty program to claim the points you earned on this purchase.",
    "pointsBalance": 0,
    "userMaxRedeemDollars": 0,
    "redemptionRules": RULES,
    "sessionCorrelationId": "",
    "receiptPreference": "UNKNOWN",
}
EMAIL_ANSWER = {"message": "Email option updated."}
