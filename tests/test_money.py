"""Money as a state machine: whatever happens in whatever order, granted + topped up + adjusted =
balance + held + spent + expired."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from sqlalchemy import Connection, create_engine, func, select

from phaya import grants, jobs, keys, ledger, payments, vouchers
from phaya.calls import KieTask, pack
from phaya.clock import SECOND
from phaya.closings import end_job
from phaya.credits import NOTHING, Credits
from phaya.errors import Conflict, Invalid, NotEnoughCredits
from phaya.jobs import Job, Lost, State, Step
from phaya.openings import open_job
from phaya.payments import Outcome
from phaya.schema import complete, entries
from phaya.stripe import Session
from phaya.vouchers import WrongCode
from phaya.workflow import cancel_job

AMOUNTS = st.integers(0, 20_000_000_000).map(Credits)


class Money(RuleBasedStateMachine):
    """Grants that may expire, payments, vouchers, charges, ends, cancels and corrections by hand; also twice, late
    and with rows that have moved on."""

    taken = Bundle("taken")
    begun = Bundle("begun")
    codes = Bundle("codes")

    def __init__(self) -> None:
        super().__init__()
        self.engine = create_engine("sqlite://")
        self.connection: Connection = self.engine.connect()
        complete().create_all(self.connection)
        self.connection.commit()
        self.now = 1_800_000_000_000
        self.granted = 0
        self.adjusted = 0
        self.topped_up = 0
        self.paid: set[str] = set()
        self.redeemed: set[tuple[str, int]] = set()
        self.number = 0
        self.refunded: set[str] = set()
        self.accounts: list[tuple[str, str]] = []
        for email, cap in (("a@x", None), ("b@x", Credits(15_000_000_000))):
            account = self.work(keys.open_account, email, self.now)
            _, key = self.work(keys.mint, b"secret", account, "k", self.now, cap=cap)
            self.accounts.append((account.id, key.id))

    def work(self, function: Any, *values: Any, **named: Any) -> Any:
        with self.connection.begin():
            return function(self.connection, *values, **named)

    def teardown(self) -> None:
        self.connection.close()
        self.engine.dispose()

    @rule(who=st.integers(0, 1), amount=AMOUNTS.filter(bool))
    def grant(self, who: int, amount: Credits) -> None:
        self.work(ledger.grant, self.accounts[who][0], amount, "", self.now)
        self.granted += amount.units

    @rule(who=st.integers(0, 1), amount=AMOUNTS.filter(bool), seconds=st.integers(1, 50))
    def grant_for_a_while(self, who: int, amount: Credits, seconds: int) -> None:
        until = self.now + seconds * SECOND
        self.work(ledger.grant, self.accounts[who][0], amount, "", self.now, expires_at=until)
        self.granted += amount.units

    @rule(seconds=st.integers(1, 20))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule()
    def sweep(self) -> None:
        for account in self.work(grants.due, self.now, 10):
            self.work(ledger.expire, account, self.now)
        for account, _ in self.accounts:
            assert self.work(grants.lapsed, account, self.now) == []

    @rule(target=begun, who=st.integers(0, 1), amount=AMOUNTS.filter(bool))
    def begin_payment(self, who: int, amount: Credits) -> tuple[str, int]:
        opened = self.work(payments.open_payment, self.accounts[who][0], amount, 100, "thb", self.now)
        return opened.id, amount.units

    @rule(payment=begun, paid=st.booleans())
    def told_of_a_payment(self, payment: tuple[str, int], paid: bool) -> None:
        """However often it is told, the first word that it is paid counts."""
        name, units = payment
        session = Session(f"cs_{name}", None, name, "complete", paid, 107, "thb", "pi")
        heard = self.work(payments.settle, session, self.now)
        assert (heard.outcome is Outcome.CREDITED) == (paid and name not in self.paid)
        if heard.outcome is Outcome.CREDITED:
            self.paid.add(name)
            self.topped_up += units

    @rule(target=codes, amount=AMOUNTS.filter(bool), days=st.sampled_from([None, 1]))
    def make_voucher(self, amount: Credits, days: int | None) -> tuple[str, int]:
        made = self.work(vouchers.create, b"s", amount, self.now, actor="Ann", uses=1, grant_days=days)
        ((_, code),) = made.vouchers
        return code, amount.units

    @rule(voucher=codes, who=st.integers(0, 1))
    def redeem(self, voucher: tuple[str, int], who: int) -> None:
        code, units = voucher
        try:
            self.work(vouchers.redeem, b"s", self.accounts[who][0], code, self.now)
        except WrongCode:
            assert any(used == code for used, _ in self.redeemed)
            return
        assert not any(used == code for used, _ in self.redeemed)
        self.redeemed.add((code, who))
        self.granted += units

    @rule(who=st.integers(0, 1), amount=st.integers(-20_000_000_000, 20_000_000_000).map(Credits))
    def adjust(self, who: int, amount: Credits) -> None:
        """Only below zero is too far, and nothing is no correction."""
        account = self.accounts[who][0]
        self.work(ledger.expire, account, self.now)
        before = self.work(ledger.balance, account)
        try:
            after = self.work(ledger.adjust, account, amount, "a reason", self.now, "Ann")
        except (Invalid, NotEnoughCredits):
            assert not amount or before + amount < NOTHING
            return
        assert after == before + amount
        self.adjusted += amount.units

    @rule(job=taken, share=st.integers(0, 110))
    def refund(self, job: Job | None, share: int) -> None:
        """Part of an ended job's price, all of it, or too much; the second time never."""
        if job is None:
            return
        row: Job = self.work(jobs.find, job.id)
        amount, kept = Credits(job.price.units * share // 100), row.price - row.returned
        try:
            done = self.work(ledger.refund, job.id, amount, "a reason", self.now, "Ann")
        except (Invalid, Conflict):
            assert not row.state.ended or not NOTHING < amount <= kept or job.id in self.refunded
            return
        assert row.state is State.COMPLETED
        assert (done.amount, done.kept) == (amount, kept - amount)
        assert job.id not in self.refunded
        self.refunded.add(job.id)

    @rule(target=taken, who=st.integers(0, 1), price=AMOUNTS)
    def open(self, who: int, price: Credits) -> Job | None:
        account, key = self.accounts[who]
        self.number += 1
        job = Job(
            id=f"job-{self.number}", account_id=account, key_id=key, service="text-to-image", request="{}",
            call=pack(KieTask("z-image", {})), sandbox=True, price=price, state=State.QUEUED, step=Step.OPEN,
            lane="remote", deadline_at=self.now + 1, created_at=self.now, next_at=self.now,
        )  # fmt: skip
        stale = sum(grant.remaining.units for grant in self.work(grants.lapsed, account, self.now))
        before = self.work(ledger.balance, account)
        try:
            left = self.work(open_job, job)
        except NotEnoughCredits:
            assert self.work(jobs.find, job.id) is None, "a refused job leaves no row"
            assert self.work(ledger.balance, account) == before
            return None
        assert left == before - Credits(stale) - price, "what has expired pays for nothing"
        return job

    @rule(job=taken, share=st.integers(0, 100), done=st.booleans())
    def end(self, job: Job | None, share: int, done: bool) -> None:
        """Ends a job by the row as it was when read first: only the first end counts."""
        if job is None:
            return
        cost = Credits(job.price.units * share // 100) if done else NOTHING
        with contextlib.suppress(Lost):
            self.work(end_job, job, self.now, State.COMPLETED if done else State.FAILED, cost, {})

    @rule(job=taken, share=st.integers(0, 100))
    def end_fresh(self, job: Job | None, share: int) -> None:
        """Ends a job by its newest row."""
        if job is None:
            return
        row = self.work(jobs.find, job.id)
        with contextlib.suppress(Lost):
            self.work(end_job, row, self.now, State.COMPLETED, Credits(job.price.units * share // 100), {})

    @rule(job=taken)
    def cancel(self, job: Job | None) -> None:
        if job is not None:
            self.work(cancel_job, job.id, job.account_id, self.now, 1)

    @rule(job=consumes(taken))
    def return_by_hand(self, job: Job | None) -> None:
        """A second return of an ended job is refused by the database itself."""
        if job is None:
            return
        row: Job = self.work(jobs.find, job.id)
        if row.state.ended and row.returned:
            assert not self.work(ledger.give_back, row.account_id, row.key_id, row.id, row.returned, self.now)

    @invariant()
    def nothing_is_lost_or_made(self) -> None:
        balances = sum(self.work(ledger.balance, account).units for account, _ in self.accounts)
        held = spent = 0
        for number in range(1, self.number + 1):
            job: Job | None = self.work(jobs.find, f"job-{number}")
            if job is None:
                continue
            if job.state.ended:
                spent += (job.price - job.returned).units
            else:
                held += job.price.units
        with self.connection.begin():
            gone = select(func.coalesce(-func.sum(entries.c.amount), 0)).where(entries.c.reason == ledger.EXPIRY)
            expired = self.connection.execute(gone).scalar_one()
        assert self.granted + self.topped_up + self.adjusted == balances + held + spent + expired
        with self.connection.begin():
            total = self.connection.execute(select(func.coalesce(func.sum(entries.c.amount), 0))).scalar_one()
        assert total == balances

    @invariant()
    def the_audit_is_clean(self) -> None:
        assert self.work(ledger.audit) == []
        with self.connection.begin():
            assert [*payments.audit(self.connection), *vouchers.audit(self.connection)] == []

    @invariant()
    def a_cap_is_never_passed(self) -> None:
        for key, _, _ in self.work(keys.listing, self.accounts[1][0]):
            assert key.cap is not None
            assert key.spent <= key.cap


TestMoney = Money.TestCase
TestMoney.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
