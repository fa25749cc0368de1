"""Calls while a process is killed, again and again, at whatever point it is: the proxy, control, PostgreSQL.

OSTIARY_CHAOS_CALLS and OSTIARY_CHAOS_KILLS set the size; scripts/chaos runs 1,000 calls with 50 kills.
"""
import os
import random
import signal
import subprocess
import tempfile
import threading
import time

import pytest
from installation import ROOT, Installation, wait_for

CALLS = int(os.environ.get("OSTIARY_CHAOS_CALLS", 120))
KILLS = int(os.environ.get("OSTIARY_CHAOS_KILLS", 6))
CALLERS = 8


@pytest.fixture
def installation():
    with tempfile.TemporaryDirectory(prefix="ostiary-chaos-", ignore_cleanup_errors=True) as folder:
        installation = Installation(folder)
        # The server asks the database, while a call runs, whether its intent is there.
        installation.environment["CHECK_DATABASE"] = "set below"
        try:
            installation.start()
            yield installation
        finally:
            installation.close()


def kill_proxy(installation):
    installation.stop("proxy", signal.SIGKILL)
    installation.start_proxy()


def kill_control(installation):
    installation.stop("control", signal.SIGKILL)
    installation.start_control()


def kill_postgresql(installation):
    """As a power failure would: no shutdown checkpoint, recovery from the log."""
    folder = installation.folder / "postgres"
    postmaster = int((folder / "data/postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGQUIT)
    wait_for(lambda: not os.path.exists(f"/proc/{postmaster}"), "the end of PostgreSQL")
    subprocess.run([ROOT / "scripts/postgres", "start", folder], check=True, timeout=120)


@pytest.mark.parametrize("kill", [kill_proxy, kill_control, kill_postgresql])
def test_no_call_is_forwarded_unrecorded_and_each_intent_ends_once(installation, kill):
    installation.stop("server-lab", signal.SIGKILL)
    installation.environment["CHECK_DATABASE"] = installation.database
    installation.start_server("lab")
    # Commits take 30 ms from here on: a call that did not wait for its own would be at the server before it.
    installation.sql(
        "create function slow() returns trigger language plpgsql as "
        "$$ begin perform pg_sleep(0.03); return null; end $$; "
        "create trigger slow before insert on record for each statement execute function slow()"
    )
    token = installation.token("alice", "lab")
    seed = int(os.environ.get("OSTIARY_FUZZ_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}")
    chance = random.Random(seed)
    started, answered, lock = [0], [0], threading.Lock()

    def caller():
        while True:
            with lock:
                if answered[0] >= CALLS:
                    return
                started[0] += 1
                name = f"{chance.getrandbits(128):032x}"
            message = {
                "method": "tools/call",
                "params": {"name": "echo", "arguments": {"text": name},
                           "_meta": {"traceparent": f"00-{name}-00f067aa0ba902b7-01"}},
            }
            try:
                status, body = installation.post("lab", message, token)
                if status == 200 and not body["result"].get("isError"):
                    with lock:
                        answered[0] += 1
                else:
                    time.sleep(0.02)  # Refused while something is away.
            except (OSError, ValueError, KeyError, TypeError):
                time.sleep(0.05)  # The proxy was killed under the call.

    callers = [threading.Thread(target=caller) for _ in range(CALLERS)]
    for thread in callers:
        thread.start()
    for number in range(KILLS):
        due = CALLS * (number + 1) // (KILLS + 1)
        wait_for(lambda: answered[0] >= due, f"call {due}", 300)
        time.sleep(chance.random() * 0.05)
        kill(installation)
    for thread in callers:
        thread.join()

    # Recovery: a proxy that comes back closes the books of the one before it.
    installation.stop("proxy", signal.SIGKILL)
    installation.start_proxy()
    installation.wait_ready()
    executed = [run for run in installation.ran("lab") if "recorded" in run]
    unrecorded = [run for run in executed if not run["recorded"]]
    open_intents = "select count(*) from record i left join call_outcome c on (c.namespace_id, c.instance, c.epoch, c.lane, " \
        "c.intent_n) = (i.namespace_id, i.instance, i.epoch, i.lane, i.n) where i.kind = 'intent' and not i.annotation and c.intent_n is null"
    wait_for(lambda: installation.sql(open_intents) == [["0"]], "an outcome for each intent")
    intents = int(installation.sql("select count(*) from record where kind = 'intent' and not annotation")[0][0])
    outcomes = dict(installation.sql("select outcome, count(*) from call_outcome group by 1"))
    print(f"{kill.__name__}: {started[0]} calls sent, {KILLS} kills: {len(executed)} executed, {answered[0]} answered, {intents} intents, outcomes {outcomes}")
    assert len(executed) >= answered[0] >= CALLS
    assert unrecorded == []
    assert sum(map(int, outcomes.values())) == intents
    # Nothing ran twice: each executed call has an intent of its own.
    assert len({run["text"] for run in executed}) == len(executed)
