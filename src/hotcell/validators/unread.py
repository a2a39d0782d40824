"""What the policy says of code in a language that it does not read: that nothing in it was looked at."""

from __future__ import annotations

from hotcell.languages import Language
from hotcell.policy import Policy
from hotcell.results import Violation
from hotcell.rules import RULES

_RULE = "language.unread"


def inspect(language: Language, policy: Policy) -> tuple[Violation, ...]:
    """One finding about the whole source, of the severity that the policy gives the rule; none when it is off."""
    if _RULE not in policy.rules:
        return ()
    message = f"The policy reads Python only; for {language.title} the wall is all there is."
    finding = Violation(
        rule=_RULE, severity=policy.rules[_RULE], line=0, column=0, message=message, fix=RULES[_RULE].fix
    )
    return (finding,)
