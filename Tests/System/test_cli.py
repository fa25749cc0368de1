"""The command line: exit codes, data on standard output, words on standard error."""
import gzip
import json
import shlex
import subprocess

import pytest
from installation import BIN, ROOT

RECORD = {
    "name": "n", "policies": "permit(principal, action, resource);", "entities": [],
    "requests": [{"principal": {"type": "U", "id": "a"}, "action": {"type": "Action", "id": "v"},
                  "resource": {"type": "R", "id": "r"}, "context": {}, "decision": "allow"}],
}


def ostiary(*arguments, stdin=b""):
    return subprocess.run([str(BIN / "ostiary"), *arguments], input=stdin, capture_output=True, timeout=300)


def test_no_words_steer_the_terminal(tmp_path):
    policies, cases = tmp_path / "p.cedar", tmp_path / "p.cases.json"
    policies.write_text('@id("p") permit (principal, action, resource);\n')
    uid = {"type": "U", "id": "a"}
    context = {"system": {"now": {"__extn": {"fn": "datetime", "arg": "2026-11-25T10:00:00Z"}}},
               "facts": {"definitionPinned": True}}
    case = {"description": "\u001b[2J\u009b1m\u202eunseen\u2028", "principal": uid, "action": uid, "resource": uid,
            "context": context, "decision": "allow"}
    cases.write_text(json.dumps({"cases": [case]}))
    for answer in (ostiary("policy", "test", str(policies)), ostiary("policy", "explain", str(policies), "--case", "x")):
        shown = (answer.stdout + answer.stderr).decode()
        assert answer.returncode == 1 and r"\u{1b}[2J\u{9b}1m\u{202e}unseen\u{2028}" in shown, shown
        assert all(character.isprintable() or character == "\n" for character in shown), shown


def test_conformance_counts_what_agrees(tmp_path):
    file = tmp_path / "records.gz"
    file.write_bytes(gzip.compress(json.dumps(RECORD).encode() + b"\n"))
    answer = ostiary("policy", "conformance", "--output", "json", str(file))
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == b""
    total = json.loads(answer.stdout)["total"]
    assert total["checks"] == total["passed"] >= 4


def test_conformance_shows_a_difference_and_fails():
    wrong = json.loads(json.dumps(RECORD))
    wrong["requests"][0]["decision"] = "deny"
    answer = ostiary("policy", "conformance", "-", stdin=json.dumps(wrong).encode())
    assert answer.returncode == 2
    assert b"difference: decision: n request 0: expected deny, is allow" in answer.stderr
    assert answer.stdout.split(b"\n")[0].split() == [b"kind", b"checks", b"passed", b"failed"]


@pytest.mark.parametrize("arguments, code", [
    (["policy", "conformance"], 64),
    (["policy", "conformance", "--every", "0", "-"], 64),
    (["policy", "conformance", "/dev/null"], 1),
    (["policy", "conformance", "/nowhere"], 1),
    (["policy", "nonsense"], 64),
    (["--help"], 0),
])
def test_exit_codes(arguments, code):
    assert ostiary(*arguments).returncode == code


GOOD = "// Who may look.\npermit(principal,action,resource);\n"


def test_check_lists_every_error_with_its_place(tmp_path):
    file = tmp_path / "p.cedar"
    file.write_text('permit(principal, action, resource) when { foo };\npermit(principal, action);\n')
    answer = ostiary("policy", "check", str(file))
    assert answer.returncode == 1
    lines = answer.stdout.decode().splitlines()
    assert lines[0] == f"{file}:1:44: error: there is no variable `foo` [unknown_variable]"
    assert [line for line in lines if ": error: " in line][1].startswith(f"{file}:2:25: error: ")
    answer = ostiary("policy", "check", "--output", "json", str(file))
    assert [f["line"] for f in json.loads(answer.stdout)["findings"]] == [1, 2]


def test_check_is_quiet_about_good_policies_and_refuses_a_bad_schema(tmp_path):
    file, schema = tmp_path / "p.cedar", tmp_path / "s.cedarschema"
    file.write_text(GOOD)
    schema.write_text("entity U in [V];\n")
    answer = ostiary("policy", "check", str(file))
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, b"", b"")
    answer = ostiary("policy", "check", "--schema", str(schema), str(file))
    assert answer.returncode == 1
    assert answer.stdout.decode().startswith(f"{schema}:1:")


def test_format_keeps_comments_and_is_stable(tmp_path):
    file = tmp_path / "p.cedar"
    file.write_text(GOOD)
    assert ostiary("policy", "format", "--check", str(file)).returncode == 1
    assert ostiary("policy", "format", "--write", str(file)).returncode == 0
    assert file.read_text() == "// Who may look.\npermit (principal, action, resource);\n"
    assert ostiary("policy", "format", "--check", str(file)).returncode == 0


def test_policies_go_to_json_and_back():
    as_json = ostiary("policy", "format", "--output", "json", "-", stdin=GOOD.encode())
    assert list(json.loads(as_json.stdout)["staticPolicies"]) == ["policy0"]
    back = ostiary("policy", "format", "-", stdin=as_json.stdout)
    assert back.stdout == b"permit (principal, action, resource);\n"
    bad = ostiary("policy", "check", "-", stdin=b'{"staticPolicies": {"p": {"effect": "allow"}}}')
    assert bad.returncode == 1 and b"standard input:1:" in bad.stdout


SCHEMA = "entity User = {age: Long}; entity Doc; action view appliesTo {principal: [User], resource: [Doc], context: {}};"


def test_check_validates_against_a_schema(tmp_path):
    schema, good, bad = (tmp_path / name for name in ("s.cedarschema", "good.cedar", "bad.cedar"))
    schema.write_text(SCHEMA)
    good.write_text('permit(principal, action == Action::"view", resource) when { principal.age > 17 };\n')
    bad.write_text('permit(principal, action == Action::"view", resource) when { principal.aeg > 17 };\n')
    assert ostiary("policy", "check", "--schema", str(schema), str(good)).returncode == 0
    answer = ostiary("policy", "check", "--schema", str(schema), "--output", "json", str(bad))
    assert answer.returncode == 1
    (finding,) = json.loads(answer.stdout)["findings"]
    assert (finding["line"], finding["severity"], finding["code"]) == (1, "error", "attribute_not_found")
    assert "age" in finding["hint"]


POLICIES = ROOT / "deploy/policies"
EXAMPLE = POLICIES / "example"
REPLAY = ["--inputs", str(EXAMPLE / "inputs.ndjson"), "--entities", str(EXAMPLE / "entities.json")]


def test_policies_are_tested_with_the_cases_beside_them():
    answer = ostiary("policy", "test", str(POLICIES))
    assert (answer.returncode, answer.stdout) == (0, b""), answer.stderr
    passed, _, total = answer.stderr.decode().split()[:3]
    assert passed == total and int(total) > 20
    answer = ostiary("policy", "test", str(POLICIES), "--coverage", "--output", "json")
    report = json.loads(answer.stdout)
    assert (report["cases"], report["failed"], report["failures"], report["findings"]) == (int(total), 0, [], [])
    rules = {rule["policy"]: rule for rule in report["coverage"]["rules"]}
    assert len(rules) == 12 and rules["AC-2.leaver"]["conditionTrue"] == rules["AC-2.leaver"]["determining"] == 2


def test_a_case_that_comes_out_otherwise_is_printed_with_what_differs(tmp_path):
    policies, cases = tmp_path / "p.cedar", tmp_path / "p.cases.json"
    policies.write_text('@id("a") permit(principal == U::"u", action, resource);\n'
                        '@id("f") @tier("absolute") forbid(principal, action == Action::"no", resource);\n')
    context = {"system": {"now": {"__extn": {"fn": "datetime", "arg": "2026-11-25T10:00:00Z"}}},
               "facts": {"definitionPinned": True}}
    case = {"description": "u may", "principal": {"type": "U", "id": "u"}, "action": {"type": "Action", "id": "v"},
            "resource": {"type": "R", "id": "r"}, "context": {"input": {}}, "decision": "deny", "reason": [], "errors": []}
    entities = [{"uid": {"type": t, "id": i}, "attrs": {}, "parents": []} for t, i in (("U", "u"), ("R", "r"))]
    cases.write_text(json.dumps({"entities": entities, "context": context, "cases": [case]}))
    answer = ostiary("policy", "test", str(policies), "--coverage")
    assert answer.returncode == 1
    lines = answer.stdout.decode().splitlines()
    assert lines[0] == f"{cases}: u may"
    assert lines[1].strip() == "decision is allow, not deny"
    assert f"{policies}:2:1: warning: f: add a test that it denies [untested_forbid]" in lines
    assert answer.stderr == b"0 of 1 cases come out as stated\n"
    cases.write_text(cases.read_text().replace('"deny"', '"allow"').replace('"reason": []', '"reason": ["a"]'))
    assert ostiary("policy", "test", str(policies)).returncode == 0
    assert ostiary("policy", "test", str(policies), "--cases", str(cases)).returncode == 0
    (tmp_path / "q.cedar").write_text("permit(principal, action, resource);")
    answer = ostiary("policy", "test", str(tmp_path / "q.cedar"))
    assert answer.returncode == 1 and b"no cases beside the policies" in answer.stderr


def test_a_simulation_counts_what_becomes_of_recorded_answers():
    answer = ostiary("policy", "simulate", str(POLICIES), *REPLAY)
    assert (answer.returncode, answer.stderr) == (0, b"")
    assert answer.stdout.startswith(b"12 inputs, 12 decided, 6 answered otherwise, 1 becomes permit\n")
    answer = ostiary("policy", "simulate", str(POLICIES), *REPLAY, "--output", "json", "--coverage")
    report = json.loads(answer.stdout)
    transitions = {(t["from"], t["to"]): t["count"] for t in report["transitions"]}
    assert transitions == {("permit", "permit"): 4, ("permit", "rateLimited"): 1, ("permit", "requireApproval"): 2,
                           ("permit", "deny"): 2, ("deny", "permit"): 1, ("deny", "deny"): 2}
    assert (report["total"], report["changed"], report["widening"], report["undecided"]) == (12, 6, 1, [])
    group = report["groups"][0]
    assert (group["baseline"], group["candidate"]) == (["AC-3.sre-k8s"], ["AC-3.2.cluster-admin"])
    assert [example["reference"] for example in group["examples"]] == ["call-3", "call-5"]
    assert "fidelity" not in report and report["coverage"]["decisions"] == 11
    against = ostiary("policy", "simulate", str(POLICIES), *REPLAY, "--output", "json",
                      "--against", str(POLICIES / "sre-kubernetes.cedar"))
    assert json.loads(against.stdout)["fidelity"] == {"agreed": 12, "differed": 0, "incomparable": 0, "examples": []}


def test_a_simulation_of_several_chunks_is_merged_in_the_order_of_the_lines():
    lines = (EXAMPLE / "inputs.ndjson").read_bytes() * 250  # more than one task takes
    answer = ostiary("policy", "simulate", str(POLICIES), "--inputs", "-", *REPLAY[2:], "--output", "json", stdin=lines)
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert (report["total"], report["changed"], report["widening"]) == (3000, 1500, 250)
    assert [group["count"] for group in report["groups"]] == [500, 250, 250, 250, 250]
    assert [e["reference"] for e in report["groups"][0]["examples"]] == ["call-3", "call-5"] * 2 + ["call-3"]


def test_a_line_that_is_no_input_is_told_and_counted(tmp_path):
    file = tmp_path / "inputs.ndjson"
    good = (EXAMPLE / "inputs.ndjson").read_text().splitlines()
    file.write_text("\n".join([good[0], "{", good[1].replace('"client"', '"klient"'), "", good[2]]))
    answer = ostiary("policy", "simulate", str(POLICIES), "--inputs", str(file), *REPLAY[2:], "--output", "json")
    assert answer.returncode == 1
    told = answer.stderr.decode().splitlines()
    assert told[0].startswith(f"{file}:2: ") and "unexpectedEnd" in told[0]
    assert told[1:] == [f"{file}:3: /klient: no such member"]
    report = json.loads(answer.stdout)
    assert report["undecided"] == [{"reason": "unreadable", "count": 2}] and report["decided"] == 2


def test_two_versions_differ_by_rules_and_by_answers():
    same = ostiary("policy", "diff", str(POLICIES), str(POLICIES))
    assert (same.returncode, same.stdout, same.stderr) == (0, b"", b"")
    old, new = POLICIES / "dual-authorization.cedar", EXAMPLE / "dual-authorization.cedar"
    lines = ostiary("policy", "diff", str(old), str(new)).stdout.decode().splitlines()
    assert lines[0] == f"changed AC-3.2.cluster-admin ({new}:2)"
    assert '- @approval("sre:2")' in lines and '+ @approval("sre:3")' in lines and '  @tier("guard")' in lines
    answer = ostiary("policy", "diff", str(POLICIES / "sre-kubernetes.cedar"), str(POLICIES), *REPLAY, "--output", "json")
    report = json.loads(answer.stdout)
    assert {change["change"] for change in report["rules"]["changes"]} == {"added"}
    assert report["rules"]["unchanged"] == 1 and report["decisions"]["widening"] == 1


def test_a_decision_is_explained_down_to_the_part_that_decided():
    answer = ostiary("policy", "explain", str(POLICIES), "--case", "without the runbook it stops")
    assert answer.returncode == 0, answer.stderr
    text = answer.stdout.decode()
    assert text.startswith('deny: MCP::User::"alice" MCP::Action::"k8s/delete_pod" MCP::Tool::"k8s/delete_pod"\n'
                           "  stopped by CM-3.runbook-first\n")
    assert "context.facts.history.runbook_read_1h is false" in text
    answer = ostiary("policy", "explain", str(POLICIES), *REPLAY, "--reference", "call-5", "--output", "json")
    explanation = json.loads(answer.stdout)
    assert explanation["decision"]["answer"] == "requireApproval"
    assert explanation["cured"]["cures"] == ["approval sre:2"]
    assert explanation["cured"]["decision"]["answer"] == "permit"
    first = explanation["policies"][0]
    assert (first["policy"], first["result"], first["determining"]) == ("AC-3.2.cluster-admin", "applies", True)
    unknown = ostiary("policy", "explain", str(POLICIES), "--case", "nobody wrote this")
    assert unknown.returncode == 1 and b"with it it passes" in unknown.stderr


@pytest.mark.parametrize("arguments, code", [
    (["policy", "test"], 64),
    (["policy", "test", "/nowhere"], 1),
    (["policy", "test", "/dev/null", "--cases", "/nowhere"], 1),
    (["policy", "simulate", str(POLICIES), "--inputs", "-"], 64),
    (["policy", "simulate", str(POLICIES), "--inputs", "-", "--entities", "/nowhere"], 1),
    (["policy", "explain", str(POLICIES)], 64),
    (["policy", "explain", str(POLICIES), "--case", "a", "--inputs", "-"], 64),
    (["policy", "diff", str(POLICIES)], 64),
    (["policy", "diff", str(POLICIES), str(POLICIES), "--inputs", "-"], 64),
])
def test_exit_codes_of_the_life_of_policies(arguments, code):
    assert ostiary(*arguments).returncode == code


def test_the_examples_in_the_help_of_the_life_of_policies_work(monkeypatch):
    monkeypatch.chdir(ROOT)
    for verb in ("test", "explain", "simulate", "diff"):
        text = " ".join(ostiary("policy", verb, "--help").stdout.decode().split())
        example = text.split("Example: ostiary ")[1].split(" USAGE:")[0]
        answer = ostiary(*shlex.split(example))
        assert answer.returncode == 0, (example, answer.stderr)


def test_quick_prints_the_policies_that_rules_are():
    rules = b"rules:\n  - id: a\n    allow: {groups: [sre], tools: [k8s/get_pods]}\n"
    answer = ostiary("policy", "quick", "-", stdin=rules)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == (
        b'@id("a")\npermit (principal in MCP::Group::"sre", action == MCP::Action::"k8s/get_pods", resource);\n'
    )
    answer = ostiary("policy", "quick", "-", stdin=rules.replace(b"allow", b"alow"))
    assert answer.returncode == 1
    assert answer.stdout == b""
    assert answer.stderr == b"standard input:3:5: error: alow: no such member\n"


LAYERS = {"layers": [
    {"rank": "organisation", "name": "acme", "documents": ["org.cedar", "facts.json"]},
    {"rank": "team", "name": "web", "owned": ['MCP::Server::"web"'], "documents": ["web.cedar"]},
]}


def layered(folder, server="web", layers=LAYERS):
    """Policies of an organisation and a team, with a case, and whose each file is."""
    folder.mkdir(exist_ok=True)
    (folder / "org.cedar").write_text('@id("org") @tier("absolute") forbid(principal == U::"v", action, resource);\n')
    (folder / "web.cedar").write_text(
        f'// The team\'s.\n@id("web") permit(principal == U::"u", action, resource in MCP::Server::"{server}");\n')
    (folder / "facts.json").write_text("{}")
    if layers is not None:
        (folder / "layers.json").write_text(json.dumps(layers))
    uid = lambda kind, name: {"type": kind, "id": name}  # noqa: E731
    entities = [{"uid": uid(*names), "attrs": {}, "parents": []} for names in (("U", "u"), ("U", "v"), ("MCP::Server", server))]
    context = {"system": {"now": {"__extn": {"fn": "datetime", "arg": "2026-11-25T10:00:00Z"}}},
               "facts": {"definitionPinned": True}}
    case = {"description": "u may", "principal": uid("U", "u"), "action": uid("Action", "v"),
            "resource": uid("MCP::Server", server), "context": {"input": {}}, "decision": "allow", "reason": ["web"], "errors": []}
    (folder / "all.cases.json").write_text(json.dumps({"entities": entities, "context": context, "cases": [case]}))
    return folder


def test_a_file_that_reaches_beyond_its_layer_is_refused_wherever_it_is_compiled(tmp_path):
    good, bad = layered(tmp_path / "good"), layered(tmp_path / "bad", "db")
    assert ostiary("policy", "test", str(good)).returncode == 0
    assert ostiary("policy", "test", *map(str, sorted(good.iterdir()))).returncode == 0
    assert ostiary("policy", "check", str(good / "web.cedar"), str(good / "org.cedar")).returncode == 0
    words = f'{bad}/web.cedar:2:1: error: the layer web does not own MCP::Server::"db"'
    cases = ["--cases", str(bad / "all.cases.json")]
    for arguments in (["test", str(bad)], ["test", str(bad / "web.cedar"), *cases], ["diff", str(good), str(bad)],
                      ["explain", str(bad), "--case", "u may"], ["simulate", str(bad), *REPLAY],
                      ["simulate", str(POLICIES), *REPLAY, "--against", str(bad)]):
        answer = ostiary("policy", *arguments)
        assert answer.returncode == 1 and words in answer.stderr.decode(), (arguments, answer)
    answer = ostiary("policy", "check", str(bad / "web.cedar"))
    assert answer.returncode == 1 and answer.stdout.decode() == words + " [layer_exceeded]\n"
    (finding,) = json.loads(ostiary("policy", "check", "--output", "json", str(bad / "web.cedar")).stdout)["findings"]
    assert (finding["policy"], finding["line"], finding["code"]) == ("web", 2, "layer_exceeded")
    # Without the file the same policies are the namespace's own.
    (bad / "layers.json").unlink()
    assert ostiary("policy", "test", str(bad)).returncode == 0
    answer = ostiary("policy", "diff", str(good), str(bad))
    lines = answer.stdout.decode().splitlines()
    at = lines.index(f"changed web ({bad}/web.cedar:2)")
    assert lines[at + 1 : at + 3] == ['- layer team web (MCP::Server::"web")', "+ layer namespace"], answer


def test_layers_of_files_are_read_strictly(tmp_path):
    team = LAYERS["layers"][1]
    for number, (layers, words) in enumerate([
        ({"layers": [{**team, "documents": ["wbe.cedar"]}]}, ": wbe.cedar is not in this folder"),
        ({"layers": [{**team, "documents": ["../web.cedar"]}]}, ": must be the name of a file in this folder"),
        ({"layers": [team, team]}, ": web.cedar is named twice"),
        ({"layers": [{**team, "rank": "tribe"}]}, ": rank: must be one of organisation, namespace, team"),
        ({"layers": [{key: team[key] for key in ("rank", "name", "documents")}]}, ": owned: a team says what it owns"),
        ({"layers": [{**team, "owns": []}]}, ": owns: no such member"),
        ({"layers": [{**team, "documents": ["web.cedar", "facts.json"]}]},
         "facts.json:1:1: error: the layer web owns only something, and facts are everybody's"),
    ]):
        folder = layered(tmp_path / str(number), layers=layers)
        answer = ostiary("policy", "test", str(folder))
        assert answer.returncode == 1 and words in answer.stderr.decode(), answer
        if "error:" not in words:
            assert f"{folder}/layers.json:1:" in answer.stderr.decode()
            assert words in ostiary("policy", "check", str(folder / "org.cedar")).stderr.decode()
