"""What fails around a call, and what is left of it: nothing lost, nothing doubled, nothing that hangs."""
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest
from installation import PYTHON_LEGACY, ROOT, Installation, free_port, wait_for


class Liar:
    """An HTTP server that speaks MCP honestly until it is asked to run a tool."""

    def __init__(self, port, lie):
        self.lie = lie
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        with connection:
            stream = connection.makefile("rb")
            while line := stream.readline():
                length = 0
                while (header := stream.readline().strip()):
                    name, _, value = header.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                message = json.loads(stream.read(length))
                if message["method"] == "tools/call":
                    lie = self.lie(message)
                    with contextlib.suppress(OSError):  # The gateway has had enough.
                        for piece in [lie] if isinstance(lie, bytes) else lie:
                            connection.sendall(piece)
                    return
                result = {
                    "server/discover": {
                        "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                        "ttlMs": 0, "cacheScope": "private",
                    },
                    "tools/list": {
                        "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
                        "tools": [{"name": "lie", "inputSchema": {
                            "type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}}],
                    },
                }[message["method"]]
                body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
                )

    def close(self):
        self.listener.close()


def http(body, length=None, type=b"application/json", status=b"200 OK"):
    return b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (
        status, type, len(body) if length is None else length, body,
    )


def answer(message, text="well"):
    """An honest answer."""
    result = {"resultType": "complete", "content": [{"type": "text", "text": text}]}
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()


LIES = {
    "closes without a word": (lambda m: b"", "upstream_lost"),
    "closes in the middle of the answer": (lambda m: http(b'{"jsonrpc":"2.0",', length=500), "upstream_invalid"),
    "says two lengths": (lambda m: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", "upstream_invalid"),
    "answers somebody else's question": (lambda m: http(b'{"jsonrpc":"2.0","id":"other","result":{"resultType":"complete","content":[]}}'), "upstream_invalid"),
    "answers with duplicate keys": (lambda m: http(b'{"jsonrpc":"2.0","id":%s,"result":{},"result":{}}' % json.dumps(m["id"]).encode()), "upstream_invalid"),
    "ends its event stream without an answer": (lambda m: http(b"event: message\ndata: {}\n", type=b"text/event-stream"), "upstream_lost"),
    "begins an event and closes": (
        lambda m: b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n10\r\nevent: message\nd", "upstream_invalid"),
    "closes within a chunk": (
        lambda m: b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n40\r\n{\"jsonrpc\"", "upstream_invalid"),
    "sends more than it said": (lambda m: http(answer(m) + b" and more", length=len(answer(m)) - 1), "upstream_invalid"),
    "announces an answer that is too long": (lambda m: http(b"{", length=9 << 20), "upstream_invalid"),
    "never stops": (lambda m: itertools.chain([b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"],
                                              itertools.repeat(b" " * 65536, 2000)), "upstream_invalid"),
    "answers 500": (lambda m: http(b"oops", type=b"text/plain", status=b"500 No"), "upstream_invalid"),
    "wants the client to log in elsewhere": (
        lambda m: b'HTTP/1.1 401 No\r\nwww-authenticate: Bearer resource_metadata="https://evil.example"\r\ncontent-length: 0\r\n\r\n',
        "upstream_unreachable",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_server_that_lies_is_told_as_such_and_recorded(ostiary, name):
    lie, code = LIES[name]
    port = free_port()
    liar = Liar(port, lie)
    server = f"liar-{list(LIES).index(name)}"
    ostiary.servers[server] = ("liar", port, None)
    try:
        ostiary.write_configuration()
        ostiary.wait_ready(server, "lie")
        status, body = ostiary.call(server, "lie", {}, ostiary.token("alice", server))
        assert status == 200 and body["result"]["isError"] is True
        assert body["result"]["_meta"]["ostiary/decision"]["code"] == code
        assert "evil" not in json.dumps(body) and "www-authenticate" not in ostiary.last_headers
        assert ostiary.last_outcome()[1] == code
    finally:
        liar.close()
        del ostiary.servers[server]


def test_headers_that_mirror_arguments_must_say_the_same(ostiary):
    seen, port = [], free_port()
    liar = Liar(port, lambda m: seen.append(m) or http(
        json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": {"resultType": "complete", "content": []}}).encode()))
    ostiary.servers["mirror"] = ("liar", port, None)
    try:
        ostiary.write_configuration()
        ostiary.wait_ready("mirror", "lie")
        token = ostiary.token("alice", "mirror")
        for headers in ({}, {"mcp-param-region": "us"}, {"mcp-param-region": "=?base64?x?="}):
            status, body = ostiary.call("mirror", "lie", {"region": "eu"}, token, headers=headers)
            assert (status, body["error"]["code"]) == (400, -32020)
        assert seen == []
        status, body = ostiary.call("mirror", "lie", {"region": "eu"}, token, headers={"mcp-param-region": "eu"})
        assert status == 200 and len(seen) == 1
    finally:
        liar.close()
        del ostiary.servers["mirror"]


def test_a_server_that_is_down_is_reported_as_not_forwarded(ostiary, alice):
    ostiary.stop("server-lab")
    try:
        status, body = ostiary.call("lab", "echo", {"text": "x"}, alice)
        assert status == 200 and body["result"]["isError"] is True
        assert body["result"]["_meta"]["ostiary/decision"]["code"] == "upstream_unreachable"
        assert ostiary.last_outcome() == ("not_forwarded", "upstream_unreachable")
    finally:
        ostiary.start_server("lab")
    assert ostiary.call("lab", "echo", {"text": "x"}, alice)[0] == 200


def test_a_name_that_means_nothing_is_unknown_before_its_server_is_asked(ostiary):
    # It takes connections and says nothing: there is no catalogue, and reading it would take its whole time.
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        ostiary.servers["deaf"] = ("none", deaf.getsockname()[1], None)
        try:
            ostiary.write_configuration()
            token = ostiary.token("alice", "deaf")
            answer = wait_for(
                lambda: (found := ostiary.call("deaf", "nothing", {}, token))[0] != 401 and found[0] != 404 and found, "the server"
            )
            assert answer[0] == 200 and answer[1]["error"]["code"] == -32602
        finally:
            del ostiary.servers["deaf"]


def test_a_slow_call_becomes_a_stream_and_ends_well(ostiary, alice):
    # Two seconds make a stream of it; a slow machine may need a few more.
    status, body = ostiary.call("lab", "slow", {"seconds": 6}, alice)
    assert status == 200
    assert ostiary.last_headers["content-type"] == "text/event-stream"
    assert ostiary.last_text.startswith(": ") and body["result"]["content"][0]["text"] == "done"


def test_a_client_that_goes_away_leaves_an_outcome(ostiary, alice):
    url = ostiary.resource("lab")
    message = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "slow", "arguments": {"seconds": 50}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}},
    }
    body, before = json.dumps(message), len(ostiary.ran("lab"))
    with socket.create_connection(("127.0.0.1", ostiary.proxy_port)) as client:
        client.sendall(
            (
                f"POST /s/lab/mcp HTTP/1.1\r\nhost: {url.split('/')[2]}\r\nauthorization: Bearer {alice}\r\n"
                "content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
                "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: slow\r\n"
                f"content-length: {len(body)}\r\n\r\n{body}"
            ).encode()
        )
        wait_for(lambda: len(ostiary.ran("lab")) > before, "the call")
    assert ostiary.last_outcome() == ("failed", "cancelled")


def test_with_the_control_plane_away_calls_are_refused_in_time_and_nothing_is_forwarded(ostiary, alice):
    ostiary.stop("control", signal.SIGKILL)
    before = len(ostiary.ran("lab"))
    try:
        for _ in range(3):
            started = time.monotonic()
            status, body = ostiary.call("lab", "echo", {"text": "x"}, alice)
            took = time.monotonic() - started
            assert status == 200 and body["result"]["isError"] is True
            assert body["result"]["_meta"]["ostiary/decision"] == {"code": "record_unavailable", "retry": "afterBackoff"}
            assert took < 30, "the budget is a second; this bound is for slow machines"
        assert len(ostiary.ran("lab")) == before
    finally:
        ostiary.start_control()
    wait_for(lambda: ostiary.serves(alice), "recovery")


def test_a_restart_of_postgresql_loses_nothing(ostiary, alice):
    folder = ostiary.folder / "postgres"
    subprocess.run([ROOT / "scripts/postgres", "stop", folder], check=True, timeout=120)
    before = len(ostiary.ran("lab"))
    try:
        status, body = ostiary.call("lab", "echo", {"text": "x"}, alice)
        assert body["result"]["_meta"]["ostiary/decision"]["code"] == "record_unavailable"
        assert len(ostiary.ran("lab")) == before
    finally:
        subprocess.run([ROOT / "scripts/postgres", "start", folder], check=True, timeout=120)
    wait_for(lambda: ostiary.serves(alice), "recovery")
    # What was refused meanwhile is on record all the same: it was owed.
    wait_for(lambda: ostiary.sql("select count(*) from record where code = 'record_unavailable'")[0][0] != "0", "the refusal")


def test_a_graceful_stop_lets_the_call_in_hand_end(ostiary, alice):
    answers = []
    caller = threading.Thread(target=lambda: answers.append(ostiary.call("lab", "slow", {"seconds": 1.5}, alice)))
    before = len(ostiary.ran("lab"))
    caller.start()
    wait_for(lambda: len(ostiary.ran("lab")) > before, "the call")
    process = ostiary.stop("proxy")
    caller.join()
    assert process.returncode == 0
    assert answers[0][0] == 200 and answers[0][1]["result"]["content"][0]["text"] == "done"
    ostiary.start_proxy()
    ostiary.wait_ready()
    assert ostiary.last_outcome()[0] in ("succeeded", "unknown")


def test_a_certificate_is_renewed_before_it_ends_and_the_next_link_uses_it(ostiary, alice):
    certificate = ostiary.state / "proxy.crt"
    before = certificate.read_text()
    ostiary.stop("proxy")
    # More than a day ahead of its end: at once.
    ostiary.start_proxy(OSTIARY_RENEWAL_SECONDS="100000")
    wait_for(lambda: certificate.read_text() != before, "the renewal")
    ostiary.stop("proxy")
    ostiary.start_proxy()
    ostiary.wait_ready()
    assert ostiary.call("lab", "echo", {"text": "renewed"}, alice)[0] == 200


# -- with short times: a lease of six seconds, calls of one and a half --


@pytest.fixture(scope="module")
def hasty():
    with tempfile.TemporaryDirectory(prefix="ostiary-hasty-", ignore_cleanup_errors=True) as folder:
        installation = Installation(
            # Renewed every second: it must not end while the machine is merely busy.
            folder, OSTIARY_LEASE_MS="6000", OSTIARY_LEASE_GRACE_MS="1000", OSTIARY_CALL_TIMEOUT_MS="60000"
        )
        try:
            installation.start()
            yield installation
        finally:
            installation.close()


def outcome_of(ostiary, intent):
    rows = wait_for(
        lambda: ostiary.sql(
            f"select outcome from call_outcome where instance = '{intent['instance']}' and epoch = {intent['epoch']} "
            f"and intent_n = {intent['n']}"
        ),
        "the outcome",
    )
    assert len(rows) == 1
    return rows[0][0]


def test_a_call_at_a_server_is_abandoned_when_the_lease_ends_and_new_ones_are_refused(hasty):
    alice, answers = hasty.token("alice", "lab"), []
    before = len(hasty.ran("lab"))
    caller = threading.Thread(target=lambda: answers.append(hasty.call("lab", "slow", {"seconds": 55}, alice)))
    caller.start()
    wait_for(lambda: len(hasty.ran("lab")) > before, "the call")
    hasty.stop("control", signal.SIGKILL)
    try:
        # Long before the server would answer.
        caller.join(45)
        assert not caller.is_alive()
        status, body = answers[0]
        assert status == 200 and body["result"]["_meta"]["ostiary/decision"]["code"] == "aborted"
        # That the server also notes the end of the first call, sooner or later, is not a call.
        called = lambda: [ran for ran in hasty.ran("lab") if not ran["tool"].endswith("-cancelled")]
        ran = len(called())
        wait_for(lambda: hasty.problems(hasty.proxy_admin).keys() == {"lease", "link"}, "both problems")
        for message in ({"method": "tools/list"}, {"method": "tools/call", "params": {"name": "echo", "arguments": {"text": "x"}}}):
            assert hasty.post("lab", message, alice)[0] == 503
        assert hasty.last_headers["retry-after"]
        assert len(called()) == ran
    finally:
        hasty.start_control()
    wait_for(lambda: hasty.serves(alice), "recovery")
    intent = next(r for r in reversed(hasty.records("kind = 'intent'")) if r["tool"] == "slow")
    # The proxy's own word, or control's if it closed the epoch first; never both.
    assert outcome_of(hasty, intent) in ("failed", "unknown")
    ends = lambda: [r for r in hasty.records("kind = 'outcome'") if r["intent"] == intent["n"] and r["instance"] == "demo-1"]
    wait_for(lambda: "aborted" in [r.get("code") for r in ends()], "the proxy's word")


def test_a_server_that_is_silent_costs_the_time_of_a_call_and_no_more(hasty):
    hasty.stop("proxy")
    hasty.start_proxy(OSTIARY_CALL_TIMEOUT_MS="1500")
    port = free_port()

    def drip(message):
        yield b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n"
        for _ in range(400):
            time.sleep(0.2)
            yield b" "

    silent = Liar(port, lambda m: time.sleep(80) or b"" if m["params"]["name"] == "lie" and not m["params"].get("arguments") else drip(m))
    hasty.servers["silent"] = ("liar", port, None)
    try:
        hasty.write_configuration()
        hasty.wait_ready("silent", "lie")
        token = hasty.token("alice", "silent")
        for arguments in ({}, {"region": "eu"}):  # Without a word; a byte now and then.
            started = time.monotonic()
            headers = {"mcp-param-region": "eu"} if arguments else {}
            status, body = hasty.call("silent", "lie", arguments, token, headers=headers)
            assert status == 200 and body["result"]["_meta"]["ostiary/decision"]["code"] == "upstream_timeout"
            assert 1 < time.monotonic() - started < 60, "the server takes longer"
            assert hasty.last_outcome() == ("failed", "upstream_timeout")
        reached = lambda: hasty.metrics(hasty.proxy_admin).get('ostiary_limit_reached_total{ostiary_limit="call_time"}', 0)
        wait_for(lambda: reached() >= 2, "the count")
        assert reached() == 2
    finally:
        silent.close()
        del hasty.servers["silent"]
        hasty.stop("proxy")
        hasty.start_proxy()
        hasty.write_configuration()
        hasty.wait_ready()


def initialize(ostiary, server, token):
    status, _ = ostiary.post(
        server,
        {"method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}},
        token, modern=False,
    )
    assert status == 200
    return {"mcp-session-id": ostiary.last_headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}


@pytest.fixture(scope="module")
def older(shared_installation):
    """A server that has sessions."""
    shared_installation.start_server("older", "lab", PYTHON_LEGACY)
    shared_installation.write_configuration()
    shared_installation.wait_ready("older")
    yield shared_installation
    shared_installation.stop("server-older")
    del shared_installation.servers["older"]
    shared_installation.write_configuration()


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_server_that_forgot_its_sessions_is_asked_again_under_the_same_intent(older, era):
    token = older.token("alice", "older")
    more = {"headers": initialize(older, "older", token), "modern": False} if era == "legacy" else {}
    assert older.call("older", "echo", {"text": "before"}, token, **more)[0] == 200
    older.stop("server-older")
    older.start_server("older")
    intents = len(older.records("kind = 'intent'"))
    status, body = older.call("older", "echo", {"text": "after"}, token, **more)
    assert status == 200
    assert body["result"]["content"][0]["text"] == "after"
    assert [run["text"] for run in older.ran("older") if run["tool"] == "echo"][-2:] == ["before", "after"]
    assert len(older.records("kind = 'intent'")) == intents + 1
    assert older.last_outcome() == ("succeeded", "")


@pytest.mark.parametrize("server", ["older", "lab"])
def test_a_cancel_by_name_ends_the_call_here_and_at_the_server(older, server):
    token = older.token("alice", server)
    session = initialize(older, server, token)
    before, answers = len(older.ran(server)), []
    call = {"id": 77, "method": "tools/call", "params": {"name": "slow", "arguments": {"seconds": 50}}}

    def calling():
        try:
            answers.append(older.post(server, call, token, headers=session, modern=False))
        except OSError as error:
            answers.append(error)

    caller = threading.Thread(target=calling)
    caller.start()
    wait_for(lambda: len(older.ran(server)) > before, "the call")
    # Somebody else's cancel, and one for another call, do nothing.
    other = initialize(older, server, token)
    for headers, number in ((other, 77), (session, 78)):
        cancel = {"method": "notifications/cancelled", "params": {"requestId": number}}
        body = json.dumps({"jsonrpc": "2.0", **cancel}).encode()
        assert older.post(server, cancel, token, headers=headers, modern=False, body=body)[0] == 202
    caller.join(1)
    assert caller.is_alive()
    cancel = {"method": "notifications/cancelled", "params": {"requestId": 77, "reason": "changed my mind"}}
    body = json.dumps({"jsonrpc": "2.0", **cancel}).encode()
    assert older.post(server, cancel, token, headers=session, modern=False, body=body)[0] == 202
    caller.join(40)
    assert not caller.is_alive()
    # A cancelled request has no response.
    assert answers[0][0] == 200 and '"result"' not in str(answers[0][1]) and '"error"' not in str(answers[0][1])
    assert older.last_outcome() == ("failed", "cancelled")
    wait_for(lambda: any(run["tool"] == "slow-cancelled" for run in older.ran(server)[before:]), "the cancel at the server")


def test_an_answer_of_several_megabytes_passes(ostiary):
    port = free_port()
    large = Liar(port, lambda m: http(answer(m, "x" * (5 << 20))))
    ostiary.servers["large"] = ("liar", port, None)
    try:
        ostiary.write_configuration()
        ostiary.wait_ready("large", "lie")
        status, body = ostiary.call("large", "lie", {}, ostiary.token("alice", "large"))
        assert status == 200 and len(body["result"]["content"][0]["text"]) == 5 << 20
    finally:
        large.close()
        del ostiary.servers["large"]


def test_a_legacy_client_that_drops_its_connection_cancels_nothing_and_breaks_nothing(ostiary, alice):
    """Gone before the answer became a stream (two seconds), while the call takes longer."""
    session, before = initialize(ostiary, "lab", alice), len(ostiary.ran("lab"))
    pid = ostiary.processes["proxy"].pid
    message = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "slow", "arguments": {"seconds": 4}}}
    body = json.dumps(message)
    fields = "".join(f"{name}: {value}\r\n" for name, value in session.items())
    with socket.create_connection(("127.0.0.1", ostiary.proxy_port)) as client:
        client.sendall(
            (
                f"POST /s/lab/mcp HTTP/1.1\r\nhost: {ostiary.url.split('/')[2]}\r\nauthorization: Bearer {alice}\r\n"
                f"content-type: application/json\r\naccept: application/json, text/event-stream\r\n{fields}"
                f"content-length: {len(body)}\r\n\r\n{body}"
            ).encode()
        )
        wait_for(lambda: len(ostiary.ran("lab")) > before, "the call")
    assert ostiary.last_outcome() == ("succeeded", "")
    assert ostiary.processes["proxy"].poll() is None and ostiary.processes["proxy"].pid == pid
    assert ostiary.call("lab", "echo", {"text": "x"}, alice)[0] == 200
