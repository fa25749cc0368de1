"""Measures a fresh Ostiary (release build, 100 policies, durability on). See scripts/bench.

    bench.py [--only PART[,PART...]] [options of ../shared/bench/peers.py]

The parts, in this order:
    peers     calls/s and CPU per call beside nginx and Envoy, one after another in the same run, each on one pinned core
    latency   what the gateway adds at 900 calls/s, every intent committed: against the server asked directly
    memory    of the proxy with 1,000 sessions on as many connections, then with 10,000, and after 50,000 sessions
    change    from the start of the command that changes the policies until a caller sees it
    replay    simulations by control over 200,000 calls that went through the proxy before: decisions a second, CPU a decision
"""
import argparse
import http.client
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("OSTIARY_SHARED", ROOT.parent / "shared"))
sys.path[:0] = [str(ROOT / "Tests/System"), str(SHARED / "bench")]
import peers  # noqa: E402
from installation import Installation  # noqa: E402

PERMIT = '@id("bench.staff") permit (principal in MCP::Group::"staff", action, resource in MCP::Server::"bench");\n'
POLICIES = PERMIT + "".join(
    f'@id("bench.other-{i}") @tier("absolute") '
    f'forbid (principal in MCP::Group::"group-{i}", action in MCP::Action::"tools/call", resource) '
    f'when {{ context.input has namespace && context.input.namespace == "ns-{i}" }};\n'
    for i in range(99)
)
HIDE = '@id("bench.hide") @tier("absolute") forbid (principal, action, resource == MCP::Tool::"bench/kubectl_get");\n'
INITIALIZE = {
    "jsonrpc": "2.0", "id": 0, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}},
}


def memory(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0


def quantile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


class Bench:
    def __init__(self, folder):
        self.ostiary = Installation(folder)
        self.ostiary.environment["OSTIARY_LOG_LEVEL"] = "warning"
        self.ostiary.servers["bench"] = ("stub", 9100, None)
        self.stub = None

    def start(self):
        self.start_stub()
        self.ostiary.start(only=["bench"], policies=POLICIES)
        self.ostiary.wait_ready("bench", "kubectl_get")
        self.token = self.ostiary.token("alice", "bench", 36_000)
        (self.ostiary.folder / "token").write_text(self.token)
        self.url = self.ostiary.resource("bench")
        self.proxy = self.ostiary.processes["proxy"].pid
        self.control = self.ostiary.processes["control"].pid
        self.postgres = int((self.ostiary.folder / "postgres/data/postmaster.pid").read_text().split()[0])

    def start_stub(self):
        self.stub = subprocess.Popen([sys.executable, SHARED / "bench/peers.py", "--upstream-only"], stdout=subprocess.PIPE)
        self.stub.stdout.readline()
        time.sleep(0.5)

    def stop_stub(self):
        if self.stub:
            self.stub.terminate()
            self.stub.wait()
            self.stub = None

    def close(self):
        self.stop_stub()
        self.ostiary.close()

    # -- parts --

    def peers(self, options):
        """The comparison starts the stub itself."""
        self.stop_stub()
        target = f"ostiary={self.url},{self.ostiary.folder / 'token'},{self.proxy},{self.control}+{self.postgres}"
        try:
            subprocess.run([sys.executable, SHARED / "bench/peers.py", *options, target], check=True)
        finally:
            self.start_stub()
        intents = self.ostiary.sql("select count(*) from record where kind = 'intent'")[0][0]
        outcomes = self.ostiary.sql("select count(*) from call_outcome where outcome = 'succeeded'")[0][0]
        print(f"on record: {intents} intents, {outcomes} succeeded; memory of the proxy {memory(self.proxy):.0f} MB", flush=True)

    def build_load(self):
        load = self.ostiary.folder / "load"
        subprocess.run(["gcc", "-O2", "-o", load, ROOT / "Tests/Bench/load.c"], check=True)
        return load

    def latency(self, rate=900, seconds=10):
        load = self.build_load()
        body = json.dumps(peers.CALL, separators=(",", ":"))
        head = "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n" \
            "accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n{}content-length: {}\r\n\r\n{}"
        session = peers.session(self.url, self.token)
        credentials = f"authorization: Bearer {self.token}\r\nmcp-session-id: {session}\r\n"
        found = {}
        for name, port, path, fields in (
            ("direct", 9100, "/mcp", ""),
            ("gateway", self.ostiary.proxy_port, "/s/bench/mcp", credentials),
        ):
            request = self.ostiary.folder / f"request-{name}"
            request.write_bytes(head.format(path, f"127.0.0.1:{port}", fields, len(body), body).encode())
            for duration in (2, seconds):  # The first warms up.
                done = subprocess.check_output(
                    [load, "127.0.0.1", str(port), request, "32", str(rate), str(duration)], text=True
                )
            calls, bad, p50, p90, p99, longest = map(int, done.split())
            assert bad == 0, f"{bad} of {calls} answers were refusals"
            found[name] = (p50, p99)
            print(f"latency at {rate}/s, {name}: p50 {p50} us, p90 {p90} us, p99 {p99} us, longest {longest} us", flush=True)
        added = [g - d for g, d in zip(found["gateway"], found["direct"])]
        print(f"added latency at {rate}/s, committed: p50 {added[0]} us, p99 {added[1]} us", flush=True)

    def memory(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        resource.prlimit(self.proxy, resource.RLIMIT_NOFILE, (hard, hard))
        print(f"memory of the proxy, at the start: {memory(self.proxy):.0f} MB", flush=True)
        connections = []
        for count in (1_000, 10_000):
            count = min(count, hard - 1_000)
            while len(connections) < count:
                connections.append(self.open_session())
            print(f"memory of the proxy, {count} sessions on as many connections: {memory(self.proxy):.0f} MB", flush=True)
        sessions = len(connections)
        for connection in connections:
            connection.close()
        connection = http.client.HTTPConnection("127.0.0.1", self.ostiary.proxy_port)
        while sessions < 50_000:
            self.open_session(connection)
            sessions += 1
        print(f"memory of the proxy, after {sessions} sessions: {memory(self.proxy):.0f} MB", flush=True)

    def open_session(self, connection=None):
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.ostiary.proxy_port)
        fields = {"content-type": "application/json", "accept": "application/json, text/event-stream",
                  "authorization": f"Bearer {self.token}"}
        connection.request("POST", "/s/bench/mcp", json.dumps(INITIALIZE), fields)
        response = connection.getresponse()
        response.read()
        assert response.status == 200 and response.headers["mcp-session-id"], response.status
        return connection

    def change(self, count=50):
        """Forbids a tool and permits it again; the list of tools shows it."""
        waits = []
        for number in range(count):
            hidden = number % 2 == 0
            self.ostiary.policies = HIDE + POLICIES if hidden else POLICIES
            started = time.monotonic()
            self.ostiary.write_configuration()

            def seen():
                status, body = self.ostiary.post("bench", {"method": "tools/list"}, self.token)
                return status == 200 and any(t["name"] == "kubectl_get" for t in body["result"]["tools"]) != hidden

            while not seen():
                assert time.monotonic() - started < 10, "a change was not seen in ten seconds"
                time.sleep(0.002)
            waits.append((time.monotonic() - started) * 1000)
        print(
            f"configuration change, command to caller, {count} times: p50 {quantile(waits, 0.5):.0f} ms, "
            f"p99 {quantile(waits, 0.99):.0f} ms",
            flush=True,
        )


    def replay(self, calls=200_000, rate=2_000):
        load = self.build_load()
        body = json.dumps(peers.CALL, separators=(",", ":"))
        session = peers.session(self.url, self.token)
        request = self.ostiary.folder / "request-replay"
        request.write_bytes(
            (
                f"POST /s/bench/mcp HTTP/1.1\r\nhost: 127.0.0.1:{self.ostiary.proxy_port}\r\n"
                "content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
                f"mcp-protocol-version: 2025-11-25\r\nauthorization: Bearer {self.token}\r\n"
                f"mcp-session-id: {session}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
            ).encode()
        )
        count = lambda: int(self.ostiary.sql("select count(*) from record where kind = 'intent'")[0][0])
        while (recorded := count()) < calls:
            seconds = min(30, max(1, (calls - recorded) // rate))
            command = [load, "127.0.0.1", str(self.ostiary.proxy_port), request, "64", str(rate), str(seconds)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        administrator = self.ostiary.api_token()
        base = "/v1/namespaces/demo/releases"

        def api(method, path, body=None):
            status, answer = self.ostiary.api(method, path, body, administrator)
            assert status < 300, answer
            return answer

        documents = [{"name": "demo.cedar", "source": HIDE + POLICIES}]
        number = api("POST", base, {"documents": documents})["number"]
        for _ in range(3):
            before = [processor_seconds(pid) for pid in (self.control, self.postgres)]
            started = time.monotonic()
            path = f"{base}/{number}/simulations"
            path += "/" + api("POST", path, {"limit": 10_000_000})["id"]
            while (row := api("GET", path))["state"] in ("queued", "running"):
                time.sleep(0.1)
            took = time.monotonic() - started
            control, postgres = (
                after - earlier
                for after, earlier in zip((processor_seconds(pid) for pid in (self.control, self.postgres)), before)
            )
            report = row["report"]
            assert report["decided"] == recorded and report["changed"] == recorded, row
            print(
                f"replay: {recorded} recorded decisions under two releases in {took:.1f} s, {recorded / took:.0f}/s; "
                f"CPU {control / recorded * 1e6:.0f} us of control and {postgres / recorded * 1e6:.0f} us of PostgreSQL each",
                flush=True,
            )


def processor_seconds(pid):
    """Of a process and the ones it has ended or still has as children: PostgreSQL works in children."""
    total = 0
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.name) == pid:
            total += sum(map(int, fields[11:15]))
        elif int(fields[1]) == pid:
            total += sum(map(int, fields[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="peers,latency,memory,change,replay", help="parts, separated by commas")
    mine, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="ostiary-bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(folder)
        try:
            bench.start()
            for part in mine.only.split(","):
                if part == "peers":
                    bench.peers(options)
                else:
                    getattr(bench, part)()
        finally:
            bench.close()


main()
