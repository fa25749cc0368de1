"""Real processes: a private PostgreSQL, ostiary-control, ostiary-proxy, MCP servers. Everything on free loopback ports, in one
temporary folder, stopped by process id."""
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("OSTIARY_BIN", ROOT / ".build/debug"))
PYTHON_LEGACY = os.environ.get("OSTIARY_PYTHON_LEGACY", str(ROOT / ".venv-legacy/bin/python"))

POLICIES = """
@id("AC-3.staff") permit (principal in MCP::Group::"staff", action in MCP::Action::"tools/call", resource);
@id("AC-6.no-delete") @tier("absolute") forbid (principal, action, resource == MCP::Tool::"lab/delete_everything");
@id("AC-3.small-sums") @tier("guard") forbid (principal, action == MCP::Action::"lab/add", resource)
  unless { context.input.a < 1000 };
"""


GIVEN = set()


def free_ports(count):
    """The first of so many ports in a row, given once. The kernel gives them to no connection and to no listener on port 0: one that
    is free now stays so until its process starts, and while it is restarted."""
    low, high = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    firsts = [*range(10_000, low - count), *range(high + 1, 65_536 - count)] or range(10_000, 65_536 - count)
    for first in random.sample(firsts, len(firsts)):
        ports = range(first, first + count)
        if GIVEN.isdisjoint(ports) and all(map(is_free, ports)):
            GIVEN.update(ports)
            return first
    raise AssertionError("no ports are free")


def is_free(port):
    with socket.socket() as s, contextlib.suppress(OSError):
        s.bind(("127.0.0.1", port))
        return True
    return False


def free_port():
    return free_ports(1)


def wait_for(condition, what, seconds=120):
    """What a condition brings, once it holds. The bound is for what hangs, not for what a slow machine takes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, subprocess.CalledProcessError, json.JSONDecodeError):
            found = condition()
            if found:
                return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come in {seconds} s")


class Installation:
    """One Ostiary, from an empty folder."""

    def __init__(self, folder, tls=False, **environment):
        self.folder = pathlib.Path(folder)
        self.processes = {}
        self.servers = {}
        self.tls = None
        self.environment = dict(os.environ, OSTIARY_LOG_LEVEL="info", **environment)
        self.control_admin, self.proxy_admin = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        if tls:
            subprocess.run([ROOT / "scripts/certificates", self.folder / "tls"], check=True, timeout=60)
            self.authority = self.folder / "tls/authority.pem"
            self.tls = ssl.create_default_context(cafile=self.authority)

    # -- processes --

    def spawn(self, name, *command, **environment):
        log = open(self.folder / f"{name}.log", "ab")
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**self.environment, **environment},
        )
        log.close()
        self.processes[name] = process
        return process

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self, name, how=signal.SIGTERM, seconds=120):
        process = self.processes.pop(name, None)
        if process and process.poll() is None:
            process.send_signal(how)
            process.wait(seconds)
        return process

    def listening(self, name, port):
        """Until a process that was spawned takes connections. One that ended says why."""

        def taken():
            assert self.processes[name].poll() is None, f"{name} ended:\n{self.log(name)[-3000:]}"
            return socket.create_connection(("127.0.0.1", port), 10).close() or True

        wait_for(taken, name)

    def control(self, *arguments):
        done = subprocess.run(
            [str(BIN / "ostiary-control"), *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, program, *arguments, **environment):
        """What a process says that must not start."""
        done = subprocess.run(
            [str(BIN / program), *map(str, arguments)],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode > 0, (done.returncode, done.stderr)
        return done.stderr

    # -- life --

    def start(self, only=None, policies=POLICIES):
        self.policies = policies
        self.start_database()
        for name in ("lab", "time") if only is None else ():
            self.start_server(name, name)
        self.write_configuration()
        self.start_control()
        self.enrol()
        self.start_proxy()
        if only is None:
            self.wait_ready()

    def start_bare(self):
        """Control alone, on a database without a namespace."""
        self.start_database()
        self.start_control()

    def start_database(self):
        self.prepare()
        self.control("migrate")

    def prepare(self):
        """An empty database, and the settings of everything that will run."""
        postgres = self.folder / "postgres"
        subprocess.run([ROOT / "scripts/postgres", "start", postgres], check=True, timeout=120)
        url = self.database_url("postgres")
        (self.folder / "control").mkdir(mode=0o700)
        key = self.folder / "key"
        key.write_text(os.urandom(32).hex())
        key.chmod(0o600)
        self.link_port, self.enrolment_port, self.api_port = free_port(), free_port(), free_port()
        self.environment.update(
            OSTIARY_DATABASE_URL=self.database_url("ostiary_app"),
            OSTIARY_MIGRATION_DATABASE_URL=url,
            OSTIARY_KEY_FILE=str(key),
            OSTIARY_LINK_LISTEN=f"127.0.0.1:{self.link_port}",
            OSTIARY_ENROLMENT_LISTEN=f"127.0.0.1:{self.enrolment_port}",
            OSTIARY_API_LISTEN=f"127.0.0.1:{self.api_port}",
            OSTIARY_DEVELOPMENT_TOKENS="true",
            OSTIARY_STATE_DIRECTORY=str(self.folder / "control"),
            OSTIARY_MIGRATIONS=str(ROOT / "migrations"),
        )
        self.database = url

    def database_url(self, role):
        command = [ROOT / "scripts/postgres", "url", self.folder / "postgres", "postgres", role]
        return subprocess.check_output(command, text=True).strip()

    def start_server(self, name, kind=None, python=sys.executable):
        kind, port, python = self.servers.get(name, (kind, free_port(), python))
        self.servers[name] = (kind, port, python)
        self.spawn(f"server-{name}", python, ROOT / "Tests/System/servers.py", kind, port, self.folder / f"{name}.ran")
        self.listening(f"server-{name}", port)

    def server_url(self, name):
        return f"http://127.0.0.1:{self.servers[name][1]}/mcp"

    def write_configuration(self, **changes):
        from cryptography.hazmat.primitives.asymmetric import ec
        from jwt.algorithms import ECAlgorithm

        # A foreign issuer, as any OIDC provider would be: its public key is configured, its tokens are made here.
        self.issuer_key = getattr(self, "issuer_key", None) or ec.generate_private_key(ec.SECP256R1())
        key = json.loads(ECAlgorithm.to_jwk(self.issuer_key.public_key()))
        key.update(kid="k1", alg="ES256", use="sig")
        document = {
            "namespace": "demo",
            "trustOnFirstUse": True,
            "policyReviewersRequired": 0,
            "identityProviders": [
                {"developmentIssuer": True},
                {
                    "issuer": "https://idp.example",
                    "jwks": {"keys": [key]},
                    "algorithms": ["ES256"],
                    "tokenTypes": ["at+jwt", "JWT"],
                },
            ],
            "subjects": [
                {"id": "sub_alice", "issuer": "urn:ostiary:development", "name": "alice", "groups": ["staff"]},
                {"id": "sub_mallory", "issuer": "urn:ostiary:development", "name": "mallory", "groups": []},
                {"id": "sub_bob", "issuer": "https://idp.example", "name": "bob", "groups": ["staff"]},
            ],
            "servers": [{"name": name, "url": self.server_url(name)} for name in self.servers],
            "policies": [{"name": "demo.cedar", "source": self.policies}],
            **changes,
        }
        file = self.folder / "configuration.json"
        file.write_text(json.dumps(document))
        self.control("import", file)

    def start_control(self):
        listen = self.control_admin.removeprefix("http://")
        self.spawn("control", BIN / "ostiary-control", "serve", OSTIARY_ADMIN_LISTEN=listen)
        for port in (self.link_port, self.api_port):
            self.listening("control", port)

    def enrol(self, token=None):
        self.state = self.folder / "proxy"
        self.state.mkdir(mode=0o700, exist_ok=True)
        file = self.folder / "enrolment-token"
        file.touch(mode=0o600)
        file.write_text(token or self.control("enrolment-token", "--namespace", "demo", "--instance", "demo-1"))

    def start_proxy(self, **environment):
        self.proxy_port = getattr(self, "proxy_port", None) or free_port()
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self.proxy_port}"
        if self.tls:
            environment.setdefault("OSTIARY_TLS_CERTIFICATE_FILE", str(self.folder / "tls/listener.pem"))
            environment.setdefault("OSTIARY_TLS_KEY_FILE", str(self.folder / "tls/listener.key"))
        environment.setdefault("OSTIARY_ADMIN_LISTEN", self.proxy_admin.removeprefix("http://"))
        self.spawn(
            "proxy",
            BIN / "ostiary-proxy",
            OSTIARY_LISTEN=f"127.0.0.1:{self.proxy_port}",
            OSTIARY_CONTROL_ADDRESS=f"127.0.0.1:{self.link_port}",
            OSTIARY_STATE_DIRECTORY=str(self.state),
            OSTIARY_ENROLMENT_ADDRESS=f"127.0.0.1:{self.enrolment_port}",
            OSTIARY_ENROLMENT_TOKEN_FILE=str(self.folder / "enrolment-token"),
            OSTIARY_AUTHORITY_FILE=str(self.folder / "control/authority.pem"),
            OSTIARY_PUBLIC_URL=self.url,
            **environment,
        )

    def wait_ready(self, server="lab", tool="echo"):
        """Until a list shows a pinned tool: configuration, link, catalogue and pins are all there."""
        token = self.token("alice", server)

        def listed():
            status, body = self.post(server, {"method": "tools/list"}, token)
            return status == 200 and any(t["name"] == tool for t in body["result"]["tools"])

        wait_for(listed, f"tool {tool} of {server}")

    def api_token(self, role="administrator", *arguments):
        return self.control("api-token", "--role", role, "--name", "tests", *arguments).strip()

    def api(self, method, path, body=None, token=None, **fields):
        """One request of the REST interface; answers status and JSON body."""
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api_port}{path}", data, headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                status, raw = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, raw = error.code, error.read()
        return status, json.loads(raw) if raw else None

    def close(self):
        for name in list(self.processes):
            with contextlib.suppress(Exception):
                self.stop(name, signal.SIGKILL)
        subprocess.run([ROOT / "scripts/postgres", "discard", self.folder / "postgres"], timeout=120)

    # -- use --

    def resource(self, server):
        return f"{self.url}/s/{server}/mcp"

    def token(self, subject, server, ttl=3600):
        return self.control(
            "development-token", "--namespace", "demo", "--subject", subject,
            "--audience", self.resource(server), "--ttl", ttl,
        ).strip()

    def foreign_token(self, server="lab", header=None, key=None, algorithm="ES256", **claims):
        """A token of the foreign issuer for bob, with whatever is to be wrong with it."""
        import jwt

        now = int(time.time())
        payload = {
            "iss": "https://idp.example",
            "sub": "bob",
            "aud": self.resource(server),
            "client_id": "agent",
            "jti": os.urandom(8).hex(),
            "iat": now,
            "exp": now + 300,
            **claims,
        }
        payload = {name: value for name, value in payload.items() if value is not None}
        head = {"kid": "k1", "typ": "at+jwt", **(header or {})}
        return jwt.encode(payload, self.issuer_key if key is None else key or None, algorithm=algorithm, headers=head)

    def post(self, server, message, token, headers=None, modern=True, body=None):
        """One hand-made message; answers status and JSON body (or text).

        An answer that takes more than two seconds comes as a stream, on a slow machine any: its last message is the body then, as a
        client reads it. What came as bytes is in `last_text`."""
        message = {"jsonrpc": "2.0", "id": 1, **message}
        fields = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if token:
            fields["authorization"] = f"Bearer {token}"
        if modern:
            params = message.setdefault("params", {})
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                **params.get("_meta", {}),
            }
            fields["mcp-protocol-version"] = "2026-07-28"
            fields["mcp-method"] = message["method"]
            if message["method"] == "tools/call":
                fields["mcp-name"] = params.get("name", "")
        fields.update(headers or {})
        data = body if body is not None else json.dumps(message).encode()
        request = urllib.request.Request(self.resource(server), data, fields)
        try:
            with urllib.request.urlopen(request, timeout=120, context=self.tls) as response:
                status, raw, self.last_headers = response.status, response.read(), response.headers
        except urllib.error.HTTPError as error:
            status, raw, self.last_headers = error.code, error.read(), error.headers
        self.last_text = raw.decode(errors="replace")
        text = self.last_text
        if self.last_headers.get("content-type") == "text/event-stream":
            text = next((line[6:] for line in reversed(text.splitlines()) if line.startswith("data: ")), text)
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def call(self, server, tool, arguments, token, **more):
        return self.post(server, {"method": "tools/call", "params": {"name": tool, "arguments": arguments}}, token, **more)

    def serves(self, token, server="lab", tool="echo", arguments={"text": "x"}):
        """Whether a call is carried now, whatever stops it when it is not."""
        status, body = self.call(server, tool, arguments, token)
        return status == 200 and isinstance(body, dict) and "result" in body and not body["result"].get("isError")

    def probe(self, url):
        """Status and body of what an admin listener says; JSON as such."""
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                status, raw = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, raw = error.code, error.read()
        try:
            return status, json.loads(raw)
        except ValueError:
            return status, raw.decode()

    def problems(self, url):
        """What an admin listener says is wrong, by check."""
        _, report = self.probe(f"{url}/readyz")
        return {check["name"]: check["reason"] for check in report["checks"] if check["status"] == "fail"}

    def metrics(self, url):
        """All series of a process, by name and attributes as they stand in the text."""
        _, text = self.probe(f"{url}/metrics")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def ran(self, server):
        """What the server executed, by its own word."""
        file = self.folder / f"{server}.ran"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def sql(self, query):
        done = subprocess.run(
            ["psql", "-At", "-F", "\t", self.database, "-c", query], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    def records(self, where="true"):
        rows = self.sql(f"select convert_from(body, 'UTF8') from record where {where} order by position")
        return [json.loads(row[0]) for row in rows]

    def newest(self):
        """Where the log stands: what is recorded from here on comes after it."""
        return int(self.sql("select coalesce(max(position), 0) from record")[0][0])

    def refusal(self, after, **wanted):
        """The refusal with these members that came after a place in the log. Nothing waits for refusals: they come soon."""

        def found():
            return [r for r in self.records(f"kind = 'refusal' and position > {after}") if wanted.items() <= r.items()]

        return wait_for(found, f"a refusal with {wanted}")[-1]

    def last_outcome(self):
        """End and code of the newest intent's outcome. An intent is there before its call is answered, its outcome soon after."""
        intent = self.records("kind = 'intent'")[-1]

        def found():
            return self.sql(
                "select c.outcome, coalesce(r.code, '') from call_outcome c join record r on (r.instance, r.epoch, r.kind, r.n) = "
                "(c.outcome_instance, c.outcome_epoch, 'outcome', c.outcome_n) "
                f"where c.instance = '{intent['instance']}' and c.epoch = {intent['epoch']} and c.intent_n = {intent['n']} "
                "and not r.annotation"
            )

        return tuple(wait_for(found, "the outcome")[-1])
