"""Layers of policies through the running proxy: a team governs its own server, not another's, and never past the organisation."""
import json

import pytest
from installation import wait_for

RELEASES = "/v1/namespaces/demo/releases"
ORGANISATION = {
    "name": "organisation.cedar",
    "layer": {"rank": "organisation", "name": "acme"},
    "source": """
@id("AC-3.2.add") @tier("guard") @approval("sre:2")
forbid (principal, action == MCP::Action::"lab/add", resource)
unless { context.facts.approvals.sre >= 2 };
""",
}
NAMESPACE = {
    "name": "namespace.cedar",
    "source": '@id("AC-3.time") permit (principal in MCP::Group::"nobody", action, resource in MCP::Server::"time");\n',
}


def team(server, **layer):
    """The document of the team that owns the server "lab", about a server."""
    policy = f'permit (principal in MCP::Group::"staff", action in MCP::Action::"tools/call", resource in MCP::Server::"{server}");'
    return {
        "name": "team.cedar",
        "source": f'// Ours.\n@id("AC-3.team")\n{policy}\n',
        "layer": {"rank": "team", "name": "toolsmiths", "owned": ['MCP::Server::"lab"'], **layer},
    }


def decision(body):
    return body["result"]["_meta"]["ostiary/decision"]


def goes(ostiary, server, tool, arguments):
    """Whether alice's call is carried out; where nothing of a server is permitted it looks as if nothing were there."""
    ran = len(ostiary.ran(server))
    _, body = ostiary.call(server, tool, arguments, ostiary.token("alice", server))
    done = "result" in body and not body["result"].get("isError")
    assert (len(ostiary.ran(server)) > ran) == done, body
    return done


def echo(ostiary):
    return goes(ostiary, "lab", "echo", {"text": "hello"})


def clock(ostiary):
    return goes(ostiary, "time", "get_current_time", {"timezone": "UTC"})


@pytest.fixture(scope="module")
def layers(shared_installation):
    """The organisation's and the namespace's documents in force; nothing permits a call yet."""
    ostiary = shared_installation
    ostiary.administrator = ostiary.api_token()
    status, made = release(ostiary, ORGANISATION, NAMESPACE)
    assert status == 201, made
    wait_for(lambda: not echo(ostiary), "the new policies")
    yield ostiary
    ostiary.write_configuration()
    wait_for(lambda: clock(ostiary), "the old policies")


def release(ostiary, *documents, **more):
    body = {"documents": list(documents), "activate": True, **more}
    return ostiary.api("POST", RELEASES, body, ostiary.administrator)


def test_a_team_governs_its_own_server_and_never_past_the_organisation(layers):
    # 1. Another team's server: refused with its place, and nothing changes.
    count = lambda: len(layers.api("GET", RELEASES + "?limit=500", None, layers.administrator)[1]["items"])  # noqa: E731
    in_force = lambda: layers.api("GET", "/v1/namespaces/demo/activations?limit=1", None, layers.administrator)[1]  # noqa: E731
    trail = lambda: layers.sql("select count(*) from admin_record")  # noqa: E731
    before = (count(), in_force(), trail())
    status, problem = release(layers, team("time"), basedOn="active")
    assert status == 422 and problem["type"] == "/problems/policy-invalid", problem
    assert problem["errors"] == [{
        "pointer": "/documents/0/source", "code": "policy", "document": "team.cedar", "policy": "AC-3.team",
        "line": 2, "column": 1, "detail": 'layer_exceeded: the layer toolsmiths does not own MCP::Server::"time"',
    }]
    assert (count(), in_force(), trail()) == before
    assert not clock(layers) and not echo(layers)

    # 2. Its own: in force through the proxy.
    status, made = release(layers, team("lab"), basedOn="active")
    assert status == 201 and made["state"] == "active", made
    assert {d["name"]: d.get("layer", {}).get("rank") for d in made["documents"]} == {
        "organisation.cedar": "organisation", "namespace.cedar": None, "team.cedar": "team",
    }
    _, signed = layers.api("GET", f"{RELEASES}/{made['number']}/manifest", None, layers.administrator)
    documents = {d["name"]: d.get("layer") for d in json.loads(signed["manifest"])["documents"]}
    assert documents["team.cedar"] == {"name": "toolsmiths", "owned": ['MCP::Server::"lab"'], "rank": "team"}
    assert documents["organisation.cedar"] == {"name": "acme", "rank": "organisation"} and documents["namespace.cedar"] is None

    wait_for(lambda: echo(layers), "the team's permit")
    record = layers.records("kind = 'intent'")[-1]
    assert record["decision"]["determining"] == ["AC-3.team"] and record["decision"]["release"] == made["number"]
    assert not clock(layers)

    # 3. The organisation's guard binds over it, whatever the team writes.
    ran = len(layers.ran("lab"))
    _, body = layers.call("lab", "add", {"a": 1, "b": 2}, layers.token("alice", "lab"))
    assert decision(body)["answer"] == "requireApproval" and decision(body)["policies"] == ["AC-3.2.add"]
    assert len(layers.ran("lab")) == ran

    # 4. A text alone does not take the team's document out of its layer.
    text = {name: value for name, value in team("time").items() if name != "layer"}
    status, problem = release(layers, text, basedOn="active")
    assert status == 422 and problem["errors"][0]["policy"] == "AC-3.team"
    assert layers.problems(layers.proxy_admin) == {}
