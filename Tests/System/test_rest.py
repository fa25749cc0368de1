"""Administration over REST, with real processes: the documented calls, TLS, and a probe driven by the OpenAPI document."""
import contextlib
import errno
import json
import os
import re
import socket
import subprocess
import sys

import pytest
from installation import BIN, ROOT, Installation, free_port, wait_for


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Control on an empty database."""
    installation = Installation(tmp_path_factory.mktemp("rest"))
    try:
        installation.start_bare()
        yield installation
    finally:
        installation.close()


@pytest.fixture(scope="module")
def admin(fresh):
    return fresh.api_token()


def documented_calls():
    text = (ROOT / "docs/getting-started.md").read_text()
    return re.search(r"```bash\n(.*?)```", text, re.S).group(1)


def test_the_documented_calls_put_ostiary_in_front_of_a_server(fresh, admin, tmp_path):
    # What scripts/up has done before: a namespace, and a proxy that enrolled.
    status, _ = fresh.api("POST", "/v1/namespaces", {"name": "demo", "trustOnFirstUse": True, "policyReviewersRequired": 0}, admin)
    assert status == 201
    status, made = fresh.api("POST", "/v1/namespaces/demo/enrolment-tokens", {"proxy": "demo-1"}, admin)
    assert status == 201
    fresh.enrol(made["token"])
    fresh.start_proxy()
    fresh.start_server("mine", "lab")

    (tmp_path / ".ostiary").mkdir()
    token_file = tmp_path / ".ostiary/api-token"
    token_file.write_text(admin + "\n")
    (tmp_path / ".ostiary/env").write_text(
        f"OSTIARY_MCP_URL={fresh.resource('demo')}\nOSTIARY_API_URL=http://127.0.0.1:{fresh.api_port}\n"
        f"OSTIARY_API_TOKEN_FILE={token_file}\n"
    )
    calls = documented_calls()
    assert calls.count("\npost ") == 3, "three calls, as promised"
    theirs = "mine=http://127.0.0.1:9000/mcp"
    assert theirs in calls
    calls = calls.replace(theirs, f"mine={fresh.server_url('mine')}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", calls], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    token = (tmp_path / "mine.token").read_text().strip()

    def called():
        status, body = fresh.call("mine", "echo", {"text": "mine"}, token)
        return status == 200 and "result" in body and not body["result"].get("isError") and body

    body = wait_for(called, "a governed call")
    assert body["result"]["content"][0]["text"] == "mine"
    assert fresh.ran("mine")[-1]["text"] == "mine"
    status, page = fresh.api("GET", "/v1/namespaces/demo/records?kind=intent&server=mine&tool=echo", None, admin)
    assert status == 200 and page["items"]
    assert page["items"][-1]["record"]["decision"]["determining"] == ["mine.staff"]
    # Every step is on record, and no secret is.
    status, trail = fresh.api("GET", "/v1/admin-records?namespace=demo", None, admin)
    operations = [record["operation"] for record in trail["items"]]
    assert operations == [
        "createNamespace", "createEnrolmentToken", "createServer", "createRelease", "createDevelopmentToken",
    ]
    assert token not in json.dumps(trail) and made["token"] not in json.dumps(trail)


def test_no_token_is_in_the_logs(fresh, admin):
    assert fresh.api("GET", "/v1/namespaces", None, admin + "x")[0] == 401
    wait_for(lambda: "an administrative request was refused" in fresh.log("control"), "the line")
    log = fresh.log("control")
    assert admin not in log and "osa_" not in log


def test_a_revoked_release_of_policy_is_felt_by_the_next_call(fresh, admin):
    """Activation and rollback reach the proxy."""
    token = fresh.api(
        "POST",
        "/v1/namespaces/demo/development-tokens",
        {"subject": "ann", "audience": fresh.resource("mine")},
        admin,
    )[1]["token"]

    def allowed():
        status, body = fresh.call("mine", "echo", {"text": "x"}, token)
        return status == 200 and "result" in body and not body["result"].get("isError")

    assert allowed()
    closed = {"documents": [{"name": "none.cedar", "source": '@id("none") @tier("absolute") forbid (principal, action, resource);'}], "activate": True}
    status, release = fresh.api("POST", "/v1/namespaces/demo/releases", closed, admin)
    assert status == 201
    wait_for(lambda: not allowed(), "the new release")
    status, _ = fresh.api("POST", "/v1/namespaces/demo/activations", {"release": release["number"] - 1}, admin)
    assert status == 201
    wait_for(allowed, "the old release")


def test_requests_are_measured_by_route_and_never_by_what_a_caller_invents(fresh, admin):
    for path in ("/v1/namespaces/demo", "/v1/namespaces/invented", "/v1/invented"):
        fresh.api("GET", path, None, admin)
    metrics = "\n".join(fresh.metrics(fresh.control_admin))
    assert 'http_route="/v1/namespaces/{namespace}"' in metrics and 'http_route="_OTHER"' in metrics
    assert "invented" not in metrics


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v1/namespaces HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"a" * 40000 + b"\r\n\r\n",
        b"GET /v1/namespaces HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v1/namespaces HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ],
    ids=["a huge field", "two lengths", "no target", "TLS to a plain port", "a huge target", "an impossible length"],
)
def test_what_is_no_request_is_refused_and_serves_nobody(fresh, request_bytes):
    with socket.create_connection(("127.0.0.1", fresh.api_port), 10) as s:
        s.settimeout(90)
        answer = b""
        try:
            s.sendall(request_bytes)
            s.shutdown(socket.SHUT_WR)
            while piece := s.recv(65536):
                answer += piece
        except OSError as error:
            assert error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN), error
    assert not answer or re.match(rb"HTTP/1\.1 4\d\d ", answer), answer[:80]
    assert fresh.api("GET", "/v1/openapi.json")[0] == 200


def test_an_endless_body_is_cut_off(fresh, admin):
    with socket.create_connection(("127.0.0.1", fresh.api_port), 10) as s:
        head = (
            "POST /v1/namespaces HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {admin}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        s.sendall(head.encode())
        s.settimeout(90)
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(2000):
                s.sendall(chunk)
    assert fresh.api("GET", "/v1/openapi.json")[0] == 200


def test_limits_that_are_reached_are_counted(fresh, admin):
    def reached():
        series = fresh.metrics(fresh.control_admin)
        limits = ["body_bytes", "target_bytes", "head_bytes", "page_items", "errors", "connections"]
        counts = {f"rest_{name}": series.get(f'ostiary_limit_reached_total{{ostiary_limit="rest_{name}"}}', 0) for name in limits}
        return counts | {"json": series.get('ostiary_limit_reached_total{ostiary_limit="json"}', 0)}

    before = reached()
    assert fresh.api("POST", "/v1/namespaces", {"name": " " * (1 << 20)}, admin)[0] == 413
    assert fresh.api("GET", "/v1/namespaces?cursor=" + "a" * 8192, None, admin)[0] == 400
    assert fresh.api("GET", "/v1/namespaces", None, admin, X_Long="a" * 20_000)[0] == 400
    assert fresh.api("GET", "/v1/namespaces?limit=501", None, admin)[0] == 400
    assert fresh.api("GET", "/v1/namespaces?limit=0", None, admin)[0] == 400
    assert fresh.api("POST", "/v1/namespaces", {f"no{n}": 1 for n in range(200)}, admin)[0] == 422
    deep = json.loads("[" * 20 + "]" * 20)
    assert fresh.api("POST", "/v1/namespaces", {"name": deep}, admin)[0] == 400
    with contextlib.ExitStack() as stack:
        for _ in range(512):
            stack.enter_context(socket.create_connection(("127.0.0.1", fresh.api_port), 60))
        wait_for(lambda: reached()["rest_connections"] > before["rest_connections"], "the count")
        open_now = fresh.metrics(fresh.control_admin)['ostiary_listener_connections{ostiary_listener="api"}']
        assert open_now == 512
    wait_for(lambda: fresh.api("GET", "/v1/openapi.json")[0] == 200, "another connection")
    assert {name: count - before[name] for name, count in reached().items()} == dict.fromkeys(before, 1)


def test_with_a_certificate_rest_speaks_tls_and_nothing_else(fresh, admin, tmp_path):
    run = lambda *command: subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)  # noqa: E731
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout", "key.pem", "-out", "certificate.pem",
    )
    (tmp_path / "key.pem").chmod(0o600)
    port = free_port()
    port_file = tmp_path / "port"
    fresh.spawn(
        "control-tls", BIN / "ostiary-control", "serve",
        OSTIARY_API_LISTEN=f"127.0.0.1:{port}",
        OSTIARY_API_CERTIFICATE_FILE=str(tmp_path / "certificate.pem"),
        OSTIARY_API_KEY_FILE=str(tmp_path / "key.pem"),
        OSTIARY_API_PORT_FILE=str(port_file),
        OSTIARY_LINK_LISTEN="127.0.0.1:0",
        OSTIARY_ENROLMENT_LISTEN="127.0.0.1:0",
        OSTIARY_ADMIN_LISTEN="127.0.0.1:0",
    )
    try:
        wait_for(lambda: port_file.exists() and port_file.read_text().strip() == str(port), "REST in TLS")
        token = tmp_path / "token"
        token.write_text(f"Authorization: Bearer {admin}")

        def curl(url, *arguments):
            return subprocess.run(
                ["curl", "-sS", "--max-time", "60", "-H", f"@{token}", *arguments, url], capture_output=True, text=True
            )

        good = curl(f"https://localhost:{port}/v1/namespaces", "--cacert", str(tmp_path / "certificate.pem"))
        assert good.returncode == 0 and "items" in json.loads(good.stdout), good.stderr
        large = curl(
            f"https://localhost:{port}/v1/namespaces", "--cacert", str(tmp_path / "certificate.pem"),
            "-H", "Content-Type: application/json", "-d", " " * 100_000 + '{"name": "tls"}',
        )
        assert json.loads(large.stdout).get("name") == "tls", large.stdout + large.stderr
        assert curl(f"https://localhost:{port}/v1/namespaces").returncode != 0, "an unknown authority"
        assert curl(f"http://localhost:{port}/v1/namespaces").returncode != 0, "plain text"
    finally:
        fresh.stop("control-tls")


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"OSTIARY_API_LISTEN": "0.0.0.0:0"}, "OSTIARY_API_LISTEN"),
        ({"OSTIARY_API_LISTEN": "nowhere"}, "OSTIARY_API_LISTEN"),
        ({"OSTIARY_API_KEY_FILE": "/dev/null"}, "OSTIARY_API_KEY_FILE"),
        ({"OSTIARY_API_CERTIFICATE_FILE": "/dev/null"}, "OSTIARY_API_KEY_FILE"),
        ({"OSTIARY_DEVELOPMENT_TOKENS": "yes"}, "OSTIARY_DEVELOPMENT_TOKENS"),
    ],
    ids=["plain text on every interface", "no address", "a key alone", "a certificate alone", "neither true nor false"],
)
def test_control_does_not_start_on_settings_that_are_wrong(fresh, settings, named):
    done = subprocess.run(
        [BIN / "ostiary-control", "serve"],
        env={**fresh.environment, **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0 and named in done.stderr


def test_a_client_made_of_the_document_finds_no_contradiction(fresh, admin, tmp_path):
    """schemathesis sends what the document allows, and what it does not, and holds the answers against it."""
    fresh.api("POST", "/v1/namespaces", {"name": "demo"}, admin)
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{fresh.api_port}/v1/openapi.json",
            "-H", f"Authorization: Bearer {admin}",
            "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            "--max-examples", os.environ.get("OSTIARY_API_EXAMPLES", "8"),
            "--phases", "examples,coverage,fuzzing",
            "--seed", "1", "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    log = fresh.log("control")
    assert "internal-error" not in log, [line for line in log.splitlines() if "internal-error" in line][-3:]
