"""Guessing passwords: one account from many addresses, many accounts from one, and whether an answer or its time tells
that an account exists. The figures are those of the generated project's ``docs/security.md``. Paths as arguments
(``/login``) choose what is timed, and nothing else is done.
"""

from __future__ import annotations

import random
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from math import erfc, sqrt
from typing import Any
from urllib.parse import urlencode

from served import PASSWORD, PatientMailbox, Served, Visitor, finish, table

ATTEMPTS = 1000
AT_ONE_ACCOUNT, FROM_ONE_ADDRESS = 10, 30  # within 15 minutes, which a thousand attempts here do not take
SAMPLES = 250  # of each kind
LEAST_P = 0.001  # four tests: a false alarm in 250 drills
SHIFTS = (0.25, 0.5, 1, 2, 4, 8)  # ms
Problems = list[str]


class FarMailbox(PatientMailbox):
    """A mail server takes its time; no request may take it, too."""

    def finish_request(self, *request: Any) -> None:
        time.sleep(0.05)
        super().finish_request(*request)


def attempt(visitor: Visitor, token: str, path: str, **form: str) -> tuple[int, str]:
    """One form with a *token* that was fetched before: status and text."""
    headers = {
        "X-CSRFToken": token,
        "Referer": visitor.url.geturl() + "/",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    answer = visitor.ask(path, "POST", urlencode(form), **headers)
    return answer.status, answer.text


def addresses(count: int, network: int) -> list[str]:
    return [f"127.{network}.{n // 200}.{n % 200 + 1}" for n in range(count)]


def one_account(served: Served, email: str, network: int) -> Counter[int]:
    """Statuses of attempts at one account, each from an address of its own."""
    first = served.visitor()
    token, statuses = first.token(), Counter[int]()
    for number, address in enumerate(addresses(ATTEMPTS, network)):
        visitor = first.from_address(address)
        statuses[attempt(visitor, token, "/login", email=email, password=f"a guess, number {number}")[0]] += 1
        visitor.connection.close()
    return statuses


def one_address(served: Served, emails: Sequence[str]) -> Counter[int]:
    """Statuses of attempts at as many accounts, all from one address."""
    visitor = served.visitor("127.9.9.9")
    token = visitor.token()
    return Counter(attempt(visitor, token, "/login", email=email, password="a guess of mine")[0] for email in emails)


def signed_in(visitor: Visitor) -> bool:
    return visitor.ask("/chat").status == 200


def log_in(visitor: Visitor, email: str, password: str = PASSWORD) -> int:
    return visitor.post("/login", email=email, password=password).status


def limits(served: Served) -> Problems:
    """What is stopped, when, and how the owner still gets in."""
    owner, email = served.member("127.8.0.1")
    owner.post("/logout")
    other, theirs = served.member("127.8.0.2")
    tried = one_account(served, email, 1)
    nobody = one_account(served, "nobody-at-all@example.com", 2)
    guesser = served.visitor("127.8.0.3")
    guessed = log_in(guesser, email)
    known = log_in(owner, email), signed_in(owner)
    resetter = served.visitor("127.8.0.4")
    resetter.post("/reset", email=email)
    path = served.mailbox.link(email, "/reset")
    new = "a wholly new battery"
    resetter.ask(path)
    resetter.post(path, password=new)
    after_reset = signed_in(resetter) or (log_in(resetter, email, new), signed_in(resetter))[1]
    still = log_in(served.visitor("127.8.0.5"), email, new)
    many = [f"person-{number}@example.com" for number in range(ATTEMPTS - 1)]
    spread = one_address(served, [theirs, *many])
    elsewhere, neighbour = served.visitor("127.8.0.6"), served.visitor("127.9.9.9")
    log_in(elsewhere, theirs)
    stopped = log_in(neighbour, theirs)
    table(
        (f"{ATTEMPTS} at one account, each from its own address", "statuses", dict(sorted(tried.items()))),
        (f"{ATTEMPTS} at an account that is none, likewise", "statuses", dict(sorted(nobody.items()))),
        ("  the right password from a browser that is new", "status", guessed),
        ("  the owner, in a browser that has signed in before", "signed in", known[1]),
        ("  the owner, in a new one, by a reset link", "signed in", after_reset),
        ("  the new password, from another browser that is new", "status", still),
        (f"{ATTEMPTS} at as many accounts from one address", "statuses", dict(sorted(spread.items()))),
        ("  the right password from that address", "status", stopped),
        ("  one of those accounts, from another address", "signed in", signed_in(elsewhere)),
    )
    expected = {
        "attempts at one account that were let through": (tried.total() - tried[429], AT_ONE_ACCOUNT),
        "attempts at an account that is none that were let through": (nobody.total() - nobody[429], AT_ONE_ACCOUNT),
        "attempts from one address that were let through": (spread.total() - spread[429], FROM_ONE_ADDRESS),
        "the right password at an account under attack": (guessed, 429),
        "the new password at an account under attack": (still, 429),
        "the right password from an address that guesses": (stopped, 429),
        "the owner's known browser signed in": (known, (302, True)),
        "the owner signed in by a reset link": (after_reset, True),
        "somebody else, from elsewhere, signed in": (signed_in(elsewhere), True),
        "signed in all along": (signed_in(other), True),
        "the owner's browser signed in after the reset": (signed_in(owner), False),
    }
    return [f"{what}: {was}, not {due}" for what, (was, due) in expected.items() if was != due]


def mann_whitney(ones: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Two-sided p (normal approximation, ties halved) that neither tends to be larger, and the share of pairs in which
    one of *others* is: 0.5 when they are alike."""
    n, m = len(ones), len(others)
    pairs = sum((b > a) + (b == a) / 2 for a in ones for b in others)
    z = (pairs - n * m / 2) / sqrt(n * m * (n + m + 1) / 12)
    return erfc(abs(z) / sqrt(2)), pairs / (n * m)


def plain(text: str, email: str) -> str:
    """A page without what differs from answer to answer anyway."""
    text = text.replace(email, "EMAIL")
    return re.sub(r'nonce="[^"]+"|[\w.-]{60,}|[0-9a-f]{32}', "", text)


Form = Callable[[str], dict[str, str]]
FORMS: dict[str, Form] = {
    "/login": lambda email: {"email": email, "password": "not the password"},
    "/reset": lambda email: {"email": email},
    "/confirm": lambda email: {"email": email},
    "/register": lambda email: {"email": email, "password": PASSWORD},
}


def existence(served: Served, chosen: Sequence[str]) -> Problems:
    """Answers and times for accounts that exist and for ones that do not, in turns and in random order."""
    problems, order = [], random.Random(1)
    members = [served.member()[1] for _ in range(10)]
    for path, form in FORMS.items() if not chosen else [(path, FORMS[path]) for path in chosen]:
        seconds: dict[bool, list[float]] = {True: [], False: []}
        answers: dict[bool, set[tuple[int, str]]] = {True: set(), False: set()}
        visitor = served.visitor()
        token = visitor.token()
        for number in range(-10, SAMPLES):  # the first ones warm up
            for exists in order.sample((True, False), 2):
                fresh = f"{order.getrandbits(48):012x}@example.com"
                email = members[number % len(members)] if exists else fresh
                status, text = attempt(visitor, token, path, **form(email))
                if number >= 0:
                    seconds[exists].append(visitor.seconds * 1000)
                answers[exists].add((status, plain(text, email)))
        p, share = mann_whitney(seconds[False], seconds[True])
        seen = [s for s in SHIFTS if mann_whitney(seconds[False], [x + s for x in seconds[False]])[0] < LEAST_P]
        same = answers[True] == answers[False]
        medians = [statistics.median(seconds[exists]) for exists in (True, False)]
        table(
            (
                f"{path:<10} {SAMPLES} each, {'the same answer' if same else 'DIFFERENT ANSWERS'}",
                f"medians {medians[0]:.2f} and {medians[1]:.2f} ms",
                f"slower in {share:.3f} of pairs, p = {p:.3g}",
                f"would see {min(seen, default='none of ' + str(SHIFTS))} ms",
            )
        )
        if not same:
            problems.append(f"{path}: {len(answers[True] ^ answers[False])} answers tell whether an account exists")
        if p < LEAST_P:
            problems.append(f"{path}: the time tells whether an account exists (p = {p:.3g})")
    return problems


def main() -> None:
    problems: Problems = []
    chosen = sys.argv[1:]
    if not chosen:
        with Served() as served:
            problems += limits(served) + served.faults()[:5]
    with Served(limited=False, mailbox=FarMailbox) as served:
        problems += existence(served, chosen) + served.faults()[:5]
    finish(problems)


if __name__ == "__main__":
    main()
