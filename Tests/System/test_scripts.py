"""The newcomer's path: scripts/up, scripts/try, scripts/down."""
import json
import os
import socket
import subprocess
import tempfile

import pytest
from installation import BIN, ROOT, free_ports


class Home:
    def __init__(self, folder):
        self.folder = folder
        self.environment = {
            **os.environ, "OSTIARY_UP_STATE": folder, "OSTIARY_BIN": str(BIN), "OSTIARY_PORT": str(free_ports(7))
        }

    def run(self, script, *arguments, fails=False, **environment):
        done = subprocess.run(
            [ROOT / "scripts" / script, *arguments], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL,
            env={**self.environment, **environment},
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def env(self):
        lines = open(f"{self.folder}/env").read().splitlines()
        return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


@pytest.fixture(scope="module")
def home():
    with tempfile.TemporaryDirectory(prefix="ostiary-up-", ignore_cleanup_errors=True) as folder:
        home = Home(folder)
        try:
            yield home
        finally:
            subprocess.run([ROOT / "scripts/down"], env=home.environment, timeout=120)


def pids(environment):
    return {name: environment[f"OSTIARY_{name}_PID"] for name in ("PROXY", "CONTROL", "POSTGRES")}


def has_ended(pid):
    """Whether there is no such process, or nothing of it but a status that nobody asked for yet."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_up_ends_with_a_working_call_and_again_it_changes_nothing(home):
    said = home.run("up")
    first = home.env()
    assert "Ostiary is up." in said and first["OSTIARY_MCP_URL"] in said
    for name in ("OSTIARY_TOKEN_FILE", "OSTIARY_API_TOKEN_FILE", "OSTIARY_CA_FILE"):
        assert os.path.getsize(first[name]) > 0
    assert "1 notes" in home.run("try", "add_note", '{"text": "hello"}')
    assert "demo.no-mass-deletion" in home.run("try", "delete_notes", '{"everything": true}')
    records = home.run("try", "--records")
    assert "intent" in records and "refusal" in records
    home.run("up")
    assert pids(home.env()) == pids(first)
    assert "hello" in home.run("try", "list_notes")


def test_tls_is_switched_on_and_off_by_restarting_what_it_concerns(home):
    plain = home.env()
    assert "up: restarting proxy" in home.run("up", "--tls")
    secure = home.env()
    assert secure["OSTIARY_MCP_URL"].startswith("https://")
    assert secure["OSTIARY_PROXY_PID"] != plain["OSTIARY_PROXY_PID"]
    assert secure["OSTIARY_API_URL"].startswith("https://")
    assert secure["OSTIARY_POSTGRES_PID"] == plain["OSTIARY_POSTGRES_PID"]
    assert "hello" in home.run("try", "list_notes")
    assert "restarting" not in home.run("up", "--tls")
    assert pids(home.env()) == pids(secure)
    home.run("up")
    assert home.env()["OSTIARY_MCP_URL"] == plain["OSTIARY_MCP_URL"]
    assert "hello" in home.run("try", "list_notes")


def test_down_stops_everything_and_state_survives_it(home):
    before = home.env()
    home.run("down")
    for pid in pids(before).values():
        assert has_ended(pid)
    home.run("down")
    home.run("up")
    assert "hello" in home.run("try", "list_notes")


def test_a_taken_port_is_named_before_anything_is_started():
    with tempfile.TemporaryDirectory(prefix="ostiary-up-") as folder:
        home = Home(folder)
        with socket.create_server(("127.0.0.1", int(home.environment["OSTIARY_PORT"]) + 2)):
            said = home.run("up", fails=True)
        assert f"port {int(home.environment['OSTIARY_PORT']) + 2}, for the control, is taken" in said
        assert not os.path.exists(f"{folder}/postgres")


def test_wrong_arguments_are_answered_with_the_right_ones(home):
    assert "scripts/up --tls" in home.run("up", "--https", fails=True)
    assert "OSTIARY_PORT" in home.run("up", fails=True, OSTIARY_PORT="eighty")
