"""What keeps a process from starting or from being ready: a database that takes no writes or has another schema, an address that is taken."""
import socket
import subprocess

import pytest
from installation import ROOT, Installation, free_port, wait_for

ANY_PORT = {f"OSTIARY_{name}_LISTEN": "127.0.0.1:0" for name in ("LINK", "ENROLMENT", "API", "ADMIN")}


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    installation = Installation(tmp_path_factory.mktemp("start"))
    try:
        installation.start_bare()
        wait_for(lambda: not installation.problems(installation.control_admin), "readiness")
        yield installation
    finally:
        installation.close()


def problem(installation):
    return installation.problems(installation.control_admin).get("database")


def postgres(*arguments):
    subprocess.run([ROOT / "scripts/postgres", *arguments], check=True, timeout=300)


def disconnect(installation):
    """Connections keep the settings they began with: the next ones have others."""
    installation.sql(
        "select pg_terminate_backend(pid, 60000) from pg_stat_activity "
        "where pid <> pg_backend_pid() and backend_type = 'client backend'"
    )


def restore(installation):
    """The entries of migrations as they are to be; the schema was never touched."""
    installation.sql("delete from schema_migration; insert into schema_migration select * from kept_migration")


@pytest.fixture(autouse=True, scope="module")
def kept(installation):
    installation.sql("create table kept_migration as select * from schema_migration")


# -- a database that takes no writes --

STANDBY = "the database is a standby, which takes no writes"


def test_a_standby_is_refused(installation):
    """A real one, made by pg_basebackup, that follows the database of the installation."""
    folder = installation.folder / "standby"
    folder.mkdir()
    programs = subprocess.check_output([ROOT / "scripts/postgres", "bin", "/"], text=True).strip()
    subprocess.run(
        [f"{programs}/pg_basebackup", "-d", installation.database, "-D", folder / "data", "-R", "-X", "stream", "-c", "fast"],
        check=True, timeout=300,
    )
    postgres("start", folder)
    try:
        url = lambda role: subprocess.check_output(
            [ROOT / "scripts/postgres", "url", folder, "postgres", role], text=True
        ).strip()
        said = installation.refused("ostiary-control", "serve", **ANY_PORT, OSTIARY_DATABASE_URL=url("ostiary_app"))
        assert STANDBY in said
        # With something pending, there is something to refuse.
        name = "select name from schema_migration order by number desc limit 1"
        last = installation.sql(name)[0][0]
        installation.sql(f"delete from schema_migration where name = '{last}'")
        try:
            read = lambda: subprocess.check_output(["psql", "-At", url("postgres"), "-c", name], text=True).strip()
            wait_for(lambda: read() != last, "the change at the standby")
            said = installation.refused("ostiary-control", "migrate", OSTIARY_MIGRATION_DATABASE_URL=url("postgres"))
            assert STANDBY in said
        finally:
            restore(installation)
    finally:
        postgres("discard", folder)


def test_a_database_that_becomes_a_standby_makes_control_not_ready_until_it_is_promoted(installation):
    folder = installation.folder / "postgres"
    postgres("stop", folder)
    (folder / "data/standby.signal").touch()
    postgres("start", folder)
    wait_for(lambda: problem(installation) == STANDBY, "the reason")
    assert installation.probe(f"{installation.control_admin}/livez")[0] == 200
    said = installation.refused("ostiary-control", "serve", **ANY_PORT)
    assert STANDBY in said
    assert installation.sql("select pg_promote(true, 100)") == [["t"]]
    wait_for(lambda: not installation.problems(installation.control_admin), "readiness")


def test_a_read_only_database_makes_control_not_ready_and_is_refused(installation):
    reason = "the database is read-only: default_transaction_read_only is on"
    installation.sql("alter role ostiary_app set default_transaction_read_only = on")
    try:
        disconnect(installation)
        wait_for(lambda: problem(installation) == reason, "the reason")
        assert reason in installation.refused("ostiary-control", "serve", **ANY_PORT)
    finally:
        installation.sql("alter role ostiary_app reset default_transaction_read_only")
        disconnect(installation)
    wait_for(lambda: not installation.problems(installation.control_admin), "readiness")


# -- another schema --

SCHEMAS = {
    "a newer one": (
        "insert into schema_migration (number, name, digest) select max(number) + 1, '9999_create_future', '' from schema_migration",
        "the schema is newer than this program", "the database is newer than this program: it has 9999_create_future",
    ),
    "an older one": (
        "delete from schema_migration where number = (select max(number) from schema_migration)",
        "migrations are pending", "the database lacks 1 migrations",
    ),
    "one of another program": (
        "update schema_migration set name = '0001_create_other' where number = 1",
        "the schema belongs to another program", "was applied with other content",
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_another_schema_makes_control_not_ready_and_is_refused(installation, name):
    change, reason, refusal = SCHEMAS[name]
    installation.sql(change)
    try:
        wait_for(lambda: problem(installation) == reason, "the reason")
        assert installation.probe(f"{installation.control_admin}/livez")[0] == 200
        assert refusal in installation.refused("ostiary-control", "serve", **ANY_PORT)
        if name != "an older one":
            assert refusal in installation.refused("ostiary-control", "migrate")
    finally:
        restore(installation)
    wait_for(lambda: not installation.problems(installation.control_admin), "readiness")


def test_a_table_of_somebody_else_by_that_name_is_refused_and_left_alone(installation):
    installation.sql("create database elsewhere")
    elsewhere = lambda url: url.replace("/postgres?", "/elsewhere?")
    psql = ["psql", "-At", elsewhere(installation.database), "-c"]
    subprocess.run([*psql, "create table schema_migration (version bigint); grant select on schema_migration to public"], check=True)
    for command, variable in (("serve", "OSTIARY_DATABASE_URL"), ("migrate", "OSTIARY_MIGRATION_DATABASE_URL")):
        url = elsewhere(installation.environment[variable])
        said = installation.refused("ostiary-control", command, **ANY_PORT, **{variable: url})
        assert "schema_migration is not a table of this program" in said
    assert subprocess.check_output([*psql, "select count(*) from pg_tables where schemaname = 'public'"], text=True).strip() == "1"


# -- an address that is taken --


@pytest.mark.parametrize("name", ["LINK", "ENROLMENT", "API", "ADMIN"])
def test_control_does_not_start_on_an_address_that_is_taken(installation, name):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {**ANY_PORT, f"OSTIARY_{name}_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}"}
        said = installation.refused("ostiary-control", "serve", **settings)
    assert f"OSTIARY_{name}_LISTEN" in said and "Address already in use" in said


@pytest.mark.parametrize("name", ["", "ADMIN_"])
def test_a_proxy_does_not_start_on_an_address_that_is_taken_and_starts_when_it_is_free(installation, name):
    installation.enrol()
    installation.proxy_port = free_port()
    address = {"": f"127.0.0.1:{installation.proxy_port}", "ADMIN_": installation.proxy_admin.removeprefix("http://")}[name]
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        installation.start_proxy()
        wait_for(lambda: installation.processes["proxy"].poll() is not None, "the end")
        assert installation.stop("proxy").returncode > 0
        said = installation.log("proxy")
        assert f"OSTIARY_{name}LISTEN" in said and "Address already in use" in said
    # The token may be spent by now: what it brought is kept.
    installation.start_proxy()
    wait_for(lambda: not installation.problems(installation.proxy_admin), "readiness")
    assert installation.stop("proxy").returncode == 0
