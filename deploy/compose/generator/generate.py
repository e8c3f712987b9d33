"""A subscription business that goes on: events of its past, then as they happen, into a topic by `churnwatch import`.

The past is the same at every start, and what is there twice counts once, so a restart does no harm.
SIGUSR1 makes customers of one cohort leave: a spike.
"""

import argparse
import datetime
import heapq
import json
import random
import signal
import subprocess
import sys
import threading
import zlib

DAY = 86_400.0
TERM = 30 * DAY
PRICES = {"basic": 990, "pro": 2990, "team": 9900}
REGIONS = ["north", "south", "west"]
CHANNELS = ["search", "partner", "direct"]
# A term: how many cancel in it, and how many fail to pay at its end.
CANCELLING = {"basic": 0.06, "pro": 0.035, "team": 0.015}
FAILING = 0.008
# Of the spike: whom it hits, what share of them leaves, and over how long.
SPIKE_PLAN, SPIKE_REGION, SPIKE_SHARE, SPIKE_SECONDS = "pro", "west", 0.15, 600.0


def rfc3339(time):
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


class Business:
    """Customers, and what is to happen to them next."""

    def __init__(self, start, customers, a_day):
        self.start = start
        self.a_day = a_day
        self.due = []
        self.active = {}
        self.signups = 0
        for _ in range(customers):
            # They have been there for up to a term: renewals are spread over it.
            self.plan_signup(start - random.Random(self.signups).uniform(0, TERM))
        heapq.heappush(self.due, (start, 0, "signup", 0))

    def plan_signup(self, time):
        self.signups += 1
        heapq.heappush(self.due, (time, self.signups, "started", self.signups))

    def next_time(self):
        return self.due[0][0]

    def happen(self):
        """The next event, or None where the business alone takes note."""
        time, order, kind, customer = heapq.heappop(self.due)
        if kind == "signup":
            self.plan_signup(time)
            chance = random.Random(f"signup {self.signups}")
            heapq.heappush(self.due, (time + chance.expovariate(self.a_day / DAY), 0, "signup", 0))
            return None
        return getattr(self, kind)(time, customer)

    def event(self, time, customer, body, **more):
        # An id of its own, alike in every run.
        identifier = f"{zlib.crc32(f'{customer} {time} {body}'.encode()):08x}"
        return {"eventId": identifier, "customerId": f"c-{customer}", "eventTime": rfc3339(time)} | more | body

    def started(self, time, customer):
        chance = random.Random(customer)
        plan = chance.choices(list(PRICES), [6, 3, 1])[0]
        attributes = {"plan": plan, "region": chance.choice(REGIONS), "channel": chance.choice(CHANNELS)}
        self.active[customer] = attributes
        self.plan_term(time, customer)
        amount = {"currencyCode": "EUR", "minorUnits": str(PRICES[plan])}
        started = {"recurringAmount": amount, "termEndTime": rfc3339(time + TERM)}
        return self.event(time, customer, {"started": started}, attributes=attributes)

    def plan_term(self, time, customer):
        chance = random.Random(f"{customer} {time}")
        fate = chance.random()
        cancelling = CANCELLING[self.active[customer]["plan"]]
        if fate < cancelling:
            heapq.heappush(self.due, (time + chance.uniform(0, TERM), customer, "cancelled", customer))
        elif fate < cancelling + FAILING:
            heapq.heappush(self.due, (time + TERM, customer, "payment_failed", customer))
        else:
            heapq.heappush(self.due, (time + TERM, customer, "renewed", customer))

    def renewed(self, time, customer):
        if customer not in self.active:
            return None
        self.plan_term(time, customer)
        return self.event(time, customer, {"renewed": {"termEndTime": rfc3339(time + TERM)}})

    def cancelled(self, time, customer):
        return self.ended(time, customer, "END_REASON_CANCELLED")

    def payment_failed(self, time, customer):
        return self.ended(time, customer, "END_REASON_PAYMENT_FAILED")

    def switched(self, time, customer):
        return self.ended(time, customer, "END_REASON_SWITCHED_PROVIDER")

    def ended(self, time, customer, reason):
        if self.active.pop(customer, None) is None:
            return None
        return self.event(time, customer, {"ended": {"reason": reason}})

    def spike(self, now):
        """Makes a share of a cohort leave from now on; how many."""
        hit = [c for c, a in self.active.items() if a["plan"] == SPIKE_PLAN and a["region"] == SPIKE_REGION]
        leaving = random.sample(hit, round(len(hit) * SPIKE_SHARE))
        for customer in leaving:
            heapq.heappush(self.due, (now + random.uniform(0, SPIKE_SECONDS), customer, "switched", customer))
        return len(leaving)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--customers", type=int, default=20_000, help="at the beginning of the past")
    arguments.add_argument("--signups", type=float, default=45, help="a day")
    arguments.add_argument("--since", type=day, default=day("2026-07-01"), help="the day on which the past begins")
    arguments.add_argument("--until-now", action="store_true", help="end where the present begins")
    arguments.add_argument("command", nargs=argparse.REMAINDER, help="is given the events, a line each, as its input; default: print them")
    options = arguments.parse_args()

    wake, ending, spiking = threading.Event(), threading.Event(), threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: (spiking.set(), wake.set()))
    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, lambda *_: (ending.set(), wake.set()))

    # In a session of its own: Ctrl-C is for us, the command ends with its input.
    command = subprocess.Popen(options.command, stdin=subprocess.PIPE, text=True, start_new_session=True) if options.command else None
    sink = command.stdin if command else sys.stdout
    now = lambda: datetime.datetime.now(datetime.UTC).timestamp()
    business = Business(options.since, options.customers, options.signups)
    try:
        while not ending.is_set():
            if spiking.is_set():
                spiking.clear()
                print(f"spike: {business.spike(now())} customers leave within {SPIKE_SECONDS:.0f} s", file=sys.stderr, flush=True)
            pause = business.next_time() - now()
            if pause > 0:
                if options.until_now:
                    break
                sink.flush()
                wake.wait(pause)
                wake.clear()
            elif event := business.happen():
                sink.write(json.dumps(event, separators=(",", ":")) + "\n")
        sink.flush()
    except BrokenPipeError:
        print("the command has ended before its input", file=sys.stderr)
    if command:
        try:
            command.stdin.close()
        except BrokenPipeError:
            pass
        return command.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
