"""What policy answers besides yes and no, through the running proxy: pending, rate limited, step-up; and what a list shows of it."""
import json

import pytest
from installation import wait_for

FACTS = {
    "approvers": ["sre"],
    "counters": [{"name": "echo_subject_1h", "action": "lab/echo", "per": ["subject"], "window": "1h"}],
}
POLICIES = """
@id("AC-3.staff") permit (principal in MCP::Group::"staff", action in MCP::Action::"tools/call", resource);
@id("SC-5.echo-rate") @tier("guard") @limit("echo_subject_1h")
forbid (principal, action == MCP::Action::"lab/echo", resource)
when { context.facts.rate.echo_subject_1h >= 3 };
@id("AC-3.2.add") @tier("guard") @approval("sre:2")
forbid (principal, action == MCP::Action::"lab/add", resource)
unless { context.facts.approvals.sre >= 2 };
@id("IA-11.slow") @tier("guard") @stepup
forbid (principal, action == MCP::Action::"lab/slow", resource)
unless { context.facts.stepUp };
@id("AC-3.never") @tier("absolute")
forbid (principal, action == MCP::Action::"lab/fail", resource)
when { context.input.reason == "never" };
"""


def decision(body):
    return body["result"]["_meta"]["ostiary/decision"]


def text(body):
    return body["result"]["content"][0]["text"]


@pytest.fixture(scope="module")
def outcomes(shared_installation):
    ostiary = shared_installation
    token = ostiary.token("alice", "lab")
    ostiary.write_configuration(
        policies=[
            {"name": "facts.json", "source": json.dumps(FACTS)},
            {"name": "outcomes.cedar", "source": POLICIES},
        ]
    )
    in_force = lambda: "AC-3.2.add" in json.dumps(ostiary.call("lab", "add", {"a": 1, "b": 1}, token)[1])
    wait_for(in_force, "the new policies")
    yield ostiary
    ostiary.write_configuration()
    wait_for(lambda: not in_force(), "the old policies")


def test_a_call_that_needs_approval_is_pending_and_goes_nowhere(outcomes):
    token = outcomes.token("alice", "lab")
    before, log = len(outcomes.ran("lab")), outcomes.newest()
    status, body = outcomes.call("lab", "add", {"a": 1, "b": 2}, token)
    assert status == 200 and body["result"]["isError"] is True
    assert text(body).startswith("Pending") and "2 approvals of sre" in text(body)
    said = decision(body)
    assert said["code"] == "approval_required" and said["answer"] == "requireApproval"
    assert said["cures"] == ["approval sre:2"] and said["retry"] == "afterBackoff"
    assert len(outcomes.ran("lab")) == before
    refusal = outcomes.refusal(log, code="approval_required")
    assert refusal["decision"]["answer"] == "requireApproval"
    assert refusal["decision"]["cures"] == ["approval sre:2"]


def test_a_list_shows_what_needs_approval_and_marks_it(outcomes):
    token = outcomes.token("alice", "lab")
    _, body = outcomes.post("lab", {"method": "tools/list"}, token)
    marks = {tool["name"]: tool.get("_meta", {}).get("ostiary/decision") for tool in body["result"]["tools"]}
    assert marks["add"] == {"cures": ["approval sre:2"]}
    assert marks["slow"] == {"cures": ["stepup"]}
    assert marks["fail"] is None and "echo" in marks


def test_a_call_that_needs_a_fresh_sign_in_says_so(outcomes):
    token = outcomes.token("alice", "lab")
    _, body = outcomes.call("lab", "slow", {"seconds": 0.0}, token)
    assert decision(body)["code"] == "step_up_required" and "Sign in again" in text(body)


def test_a_rate_is_limited_with_the_time_to_wait_and_refusals_do_not_count(outcomes):
    token = outcomes.token("alice", "lab")
    before = len(outcomes.ran("lab"))
    for number in range(3):
        _, body = outcomes.call("lab", "echo", {"text": str(number)}, token)
        assert not body["result"].get("isError"), body
    for _ in range(5):
        status, body = outcomes.call("lab", "echo", {"text": "too many"}, token)
        assert status == 200 and body["result"]["isError"] is True
        said = decision(body)
        assert said["code"] == "rate_limited" and said["policies"] == ["SC-5.echo-rate"]
        # Everything happened within the first step of the window.
        assert 3_500_000 < said["retryAfterMs"] <= 3_660_000
        assert "Retry in" in text(body)
    assert len(outcomes.ran("lab")) == before + 3
    # Per subject: somebody else is not limited by it.
    _, body = outcomes.call("lab", "echo", {"text": "bob"}, outcomes.foreign_token())
    assert not body["result"].get("isError"), body


def test_an_absolute_forbid_is_a_denial(outcomes):
    token = outcomes.token("alice", "lab")
    before = len(outcomes.ran("lab"))
    _, body = outcomes.call("lab", "fail", {"reason": "never"}, token)
    assert decision(body)["code"] == "denied" and decision(body)["policies"] == ["AC-3.never"]
    assert "cures" not in decision(body)
    assert len(outcomes.ran("lab")) == before
