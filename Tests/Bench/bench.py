"""Measures a fresh Ostiary (release build, 100 policies, durability on) beside nginx and Envoy in one run. See scripts/bench."""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("OSTIARY_SHARED", ROOT.parent / "shared"))
sys.path.insert(0, str(ROOT / "Tests/System"))
from installation import Installation  # noqa: E402

POLICIES = '@id("bench.staff") permit (principal in MCP::Group::"staff", action, resource in MCP::Server::"bench");\n' + "".join(
    f'@id("bench.other-{i}") forbid (principal in MCP::Group::"group-{i}", action, resource) '
    f'when {{ context.input has namespace && context.input.namespace == "ns-{i}" }};\n'
    for i in range(99)
)


def memory(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0


def main():
    peers = [sys.executable, SHARED / "bench/peers.py"]
    with tempfile.TemporaryDirectory(prefix="ostiary-bench-", ignore_cleanup_errors=True) as folder:
        ostiary = Installation(folder)
        ostiary.environment["OSTIARY_LOG_LEVEL"] = "warning"
        ostiary.servers["bench"] = ("stub", 9100, None)
        stub = subprocess.Popen([*peers, "--upstream-only"], stdout=subprocess.PIPE)
        try:
            stub.stdout.readline()
            time.sleep(0.5)
            ostiary.start(only=["bench"], policies=POLICIES)
            ostiary.wait_ready("bench", "kubectl_get")
            token = ostiary.folder / "token"
            token.write_text(ostiary.token("alice", "bench", 36_000))
            stub.terminate()
            stub.wait()
            proxy = ostiary.processes["proxy"].pid
            control = ostiary.processes["control"].pid
            postgres = (ostiary.folder / "postgres/data/postmaster.pid").read_text().split()[0]
            print(f"memory before: proxy {memory(proxy):.0f} MB, control {memory(control):.0f} MB", flush=True)
            target = f"ostiary={ostiary.resource('bench')},{token},{proxy},{control}+{postgres}"
            subprocess.run([*peers, *sys.argv[1:], target], check=True)
            print(f"memory after: proxy {memory(proxy):.0f} MB, control {memory(control):.0f} MB")
            intents = ostiary.sql("select count(*) from record where kind = 'intent'")[0][0]
            outcomes = ostiary.sql("select count(*) from call_outcome where outcome = 'succeeded'")[0][0]
            print(f"on record: {intents} intents, {outcomes} succeeded")
        finally:
            stub.kill()
            ostiary.close()


main()
