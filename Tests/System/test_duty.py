"""What operators live with: health, metrics, TLS, and logs that keep secrets."""
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from installation import PYTHON_LEGACY, ROOT, Installation, wait_for


def count(series, name, **attributes):
    """The sum of a metric's series that have these attributes."""
    wanted = [f'{key}="{value}"' for key, value in attributes.items()]
    return sum(v for s, v in series.items() if s.partition("{")[0] == name and all(w in s for w in wanted))


# -- health --


def test_both_processes_live_and_are_ready(ostiary):
    for url, checks in (
        (ostiary.proxy_admin, ["configuration", "lease", "link", "draining"]),
        (ostiary.control_admin, ["database", "draining"]),
    ):
        assert ostiary.probe(f"{url}/livez")[0] == 200
        wait_for(lambda: ostiary.probe(f"{url}/readyz")[0] == 200, "readiness")
        _, report = ostiary.probe(f"{url}/readyz")
        assert report == {"status": "ready", "checks": [{"name": name, "status": "pass"} for name in checks]}
        assert ostiary.probe(f"{url}/secrets")[0] == 404


def test_a_proxy_without_control_is_not_ready_and_lives(ostiary):
    ostiary.stop("control", signal.SIGKILL)
    try:
        wait_for(lambda: ostiary.problems(ostiary.proxy_admin) == {"link": "there is no stream to control"}, "the reason")
        assert ostiary.probe(f"{ostiary.proxy_admin}/readyz")[0] == 503
        assert ostiary.probe(f"{ostiary.proxy_admin}/livez")[0] == 200
    finally:
        ostiary.start_control()
    wait_for(lambda: not ostiary.problems(ostiary.proxy_admin), "readiness")


def test_a_control_without_its_database_is_not_ready_and_lives(ostiary):
    folder = ostiary.folder / "postgres"
    subprocess.run([ROOT / "scripts/postgres", "stop", folder], check=True, timeout=120)
    try:
        wait_for(lambda: "database" in ostiary.problems(ostiary.control_admin), "the reason")
        assert ostiary.probe(f"{ostiary.control_admin}/livez")[0] == 200
    finally:
        subprocess.run([ROOT / "scripts/postgres", "start", folder], check=True, timeout=120)
    wait_for(lambda: not ostiary.problems(ostiary.control_admin), "readiness")
    wait_for(lambda: not ostiary.problems(ostiary.proxy_admin), "readiness of the proxy")


def test_a_database_that_may_lose_commits_makes_control_not_ready(ostiary):
    ostiary.sql("alter role ostiary_app set synchronous_commit = off")
    try:
        # Sessions that exist keep their setting: the next ones have it.
        ostiary.sql("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'")
        wait_for(
            lambda: "synchronous_commit is off" in ostiary.problems(ostiary.control_admin).get("database", ""), "the reason"
        )
    finally:
        ostiary.sql("alter role ostiary_app reset synchronous_commit")
        ostiary.sql("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'")
    wait_for(lambda: not ostiary.problems(ostiary.control_admin), "readiness")
    wait_for(lambda: not ostiary.problems(ostiary.proxy_admin), "readiness of the proxy")


def test_a_stopping_proxy_says_so_first_and_still_serves(ostiary, alice):
    ostiary.stop("proxy")
    ostiary.start_proxy(OSTIARY_DRAIN_DELAY_MS="10000")
    ostiary.wait_ready()
    process = ostiary.processes["proxy"]
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: ostiary.problems(ostiary.proxy_admin) == {"draining": "the process is stopping"}, "the reason")
    # A load balancer that has not looked yet still sends calls: they are carried.
    status, body = ostiary.call("lab", "echo", {"text": "late"}, alice)
    assert status == 200 and body["result"]["content"][0]["text"] == "late"
    process.wait(120)
    assert process.returncode == 0
    ostiary.start_proxy()
    ostiary.wait_ready()


def test_a_drain_has_a_deadline(ostiary, alice):
    ostiary.stop("proxy")
    ostiary.start_proxy(OSTIARY_DRAIN_MS="500")
    ostiary.wait_ready()
    before = len(ostiary.ran("lab"))

    def call():
        try:
            ostiary.call("lab", "slow", {"seconds": 50}, alice)
        except (OSError, ValueError):
            pass  # Cut off, as it should be.

    caller = threading.Thread(target=call)
    caller.start()
    wait_for(lambda: len(ostiary.ran("lab")) > before, "the call")
    process = ostiary.stop("proxy", seconds=45)
    assert process.returncode == 0
    caller.join(40)
    assert not caller.is_alive()
    ostiary.start_proxy()
    ostiary.wait_ready()
    assert ostiary.last_outcome()[0] == "failed"


# -- metrics --


def test_calls_are_counted_by_server_tool_and_end_and_callers_invent_no_series(ostiary, alice):
    before = ostiary.metrics(ostiary.proxy_admin)
    ostiary.call("lab", "echo", {"text": "counted"}, alice)
    ostiary.call("lab", "add", {"a": 5000, "b": 1}, alice)
    ostiary.call("lab", "fail", {"reason": "x"}, alice)
    ostiary.call("lab", "made-up-by-a-caller", {}, alice)
    ostiary.post("lab", {"method": "made/up"}, alice)
    ostiary.post("made-up-server", {"method": "tools/list"}, alice)
    ostiary.post("lab", {"method": "tools/list"}, None)
    name = "mcp_server_operation_duration_seconds_count"
    # What ended is counted after it was answered.
    wait_for(lambda: count(ostiary.metrics(ostiary.proxy_admin), name) - count(before, name) >= 7, "the last count")
    after = ostiary.metrics(ostiary.proxy_admin)

    def grew(metric=name, **attributes):
        return count(after, metric, **attributes) - count(before, metric, **attributes)

    assert grew(gen_ai_tool_name="echo", ostiary_server="lab", mcp_method_name="tools/call") == 1
    assert grew(gen_ai_tool_name="add", error_type="denied") == 1
    assert grew(gen_ai_tool_name="fail", error_type="tool_error") == 1
    assert grew(gen_ai_tool_name="_OTHER", error_type="tool_unknown") == 1
    assert grew(mcp_method_name="_OTHER", error_type="method_unknown") == 1
    assert grew(ostiary_server="_OTHER", error_type="token_invalid") == 1
    assert grew(ostiary_server="_OTHER", error_type="token_missing") == 1
    assert grew("http_client_request_duration_seconds_count", ostiary_server="lab", http_response_status_code="200") >= 2
    assert grew("ostiary_intent_duration_seconds_count") == 2
    assert "made" not in json.dumps(list(after))
    assert 0 < after["ostiary_lease_remaining_seconds"] <= 30 and after["ostiary_link_connected"] == 1
    assert after["ostiary_snapshot_version"] >= 1 and after["process_memory_usage_bytes"] > 0
    control = ostiary.metrics(ostiary.control_admin)
    assert control["ostiary_link_sessions"] == 1
    assert count(control, "ostiary_ingest_records_total", ostiary_ingest_result="committed") > 0
    assert count(control, "ostiary_ingest_duration_seconds_count") > 0
    assert count(control, "db_client_connection_count") > 0


def test_limits_that_are_reached_are_counted(ostiary, alice):
    def reached():
        series = ostiary.metrics(ostiary.proxy_admin)
        return {limit: count(series, "ostiary_limit_reached_total", ostiary_limit=limit) for limit in ("message_bytes", "json", "head_bytes", "target_bytes")}

    before = reached()
    status, _ = ostiary.post("lab", {"method": "ping"}, alice, body=b" " * (1 << 20) + b"{}")
    assert status == 413
    assert ostiary.post("lab", {"method": "ping"}, alice, body=b"[" * 500)[0] == 400
    assert ostiary.post("lab", {"method": "ping"}, alice, headers={"x-long": "x" * 20_000})[0] == 431
    assert ostiary.post(f"lab/{'x' * 5000}", {"method": "ping"}, alice)[0] == 414
    grew = lambda: {limit: value - before[limit] for limit, value in reached().items()}
    wait_for(lambda: all(grew().values()), "the counts")
    assert grew() == dict.fromkeys(before, 1)


# -- TLS --


@pytest.fixture(scope="module")
def over_tls():
    with tempfile.TemporaryDirectory(prefix="ostiary-tls-", ignore_cleanup_errors=True) as folder:
        installation = Installation(folder, tls=True)
        try:
            installation.start()
            yield installation
        finally:
            installation.close()


@pytest.mark.parametrize(
    "client, python, mode",
    [
        ("sdk2.py", sys.executable, "auto"),
        ("sdk2.py", sys.executable, "legacy"),
        ("sdk1.py", PYTHON_LEGACY, "legacy"),
    ],
    ids=["sdk 2.3.0 at 2026-07-28", "sdk 2.3.0 at 2025-11-25", "sdk 1.30.0"],
)
def test_an_unmodified_client_calls_through_tls_under_a_private_authority(over_tls, client, python, mode):
    command = [python, ROOT / "Tests/System/clients" / client, over_tls.resource("lab"), over_tls.token("alice", "lab"), mode]
    trusting = {**os.environ, "SSL_CERT_FILE": str(over_tls.authority)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=trusting)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["echo"] == "hello"
    # The same client without the authority does not talk to it.
    strange = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=strange)
    assert done.returncode != 0 and "CERTIFICATE_VERIFY_FAILED" in done.stderr


def test_tls_refuses_plain_text_and_old_versions(over_tls):
    import socket

    with socket.create_connection(("127.0.0.1", over_tls.proxy_port), 10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"HTTP" not in plain.recv(1000)
    old = ssl.create_default_context(cafile=over_tls.authority)
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", over_tls.proxy_port), 10) as plain, pytest.raises((ssl.SSLError, OSError)):
        old.wrap_socket(plain, server_hostname="localhost")


def test_a_renewed_certificate_is_used_without_a_restart(over_tls):
    def certificate():
        return ssl.get_server_certificate(("127.0.0.1", over_tls.proxy_port))

    before, pid = certificate(), over_tls.processes["proxy"].pid
    (over_tls.folder / "tls/listener.pem").unlink()
    subprocess.run([ROOT / "scripts/certificates", over_tls.folder / "tls"], check=True, timeout=120)
    wait_for(lambda: certificate() != before, "the new certificate")
    assert over_tls.processes["proxy"].poll() is None and over_tls.processes["proxy"].pid == pid
    assert over_tls.call("lab", "echo", {"text": "x"}, over_tls.token("alice", "lab"))[0] == 200


# -- what is told --


def test_no_secret_and_no_argument_reaches_a_log_a_metric_or_a_probe():
    """At the most talkative level, over calls that go well and calls that go wrong, with marked secrets everywhere."""
    with tempfile.TemporaryDirectory(prefix="ostiary-logs-", ignore_cleanup_errors=True) as folder:
        ostiary = Installation(folder)
        ostiary.environment["OSTIARY_LOG_LEVEL"] = "trace"
        try:
            ostiary.start()
            credential = ostiary.folder / "credential"
            credential.touch(mode=0o600)
            credential.write_text("Bearer canary-credential")
            ostiary.write_configuration(
                servers=[{
                    "name": name, "url": ostiary.server_url(name),
                    "credential": {"header": "Authorization", "file": str(credential)},
                } for name in ostiary.servers]
            )
            alice = ostiary.token("alice", "lab")
            ostiary.wait_ready()
            ostiary.call("lab", "echo", {"text": "canary-argument"}, alice)
            ostiary.call("lab", "fail", {"reason": "canary-result"}, alice)
            ostiary.call("lab", "canary-tool", {"text": "canary-argument"}, alice)
            ostiary.call("lab", "add", {"a": 5000, "b": 1, "canary-key": "canary-argument"}, alice)
            ostiary.call("lab", "echo", {"text": "x"}, "canary-token." + alice, headers={"x-canary": "canary-header"})
            ostiary.post("lab", {"method": "canary/method"}, alice, headers={"mcp-session-id": "canary-session"})
            ostiary.post("lab", {"method": "ping"}, alice, body=b'{"canary-malformed":')
            ostiary.stop("server-lab")
            ostiary.call("lab", "echo", {"text": "canary-argument"}, alice)
            ostiary.stop("control", signal.SIGKILL)
            ostiary.call("lab", "echo", {"text": "canary-argument"}, alice)
            ostiary.start_control()
            wait_for(lambda: not ostiary.problems(ostiary.proxy_admin), "recovery")
            said = ostiary.log("proxy") + ostiary.log("control")
            for url in (ostiary.proxy_admin, ostiary.control_admin):
                for path in ("livez", "readyz", "metrics"):
                    said += json.dumps(ostiary.probe(f"{url}/{path}"))
            secrets = {
                "canary": "canary",
                "the token": alice.split(".")[1],
                "the token's signature": alice.split(".")[2],
                "the key-encryption key": (ostiary.folder / "key").read_text(),
                "the enrolment token": (ostiary.folder / "enrolment-token").read_text().strip(),
            }
            assert [name for name, secret in secrets.items() if secret in said] == []
            # The lines are there, and each is one JSON object.
            lines = [json.loads(line) for line in (ostiary.log("proxy") + ostiary.log("control")).splitlines()]
            assert len(lines) > 5 and all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
        finally:
            ostiary.close()
