"""The application of `orm_platform.py`, counted phase by phase.

    python orm_application.py URL THREADS

A line on standard input names the phase that begins; with it, and at the end of the input, the last one's transactions
and failures are printed as a line of JSON.
"""
import json
import sys

from sqlalchemy import create_engine

from orm_platform import Application

threads = int(sys.argv[2])
application = Application(create_engine(sys.argv[1], pool_size=threads + 2), threads, seed=7)
phase, transactions, failures = "start", 0, 0


def report():
    global transactions, failures
    now = len(application.latencies), len(application.failures)
    # Where one thread has deleted what another has just read, the ORM says so: with nobody else at work, too.
    failed = [text for _, text in application.failures[failures:now[1]] if not text.startswith("StaleDataError")]
    print(json.dumps({"phase": phase, "transactions": now[0] - transactions, "failures": failed}), flush=True)
    transactions, failures = now


for line in sys.stdin:
    report()
    phase = line.strip()
application.stop()
report()
