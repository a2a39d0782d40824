"""Code mode: a model calls three tools by writing one program, instead of asking for one call after the other.

Run it with ``python examples/code_mode.py``.
"""

from typing import Literal, TypedDict

import hotcell


class Order(TypedDict):
    currency: Literal["EUR", "USD", "SEK"]
    amount: float


ORDERS: dict[str, list[Order]] = {
    "ada": [{"currency": "EUR", "amount": 120.0}, {"currency": "USD", "amount": 80.0}],
    "grace": [{"currency": "SEK", "amount": 900.0}],
    "linus": [],
}


def list_customers() -> list[str]:
    """The ids of all customers."""
    return list(ORDERS)


def orders_of(customer_id: str) -> list[Order]:
    """What a customer has ordered."""
    if customer_id not in ORDERS:
        raise hotcell.ToolError(f"There is no customer {customer_id!r}: list_customers() gives the ids.")
    return ORDERS[customer_id]


async def exchange_rate(currency: Literal["EUR", "USD", "SEK"]) -> float:
    """How many euros one unit of the currency is worth today."""
    return {"EUR": 1.0, "USD": 0.9, "SEK": 0.1}[currency]


TOOLS = hotcell.Toolbox(
    {"list_customers": list_customers, "orders_of": orders_of, "exchange_rate": exchange_rate},
    limits=hotcell.ToolLimits(calls=50),
)
PROMPT = f"""Answer with one Python program; its last expression is the answer. It may call:

{TOOLS.declarations()}

Question: Which customer has ordered for the most euros, and for how much?"""

# What a model answers to PROMPT. Each value goes from tool to tool without passing through the model.
PROGRAM = """
rates, totals = {}, {}
for customer in list_customers():
    totals[customer] = 0.0
    for order in orders_of(customer):
        currency = order["currency"]
        if currency not in rates:
            rates[currency] = exchange_rate(currency)
        totals[customer] += order["amount"] * rates[currency]
best = max(totals, key=totals.get)
{"customer": best, "euros": totals[best]}
"""


def main() -> None:
    print(PROMPT, end="\n\n")
    with hotcell.Executor() as executor:
        result = executor.execute(PROGRAM, tools=TOOLS)
    for call in result.tool_calls:
        arguments = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
        print(f"[{call.number}] {call.name}({arguments}) -> {call.error or call.value}")
    print(f"{result.status}: {result.value if result.success else result.reason}")


if __name__ == "__main__":
    main()
