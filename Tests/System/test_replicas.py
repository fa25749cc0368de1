"""Several control processes on one database, from the first migration on."""
import concurrent.futures
import subprocess
import tempfile

import pytest
from installation import BIN, ROOT, Installation, wait_for

ANY_PORT = {f"OSTIARY_{name}_LISTEN": "127.0.0.1:0" for name in ("LINK", "ENROLMENT", "API", "ADMIN")}


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
        text=True, timeout=300,
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

    for n in range(count):
        folder = installation.folder / f"control-{n}"
        folder.mkdir(mode=0o700)
        installation.spawn(
            f"control-{n}", BIN / "ostiary-control", "serve", **ANY_PORT, OSTIARY_STATE_DIRECTORY=str(folder)
        )
    for n in range(count):
        wait_for(lambda: "control is listening" in installation.log(f"control-{n}"), f"replica {n}")
    for name in ("authority.pem", "snapshot-key.pem"):
        assert len({(installation.folder / f"control-{n}" / name).read_text() for n in range(count)}) == 1
    assert installation.sql("select count(*), count(distinct purpose) from installation_key") == [["3", "3"]]
    for n in range(count):
        assert '"error"' not in installation.log(f"control-{n}"), installation.log(f"control-{n}")


def test_a_superuser_or_the_owner_serves_only_when_told(installation):
    run(installation, "migrate")
    environment = {**ANY_PORT, "OSTIARY_DATABASE_URL": installation.database}
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
    subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", script, admin], check=True, timeout=300)
    url = installation.database_url("ostiary_migrator").replace("/postgres?", "/elsewhere?")
    done = run(installation, "migrate", OSTIARY_MIGRATION_DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
