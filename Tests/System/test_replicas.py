"""Several control processes on one database, from the first migration on."""
import concurrent.futures
import os
import socket
import subprocess
import tempfile

import pytest
from installation import BIN, ROOT, Installation, free_port, wait_for


@pytest.fixture(scope="module")
def installation():
    with tempfile.TemporaryDirectory(prefix="ostiary-", ignore_cleanup_errors=True) as folder:
        installation = Installation(folder)
        try:
            installation.prepare()
            yield installation
        finally:
            installation.close()


def run(installation, *arguments, **environment):
    return subprocess.run(
        [BIN / "ostiary-control", *arguments], env={**installation.environment, **environment}, capture_output=True,
        text=True, timeout=120,
    )


def test_serving_before_migrating_is_refused_with_a_reason(installation):
    done = run(installation, "serve", OSTIARY_DATABASE_URL=installation.database)
    assert done.returncode != 0
    assert "run ostiary-control migrate first" in done.stderr


def test_replicas_that_migrate_and_serve_at_once_become_one_installation(installation):
    count = 5
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        done = list(pool.map(lambda _: run(installation, "migrate", OSTIARY_LOG_LEVEL="warning"), range(count)))
    assert [one.returncode for one in done] == [0] * count, [one.stderr for one in done]
    # One of them did everything, the others found nothing left to do.
    steps = len(list((ROOT / "migrations").glob("*.sql")))
    assert sorted(len(one.stdout.split()) for one in done) == [0] * (count - 1) + [steps]

    ports = [free_port() for _ in range(count)]
    for n, port in enumerate(ports):
        folder = installation.folder / f"control-{n}"
        folder.mkdir(mode=0o700)
        installation.spawn(
            f"control-{n}", BIN / "ostiary-control", "serve", OSTIARY_LINK_LISTEN=f"127.0.0.1:{port}",
            OSTIARY_ENROLMENT_LISTEN="127.0.0.1:0", OSTIARY_STATE_DIRECTORY=str(folder),
        )
    for port in ports:
        wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close() or True, "a replica")
    for name in ("authority.pem", "snapshot-key.pem"):
        assert len({(installation.folder / f"control-{n}" / name).read_text() for n in range(count)}) == 1
    assert installation.sql("select count(*), count(distinct purpose) from installation_key") == [["3", "3"]]
    for n in range(count):
        assert '"error"' not in installation.log(f"control-{n}"), installation.log(f"control-{n}")


def test_a_superuser_or_the_owner_serves_only_when_told(installation):
    run(installation, "migrate")
    environment = dict(
        OSTIARY_DATABASE_URL=installation.database, OSTIARY_LINK_LISTEN="127.0.0.1:0",
        OSTIARY_ENROLMENT_LISTEN="127.0.0.1:0",
    )
    done = run(installation, "serve", **environment)
    assert done.returncode != 0 and "is a superuser" in done.stderr
    done = run(installation, "serve", **{**environment, "OSTIARY_DATABASE_URL": installation.database_url("ostiary_migrator")})
    assert done.returncode != 0 and "owns tables" in done.stderr
    port_file = installation.folder / "told.port"
    installation.spawn(
        "told", BIN / "ostiary-control", "serve", **environment, OSTIARY_DATABASE_ALLOW_PRIVILEGED="true",
        OSTIARY_LINK_PORT_FILE=str(port_file),
    )
    wait_for(port_file.exists, "a privileged replica that was told")
    assert "do not bind this process" in installation.log("told")


def test_a_user_who_may_not_make_roles_is_told_what_to_do(installation):
    installation.sql("create role guest login")
    installation.sql("create database elsewhere owner guest")
    # The roles are there, in the cluster; what is missing is the right to act as their owner.
    url = installation.database_url("guest").replace("/postgres?", "/elsewhere?")
    done = run(installation, "migrate", OSTIARY_MIGRATION_DATABASE_URL=url)
    assert done.returncode != 0 and "migrations/roles/prepare.sql" in done.stderr
    script = ROOT / "migrations/roles/prepare.sql"
    admin = installation.database.replace("/postgres?", "/elsewhere?")
    subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", script, admin], check=True, timeout=60)
    url = installation.database_url("ostiary_migrator").replace("/postgres?", "/elsewhere?")
    done = run(installation, "migrate", OSTIARY_MIGRATION_DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
