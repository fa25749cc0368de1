"""The life of a policy from the command line, against a real control plane: two people, a plan, a way back, TLS."""
import json
import os
import subprocess

import pytest
from installation import BIN, Installation, free_port, wait_for


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Control on a database with one empty namespace, which asks for one reviewer."""
    installation = Installation(tmp_path_factory.mktemp("life"))
    try:
        installation.start_bare()
        installation.people = {}
        for name in ("ann", "bob"):
            token = installation.control("api-token", "--role", "administrator", "--name", name).strip()
            file = installation.folder / f"{name}.token"
            file.write_text(token + "\n")
            installation.people[name] = (token, file)
        assert installation.api("POST", "/v1/namespaces", {"name": "demo"}, installation.people["ann"][0])[0] == 201
        yield installation
    finally:
        installation.close()


def ostiary(installation, person, *arguments, **environment):
    environment = {
        **os.environ,
        "OSTIARY_API_URL": f"http://127.0.0.1:{installation.api_port}",
        "OSTIARY_API_TOKEN_FILE": str(installation.people[person][1]),
        **environment,
    }
    return subprocess.run(
        [str(BIN / "ostiary"), "policy", *map(str, arguments)],
        env={name: value for name, value in environment.items() if value is not None},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
    )


def draft(installation, person, source):
    body = {"documents": [{"name": "p.cedar", "source": source}]}
    status, made = installation.api("POST", "/v1/namespaces/demo/releases", body, installation.people[person][0])
    assert status == 201, made
    return made["number"]


def simulate(installation, number):
    """Somebody sees what a release changes."""
    token = installation.people["ann"][0]
    path = f"/v1/namespaces/demo/releases/{number}/simulations"
    assert installation.api("POST", path, {}, token)[0] == 202
    wait_for(lambda: installation.api("GET", path, None, token)[1]["items"][0]["state"] == "finished", "a simulation")


def active(installation):
    _, page = installation.api("GET", "/v1/namespaces/demo/activations?limit=1", None, installation.people["ann"][0])
    return page["items"][0]["release"] if page["items"] else None


POLICY = '@id("AC-3.a") permit (principal in MCP::Group::"a", action in MCP::Action::"tools/call", resource);\n'
OTHER = '@id("AC-3.b") permit (principal in MCP::Group::"b", action in MCP::Action::"tools/call", resource);\n'


def test_two_people_a_plan_and_a_way_back(fresh):
    first = draft(fresh, "ann", POLICY)
    alone = ostiary(fresh, "ann", "activate", first, "--yes")
    assert alone.returncode == 1 and "The release needs more reviews: 0 of 1 people approved it" in alone.stderr
    own = ostiary(fresh, "ann", "review", first, "--approve")
    assert own.returncode == 1 and "Nobody reviews what they made" in own.stderr
    review = ostiary(fresh, "bob", "review", first, "--approve", "--comment", "reads well", "--output", "json")
    assert review.returncode == 0, review.stderr
    assert json.loads(review.stdout)["reviewer"] == "bob" and json.loads(review.stdout)["comment"] == "reads well"

    # Without a person to ask, nothing is done without --yes.
    unasked = ostiary(fresh, "ann", "activate", first)
    assert unasked.returncode == 1 and "say --yes" in unasked.stderr and "+ p.cedar: permit AC-3.a" in unasked.stderr
    assert active(fresh) is None
    done = ostiary(fresh, "ann", "activate", first, "--yes")
    assert done.returncode == 0 and done.stdout == "" and f"release {first} is in force (activation)" in done.stderr
    assert active(fresh) == first
    again = ostiary(fresh, "ann", "activate", first, "--yes")
    assert again.returncode == 1 and "The release is in force" in again.stderr

    second = draft(fresh, "bob", POLICY.replace('"a"', '"c"') + OTHER)
    early = ostiary(fresh, "ann", "rollback", second, "--yes")
    assert early.returncode == 1 and "was not in force before" in early.stderr
    assert ostiary(fresh, "ann", "review", second, "--approve").returncode == 0
    unseen = ostiary(fresh, "bob", "activate", second, "--yes")
    assert unseen.returncode == 1 and "in the way: policy-simulation-missing" in unseen.stderr
    simulate(fresh, second)
    done = ostiary(fresh, "bob", "activate", second, "--yes", "--output", "json")
    assert done.returncode == 0 and json.loads(done.stdout)["kind"] == "activation"
    plan = done.stderr
    assert f"go from release {first} to release {second} (approved)" in plan
    assert "~ p.cedar: permit AC-3.a" in plan and "+ p.cedar: permit AC-3.b" in plan and "1 approval\n" in plan

    back = ostiary(fresh, "ann", "rollback", "--yes")
    assert back.returncode == 0 and f"roll back from release {second} to release {first}" in back.stderr
    assert active(fresh) == first
    table = ostiary(fresh, "ann", "releases")
    rows = [line.split() for line in table.stdout.splitlines()]
    assert rows[0][:2] == ["release", "state"]
    assert [row[:2] for row in rows[1:3]] == [[str(second), "retired"], [str(first), "active"]]
    listed = json.loads(ostiary(fresh, "ann", "releases", "--output", "json", "--limit", "1").stdout)
    assert [item["number"] for item in listed["items"]] == [second]


def test_a_finding_is_printed_with_its_place(fresh):
    number = draft(fresh, "ann", '\n  permit (principal in MCP::Group::"a", action, resource);')
    answer = ostiary(fresh, "bob", "review", number, "--approve")
    assert answer.returncode == 1
    assert "  p.cedar:2:3: id_missing: " in answer.stderr and "(req_" in answer.stderr
    assert ostiary(fresh, "bob", "review", number, "--reject").returncode == 0
    answer = ostiary(fresh, "ann", "activate", number, "--yes")
    assert answer.returncode == 1 and "in the way: policy-rejected" in answer.stderr


def test_what_is_missing_or_refused_is_said(fresh, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("osa_wrong")
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for environment, words in [
        ({"OSTIARY_API_URL": None}, "OSTIARY_API_URL is not set"),
        ({"OSTIARY_API_TOKEN_FILE": None}, "OSTIARY_API_TOKEN_FILE is not set"),
        ({"OSTIARY_API_TOKEN_FILE": "/nowhere"}, "OSTIARY_API_TOKEN_FILE: /nowhere"),
        ({"OSTIARY_API_TOKEN_FILE": str(empty)}, "holds no token"),
        ({"OSTIARY_API_TOKEN_FILE": str(wrong)}, "A valid API token is needed"),
        ({"OSTIARY_API_URL": "ftp://a"}, "not a plain http or https URL"),
        ({"OSTIARY_API_URL": f"http://127.0.0.1:{free_port()}"}, "no connection"),
        # A token in plain text never leaves the machine.
        ({"OSTIARY_API_URL": "http://192.0.2.1:9"}, "is not allowed"),
    ]:
        answer = ostiary(fresh, "ann", "releases", **environment)
        assert answer.returncode == 1 and words in answer.stderr, (environment, answer.stderr)
        assert "osa_" not in answer.stderr + answer.stdout
    for arguments, code in [(["review", "1"], 64), (["review", "1", "--approve", "--reject"], 64), (["activate"], 64),
                            (["releases", "--limit", "0"], 64), (["activate", "99", "--yes"], 1)]:
        assert ostiary(fresh, "ann", *arguments).returncode == code, arguments
    other = fresh.api("POST", "/v1/namespaces", {"name": "other"}, fresh.people["ann"][0])
    assert other[0] in (201, 409)
    assert "which namespace?" in ostiary(fresh, "ann", "releases").stderr
    assert ostiary(fresh, "ann", "releases", OSTIARY_NAMESPACE="demo").returncode == 0
    assert ostiary(fresh, "ann", "releases", "--namespace", "demo").returncode == 0


def test_the_command_line_speaks_tls_to_an_authority_it_is_given(fresh, tmp_path):
    run = lambda *command: subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)  # noqa: E731
    for name in ("ours", "theirs"):
        run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", f"{name}.key", "-out", f"{name}.pem",
        )
        (tmp_path / f"{name}.key").chmod(0o600)
    port, port_file = free_port(), tmp_path / "port"
    fresh.spawn(
        "control-tls", BIN / "ostiary-control", "serve",
        OSTIARY_API_LISTEN=f"127.0.0.1:{port}", OSTIARY_API_PORT_FILE=str(port_file),
        OSTIARY_API_CERTIFICATE_FILE=str(tmp_path / "ours.pem"), OSTIARY_API_KEY_FILE=str(tmp_path / "ours.key"),
        OSTIARY_LINK_LISTEN="127.0.0.1:0", OSTIARY_ENROLMENT_LISTEN="127.0.0.1:0", OSTIARY_ADMIN_LISTEN="127.0.0.1:0",
    )
    try:
        wait_for(lambda: port_file.exists() and port_file.read_text().strip() == str(port), "REST in TLS")
        for host in ("localhost", "127.0.0.1"):
            url = f"https://{host}:{port}"
            for authority, code in (("ours", 0), ("theirs", 1), (None, 1)):
                answer = ostiary(
                    fresh, "ann", "releases", "--namespace", "demo", OSTIARY_API_URL=url,
                    OSTIARY_CA_FILE=authority and str(tmp_path / f"{authority}.pem"),
                )
                assert answer.returncode == code, (host, authority, answer.stderr)
                assert code == 0 or "tls" in answer.stderr
    finally:
        fresh.stop("control-tls")


def test_tools_that_change_are_held_against_the_policies_in_force(fresh):
    """What a proxy would report stands in the database; accepting another definition is REST's."""
    ann = fresh.people["ann"][0]
    assert fresh.api("POST", "/v1/namespaces", {"name": "tools", "policyReviewersRequired": 0}, ann)[0] == 201
    base = "/v1/namespaces/tools"
    assert fresh.api("POST", base + "/servers", {"name": "calc", "url": "http://127.0.0.1:9/mcp"}, ann)[0] == 201

    def report(argument):
        schema = {"properties": {argument: {"type": "integer"}}, "required": [argument], "type": "object"}
        definition = json.dumps({"inputSchema": schema, "name": "add"}, separators=(",", ":"))
        fresh.sql(f"""
            insert into tool_definition (namespace_id, server, tool, digest, canonical)
            select id, 'calc', 'add', sha256('{definition}'), '{definition}' from namespace where name = 'tools'""")
        fresh.sql("""
            insert into tool (namespace_id, server, name)
            select id, 'calc', 'add' from namespace where name = 'tools' on conflict do nothing""")

    def accept(argument):
        path = base + "/servers/calc/tools/add"
        _, tool = fresh.api("GET", path, None, ann)
        (digest,) = [d["digest"] for d in tool["definitions"] if argument in d["definition"]["inputSchema"]["properties"]]
        assert fresh.api("PATCH", path, {"pinnedDigest": digest}, ann, If_Match="*")[0] == 200

    def invalid():
        return fresh.metrics(fresh.control_admin).get("ostiary_policy_invalid")

    report("sum")
    accept("sum")
    source = '@id("sums") @tier("absolute") forbid (principal, action == MCP::Action::"calc/add", resource) unless ' \
             "{ context.input.sum < 1000 };"
    body = {"documents": [{"name": "p.cedar", "source": source}], "activate": True}
    assert fresh.api("POST", base + "/releases", body, ann)[0] == 201
    wait_for(lambda: invalid() == 0, "the first look")
    report("total")
    accept("total")
    wait_for(lambda: invalid() == 1, "the second look")
    wait_for(lambda: "changed tools do not fit" in fresh.log("control"), "the warning")
    (line,) = [json.loads(line) for line in fresh.log("control").splitlines() if "changed tools do not fit" in line]
    assert "sums: invalid" in json.dumps(line) and line["ostiary.namespace"] == "tools", line
    accept("sum")
    wait_for(lambda: invalid() == 0, "the third look")
    wait_for(lambda: "policies in force fit the tools again" in fresh.log("control"), "the all-clear")


def test_releases_of_a_server_are_compared_with_their_layers(fresh):
    ann = fresh.people["ann"][0]
    assert fresh.api("POST", "/v1/namespaces", {"name": "diff", "policyReviewersRequired": 0}, ann)[0] == 201

    def make(layer, source, activate=False):
        document = {"name": "p.cedar", "source": source, **({"layer": layer} if layer else {})}
        body = {"documents": [document], "activate": activate}
        status, made = fresh.api("POST", "/v1/namespaces/diff/releases", body, ann)
        assert status == 201, made
        return made["number"]

    def diff(*arguments):
        return ostiary(fresh, "ann", "diff", "--namespace", "diff", *arguments)

    web = '@id("AC-3.w") permit (principal in MCP::Group::"a", action, resource in MCP::Server::"web");\n'
    team = {"rank": "team", "name": "web", "owned": ['MCP::Server::"web"']}
    first = make(None, web)
    # Nothing is in force: everything is new.
    answer = diff("--release", first)
    assert answer.returncode == 0 and answer.stdout.startswith("added AC-3.w (p.cedar:1)\n"), answer
    assert make(None, web, activate=True) == 2
    assert diff("--release", first).stdout == ""
    third = make(team, web.replace('"a"', '"b"'))
    answer = diff("--release", third)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[:3] == ["changed AC-3.w (p.cedar:1)", "- layer namespace", '+ layer team web (MCP::Server::"web")']
    assert any(line.startswith("- ") and '"a"' in line for line in lines[3:])
    assert any(line.startswith("+ ") and '"b"' in line for line in lines[3:])
    (change,) = json.loads(diff("--release", 2, "--against", third, "--output", "json").stdout)["rules"]["changes"]
    assert change["oldLayer"] == team and change["newLayer"]["rank"] == "namespace"
    plan = ostiary(fresh, "ann", "activate", "--namespace", "diff", third)
    assert '+ p.cedar: layer team web (MCP::Server::"web")' in plan.stderr, plan.stderr
    assert diff("--release", 99).returncode == 1
    for arguments in (["--release", "1", "a.cedar"], ["--against", "1", "a.cedar", "b.cedar"], ["a.cedar", "b.cedar"], []):
        assert diff(*arguments).returncode == 64, arguments
