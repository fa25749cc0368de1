"""The command line: exit codes, data on standard output, words on standard error."""
import gzip
import json
import subprocess

import pytest
from installation import BIN

RECORD = {
    "name": "n", "policies": "permit(principal, action, resource);", "entities": [],
    "requests": [{"principal": {"type": "U", "id": "a"}, "action": {"type": "Action", "id": "v"},
                  "resource": {"type": "R", "id": "r"}, "context": {}, "decision": "allow"}],
}


def ostiary(*arguments, stdin=b""):
    return subprocess.run([str(BIN / "ostiary"), *arguments], input=stdin, capture_output=True, timeout=60)


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
