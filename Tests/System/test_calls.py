"""The governed call, end to end, with stock clients and with hand-made messages."""
import asyncio
import json
import subprocess
import sys
import time

import pytest
from installation import PYTHON_LEGACY, ROOT


def run_client(program, *arguments, python=sys.executable):
    done = subprocess.run(
        [python, ROOT / "Tests/System/clients" / program, *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "client, python, mode",
    [
        ("sdk2.py", sys.executable, "auto"),
        ("sdk2.py", sys.executable, "legacy"),
        ("sdk1.py", PYTHON_LEGACY, "legacy"),
    ],
    ids=["sdk 2.3.0 at 2026-07-28", "sdk 2.3.0 at 2025-11-25", "sdk 1.30.0"],
)
def test_an_unmodified_client_lists_calls_and_is_refused_usefully(ostiary, client, python, mode):
    token = ostiary.token("alice", "lab")
    before = len(ostiary.ran("lab"))
    seen = run_client(client, ostiary.resource("lab"), token, mode, python=python)
    assert "echo" in seen["tools"] and "delete_everything" not in seen["tools"]
    assert seen["echo"] == "hello"
    # Refused by its arguments: an error the model can read, naming the policy.
    assert seen["denied"]["isError"] is True
    assert "AC-3.small-sums" in seen["denied"]["text"]
    assert [r["tool"] for r in ostiary.ran("lab")[before:]] == ["echo"]


def test_the_tools_of_mcp_server_time_are_reached(ostiary):
    token = ostiary.token("alice", "time")
    ostiary.wait_ready("time", "get_current_time")
    status, body = ostiary.call("time", "get_current_time", {"timezone": "Europe/Berlin"}, token)
    assert status == 200 and not body["result"].get("isError")
    assert "Europe/Berlin" in body["result"]["content"][0]["text"]


def test_each_call_has_an_intent_before_it_and_one_outcome_after_it(ostiary, alice):
    status, body = ostiary.call("lab", "echo", {"text": "on record"}, alice)
    assert status == 200
    intents = [r for r in ostiary.records("kind = 'intent'") if r["tool"] == "echo"]
    intent = intents[-1]
    assert intent["decision"]["answer"] == "permit"
    assert intent["decision"]["determining"] == ["AC-3.staff"]
    assert intent["subject"].startswith("sub_")
    # The arguments are not in the record, only a commitment to them.
    assert "on record" not in json.dumps(intent)
    assert intent["parts"][0]["name"] == "arguments"
    assert ostiary.last_outcome() == ("succeeded", "")
    rows = ostiary.sql(
        f"select outcome from call_outcome where epoch = {intent['epoch']} and intent_n = {intent['n']}"
    )
    assert rows == [["succeeded"]]


def test_a_denied_call_never_reaches_the_server_and_is_recorded(ostiary, alice):
    before, log = len(ostiary.ran("lab")), ostiary.newest()
    status, body = ostiary.call("lab", "add", {"a": 5000, "b": 1}, alice)
    assert status == 200 and body["result"]["isError"] is True
    assert body["result"]["_meta"]["ostiary/decision"]["code"] == "denied"
    assert len(ostiary.ran("lab")) == before
    refusal = ostiary.refusal(log, code="denied")
    assert refusal["decision"]["determining"] == ["AC-3.small-sums"]


def test_a_hidden_tool_and_an_unknown_one_look_alike(ostiary, alice):
    hidden = ostiary.call("lab", "delete_everything", {"confirm": True}, alice)
    unknown = ostiary.call("lab", "no_such_tool", {"confirm": True}, alice)
    assert hidden == unknown
    assert not any(r["tool"] == "delete_everything" for r in ostiary.ran("lab"))


def test_a_subject_without_a_grant_sees_nothing(ostiary):
    mallory = ostiary.token("mallory", "lab")
    status, body = ostiary.post("lab", {"method": "tools/list"}, mallory)
    assert status == 200 and body["result"]["tools"] == []
    assert body["result"]["cacheScope"] == "private" and body["result"]["ttlMs"] == 0


def test_a_tool_that_fails_is_told_as_such(ostiary, alice):
    status, body = ostiary.call("lab", "fail", {"reason": "broken"}, alice)
    assert status == 200 and body["result"]["isError"] is True
    assert ostiary.last_outcome()[0] == "tool_failed"


@pytest.mark.parametrize(
    "name, message, headers, body, status, code",
    [
        ("malformed JSON", {"method": "ping"}, {}, b'{"jsonrpc":', 400, -32700),
        ("duplicate keys", {"method": "tools/list"}, {}, b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}', 400, -32700),
        ("a batch", {"method": "tools/list"}, {}, b"[]", 400, -32600),
        ("a foreign version", {"method": "tools/list"}, {"mcp-protocol-version": "2030-01-01"}, None, 400, -32020),
        ("a method header that lies", {"method": "tools/list"}, {"mcp-method": "tools/call"}, None, 400, -32020),
        ("a name header that lies", {"method": "tools/call", "params": {"name": "echo", "arguments": {}}}, {"mcp-name": "add"}, None, 400, -32020),
        ("a method without a spine", {"method": "resources/list"}, {}, None, 404, -32601),
        ("an unknown method", {"method": "no/such"}, {}, None, 404, -32601),
    ],
)
def test_a_message_that_breaks_the_protocol_has_no_effect(ostiary, alice, name, message, headers, body, status, code):
    before = len(ostiary.ran("lab"))
    got, answer = ostiary.post("lab", message, alice, headers=headers, body=body)
    assert (got, answer["error"]["code"]) == (status, code)
    assert len(ostiary.ran("lab")) == before


def test_a_call_without_a_token_is_challenged(ostiary):
    status, _ = ostiary.call("lab", "echo", {"text": "x"}, None)
    assert status == 401
    assert "resource_metadata=" in ostiary.last_headers["www-authenticate"]


def test_a_token_for_one_server_is_refused_at_another(ostiary):
    token, log = ostiary.token("alice", "lab"), ostiary.newest()
    status, _ = ostiary.call("time", "get_current_time", {"timezone": "UTC"}, token)
    assert status == 401
    ostiary.refusal(log, detail="audience_refused")


def test_a_forged_token_is_refused(ostiary, alice):
    head, payload, signature = alice.split(".")
    forged = ".".join([head, payload, signature[:-4] + ("AAAA" if signature[-4:] != "AAAA" else "BBBB")])
    assert ostiary.call("lab", "echo", {"text": "x"}, forged)[0] == 401


def test_a_token_of_a_configured_issuer_is_believed(ostiary):
    status, body = ostiary.call("lab", "echo", {"text": "bob"}, ostiary.foreign_token())
    assert status == 200 and body["result"]["content"][0]["text"] == "bob"


BAD_TOKENS = {
    "expired": (dict(exp=int(time.time()) - 120, iat=int(time.time()) - 400), "token_expired"),
    "not yet valid": (dict(nbf=int(time.time()) + 3000), "token_not_yet_valid"),
    "without an end": (dict(exp=None), "claim_missing"),
    "for somebody else": (dict(aud="https://other.example"), "audience_refused"),
    "for nobody": (dict(aud=[]), "audience_refused"),
    "of an unknown issuer": (dict(iss="https://evil.example"), "issuer_unknown"),
    "of an unknown key": (dict(header={"kid": "k2"}), "key_unknown"),
    "of another type": (dict(header={"typ": "logout+jwt"}), "type_refused"),
    "with a critical extension": (dict(header={"crit": ["b64"], "b64": True}), "header_forbidden"),
    "signed with a guessable secret": (dict(algorithm="HS256", key="public" * 8), "algorithm_refused"),
    "not signed": (dict(algorithm="none", key=""), "token_malformed"),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_token_is_refused_with_a_precise_reason_on_record_and_none_to_the_stranger(ostiary, name):
    claims, reason = BAD_TOKENS[name]
    before, log = len(ostiary.ran("lab")), ostiary.newest()
    status, body = ostiary.call("lab", "echo", {"text": "x"}, ostiary.foreign_token(**claims))
    assert (status, body) == (401, "")
    assert ostiary.last_headers["www-authenticate"].startswith('Bearer error="invalid_token"')
    ostiary.refusal(log, detail=reason)
    assert len(ostiary.ran("lab")) == before


def test_a_subject_the_directory_does_not_know_is_refused(ostiary):
    log = ostiary.newest()
    assert ostiary.call("lab", "echo", {"text": "x"}, ostiary.foreign_token(sub="eve"))[0] == 401
    ostiary.refusal(log, code="subject_unknown")


def test_an_unknown_server_and_a_stranger_learn_nothing(ostiary):
    assert ostiary.post("nothing-here", {"method": "tools/list"}, None)[0] == 401


def test_a_page_of_another_origin_is_refused(ostiary, alice):
    assert ostiary.call("lab", "echo", {"text": "x"}, alice, headers={"origin": "https://evil.example"})[0] == 403


def test_a_foreign_host_is_refused_and_the_own_names_are_served(ostiary, alice):
    for host, status in (("evil.example", 421), (f"localhost:{ostiary.proxy_port}", 200), ("localhost:1", 421)):
        assert ostiary.call("lab", "echo", {"text": "x"}, alice, headers={"host": host})[0] == status


def test_a_session_id_of_somebody_else_does_not_exist(ostiary, alice):
    def initialize(token):
        ostiary.post(
            "lab",
            {"method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}},
            token,
            modern=False,
        )
        return ostiary.last_headers["mcp-session-id"]

    session = initialize(alice)
    headers = {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
    assert ostiary.post("lab", {"method": "ping"}, alice, headers=headers, modern=False)[0] == 200
    mallory = ostiary.token("mallory", "lab")
    assert ostiary.post("lab", {"method": "ping"}, mallory, headers=headers, modern=False)[0] == 404
    broken = {**headers, "mcp-session-id": session[:-2] + "AA"}
    assert ostiary.post("lab", {"method": "ping"}, alice, headers=broken, modern=False)[0] == 404
    missing = {"mcp-protocol-version": "2025-11-25"}
    assert ostiary.post("lab", {"method": "ping"}, alice, headers=missing, modern=False)[0] == 400


def test_the_resource_metadata_names_the_endpoint(ostiary):
    import urllib.request

    with urllib.request.urlopen(f"{ostiary.url}/.well-known/oauth-protected-resource/s/lab/mcp") as response:
        document = json.load(response)
    assert document["resource"] == ostiary.resource("lab")
