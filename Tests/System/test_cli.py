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
