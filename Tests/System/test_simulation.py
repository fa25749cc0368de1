"""What a release would answer: recorded through the proxy, asked again by control; a release in shadow; the yes to what widens."""
import datetime
import json
import os
import subprocess

import pytest
from installation import BIN, POLICIES, wait_for

BASE = "/v1/namespaces/demo"
# Sums above 1,000 are let through, and nobody may fail any more.
WIDER = """
@id("AC-3.staff") permit (principal in MCP::Group::"staff", action in MCP::Action::"tools/call", resource);
@id("AC-6.no-delete") @tier("absolute") forbid (principal, action, resource == MCP::Tool::"lab/delete_everything");
@id("AC-3.small-sums") @tier("absolute") forbid (principal, action == MCP::Action::"lab/add", resource)
  unless { context.input.a < 1000000 };
@id("AC-3.no-failing") @tier("absolute") forbid (principal, action == MCP::Action::"lab/fail", resource);
"""


@pytest.fixture(scope="module")
def simulated(shared_installation):
    ostiary = shared_installation
    ostiary.write_configuration()
    ostiary.administrator = ostiary.api_token()
    yield ostiary
    ostiary.write_configuration()
    token = ostiary.token("alice", "lab")
    wait_for(lambda: denied(ostiary.call("lab", "add", {"a": 5000, "b": 1}, token)), "the old policies")


def api(ostiary, method, path, body=None, **fields):
    return ostiary.api(method, BASE + path, body, ostiary.administrator, **fields)


def denied(answer):
    status, body = answer
    return status == 200 and body.get("result", {}).get("isError") and "AC-3.small-sums" in json.dumps(body)


def release(ostiary, source):
    status, made = api(ostiary, "POST", "/releases", {"documents": [{"name": "demo.cedar", "source": source}]})
    assert status == 201, made
    return made["number"]


def active(ostiary):
    return api(ostiary, "GET", "/activations?limit=1")[1]["items"][0]["release"]


def simulate(ostiary, number, **body):
    status, made = api(ostiary, "POST", f"/releases/{number}/simulations", body)
    assert status == 202 and made["state"] == "queued", made
    path = f"/releases/{number}/simulations/{made['id']}"

    def ended():
        row = api(ostiary, "GET", path)[1]
        return row if row["state"] in ("finished", "failed") else None

    row = wait_for(ended, "the report")
    assert row["state"] == "finished", row
    return row["report"]


def transitions(report):
    return {(t["from"], t["to"]): t["count"] for t in report["transitions"]}


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_a_draft_that_widens_is_seen_before_and_accepted_by_name(simulated):
    token = simulated.token("alice", "lab")
    since, log = now(), simulated.newest()
    for a in (1, 2, 3):
        assert not denied(simulated.call("lab", "add", {"a": a, "b": 1}, token))
    for a in (5000, 6000):
        assert denied(simulated.call("lab", "add", {"a": a, "b": 1}, token))
    simulated.call("lab", "fail", {"reason": "x"}, token)
    made = f"position > {log} and kind in ('intent', 'refusal') and tool in ('add', 'fail')"
    wait_for(lambda: len(simulated.records(made)) >= 6, "the records")

    before = active(simulated)
    number = release(simulated, WIDER)
    report = simulate(simulated, number, **{"from": since})
    assert report["release"] == number and report["against"] == before
    assert transitions(report) == {("permit", "permit"): 3, ("deny", "permit"): 2, ("permit", "deny"): 1}
    assert report["undecided"] == [] and report["widening"] == 2 and report["truncated"] is False
    assert report["fidelity"]["agreed"] == 6 and report["fidelity"]["differed"] == 0
    widened = next(group for group in report["groups"] if group["to"] == "permit")
    assert widened["baseline"] == ["AC-3.small-sums"] and widened["candidate"] == ["AC-3.staff"]
    assert len(widened["examples"]) == 2
    example = widened["examples"][0]
    assert example["principal"] == {"type": "MCP::User", "id": "sub_alice"}
    # The example leads to its record, which keeps the arguments to itself.
    status, record = api(simulated, "GET", f"/records/{example['reference']}")
    assert status == 200 and record["record"]["kind"] == "refusal"
    assert "6000" not in json.dumps(report) and "6000" not in json.dumps(record)
    narrowed = next(group for group in report["groups"] if group["to"] == "deny")
    assert narrowed["candidate"] == ["AC-3.no-failing"]
    live = {policy["policy"]: policy["determining"] for policy in report["live"]["policies"]}
    assert live == {"AC-3.staff": 4, "AC-6.no-delete": 0, "AC-3.small-sums": 2}

    status, problem = api(simulated, "POST", "/activations", {"release": number})
    assert status == 409 and problem["type"] == "/problems/policy-widening", problem
    assert "2 recorded calls" in problem["detail"]
    assert active(simulated) == before
    status, made = api(simulated, "POST", "/activations", {"release": number, "acceptsWidening": True})
    assert status == 201 and made["acceptsWidening"] is True, made
    wait_for(lambda: not denied(simulated.call("lab", "add", {"a": 5000, "b": 1}, token)), "the new release")
    # The way back is open.
    status, made = api(simulated, "POST", "/activations", {"release": before})
    assert status == 201 and made["kind"] == "rollback" and made["acceptsWidening"] is False, made
    wait_for(lambda: denied(simulated.call("lab", "add", {"a": 5000, "b": 1}, token)), "the old release")


def test_a_release_in_shadow_answers_beside_and_is_never_enforced(simulated):
    token = simulated.token("alice", "lab")
    number = release(simulated, WIDER + "// in shadow\n")
    assert api(simulated, "GET", "/shadow")[0] == 404
    status, shadow = api(simulated, "PUT", f"/releases/{number}/shadow")
    assert status == 200 and shadow["release"] == number, shadow
    assert api(simulated, "PUT", f"/releases/{number}/shadow") == (200, shadow)
    assert api(simulated, "GET", "/shadow") == (200, shadow)
    assert api(simulated, "GET", f"/releases/{number}")[1]["state"] == "shadow"
    other = release(simulated, WIDER + "// another\n")
    status, problem = api(simulated, "PUT", f"/releases/{other}/shadow")
    assert status == 409 and problem["type"] == "/problems/in-use", problem
    assert api(simulated, "DELETE", f"/releases/{other}/shadow")[0] == 404

    def seen():
        simulated.call("lab", "fail", {"reason": "x"}, token)
        return any("shadow" in record for record in simulated.records("kind = 'intent' and tool = 'fail'"))

    wait_for(seen, "a record with a shadow")
    # The shadow says no, the call goes on, and the record has both.
    intent = simulated.records("kind = 'intent' and tool = 'fail'")[-1]
    assert intent["decision"]["answer"] == "permit" and intent["decision"]["release"] == active(simulated)
    assert intent["shadow"] == {
        "release": number, "answer": "deny", "ground": "policy", "determining": ["AC-3.no-failing"],
    }
    # The shadow says yes, and the call is stopped all the same.
    assert denied(simulated.call("lab", "add", {"a": 7000, "b": 1}, token))
    wait_for(lambda: "shadow" in simulated.records("kind = 'refusal' and tool = 'add'")[-1], "the refusal")
    refusal = simulated.records("kind = 'refusal' and tool = 'add'")[-1]
    assert refusal["decision"]["answer"] == "deny" and refusal["shadow"]["answer"] == "permit"
    assert refusal["parts"][0]["name"] == "arguments"

    report = simulate(simulated, number, kind="shadow")
    assert report["widening"] == 1 and transitions(report)[("deny", "permit")] == 1
    assert transitions(report)[("permit", "deny")] >= 1
    status, problem = api(simulated, "POST", "/activations", {"release": number})
    assert status == 409 and problem["type"] == "/problems/policy-widening", problem

    assert api(simulated, "DELETE", f"/releases/{number}/shadow")[0] == 204
    assert api(simulated, "GET", "/shadow")[0] == 404

    def gone():
        simulated.call("lab", "fail", {"reason": "x"}, token)
        return "shadow" not in simulated.records("kind = 'intent' and tool = 'fail'")[-1]

    wait_for(gone, "a record without a shadow")


def test_a_rate_and_its_reading_are_on_record(simulated):
    token = simulated.token("alice", "lab")
    facts = {"counters": [{"name": "echo_1h", "action": "lab/echo", "per": ["subject"], "window": "1h"}]}
    simulated.write_configuration(
        policies=[
            {"name": "facts.json", "source": json.dumps(facts)},
            {"name": "demo.cedar", "source": POLICIES},
        ]
    )

    def counted():
        simulated.call("lab", "echo", {"text": "x"}, token)
        facts = simulated.records("kind = 'intent' and tool = 'echo'")[-1].get("facts")
        return facts and facts["rates"]["echo_1h"] >= 2

    wait_for(counted, "a record with the counter")
    since = now()
    simulated.call("lab", "echo", {"text": "x"}, token)
    # A candidate that reads the counter is asked with what the counter said.
    limited = POLICIES + """
@id("SC-5.echo") @tier("guard") @limit("echo_1h")
forbid (principal, action == MCP::Action::"lab/echo", resource) when { context.facts.rate.echo_1h >= 2 };
"""
    status, made = api(
        simulated, "POST", "/releases",
        {"documents": [{"name": "demo.cedar", "source": limited}], "basedOn": "active"},
    )
    assert status == 201, made
    report = simulate(simulated, made["number"], **{"from": since})
    assert transitions(report) == {("permit", "rateLimited"): 1}, report


def test_the_command_line_shows_what_a_server_found_and_accepts_it_by_name(simulated):
    token = simulated.token("alice", "lab")
    simulated.write_configuration()
    wait_for(lambda: denied(simulated.call("lab", "add", {"a": 5000, "b": 1}, token)), "the policies")
    file = simulated.folder / "administrator.token"
    file.write_text(simulated.administrator + "\n")
    environment = {
        **os.environ, "OSTIARY_API_URL": f"http://127.0.0.1:{simulated.api_port}",
        "OSTIARY_API_TOKEN_FILE": str(file), "OSTIARY_NAMESPACE": "demo",
    }

    def ostiary(*arguments):
        return subprocess.run(
            [str(BIN / "ostiary"), "policy", *map(str, arguments)],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        )

    number = release(simulated, WIDER + "// from the command line\n")
    done = ostiary("simulate", "--release", number)
    assert done.returncode == 0, done.stderr
    assert "deny→permit: AC-3.small-sums → AC-3.staff" in done.stdout and "sub_alice lab/add" in done.stdout
    # Words, progress among them, are not data.
    assert f"release {number} against {active(simulated)}" in done.stderr and "--accept-widening" in done.stderr
    report = json.loads(ostiary("simulate", "--release", number, "--output", "json").stdout)
    assert report["widening"] > 0 and report["release"] == number
    refused = ostiary("activate", number, "--yes")
    assert refused.returncode == 1 and "allows what was not allowed" in refused.stderr, refused.stderr
    done = ostiary("activate", number, "--yes", "--accept-widening")
    assert done.returncode == 0, done.stderr
    assert active(simulated) == number
    assert ostiary("rollback", "--yes").returncode == 0
    assert ostiary("simulate", "--release", 99999).returncode == 1
    assert ostiary("simulate").returncode == 64


def test_what_cannot_be_simulated_says_why(simulated):
    number = active(simulated)
    status, problem = api(simulated, "POST", f"/releases/{number}/simulations", {"against": 99999})
    assert status == 422 and problem["errors"][0]["pointer"] == "/against", problem
    status, problem = api(
        simulated, "POST", f"/releases/{number}/simulations",
        {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
    )
    assert status == 422 and problem["errors"][0]["code"] == "combination", problem
    assert api(simulated, "POST", "/releases/99999/simulations", {})[0] == 404
    assert api(simulated, "GET", f"/releases/{number}/simulations/sim_none")[0] == 404
