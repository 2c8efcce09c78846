"""The operator's command as its jobs run it: Cloud SQL's connector, and logins of which none owns the database."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common import cloud_sql, connection
from common.settings import DATABASE_NAME
from local.postgres import Postgres
from migrations.run import revisions
from tests.cloud_sql import INSTANCE, CloudSqlStandIn
from tests.command import fail, run, succeed, tell
from tests.instance import ANOTHER, MIGRATE, OPERATOR, OWNER, ask, in_cloud, new_instance

HEAD = revisions()[-1]
OWNERS = """
SELECT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION SELECT proowner::regrole::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION SELECT typowner::regrole::text FROM pg_type WHERE typnamespace = 'public'::regnamespace
"""


@pytest.fixture(scope="module")
def instance() -> Iterator[Postgres]:
    with new_instance() as instance:
        yield instance


@pytest.fixture
def cloud(instance: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudSqlStandIn]:
    """An empty database, and the settings of the job that migrates it."""
    with in_cloud(instance, tmp_path) as cloud:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(cloud.credentials))
        monkeypatch.setenv("MERCHDROP_CLOUD_SQL_INSTANCE", INSTANCE)
        monkeypatch.setenv("MERCHDROP_CLOUD_SQL_API_BASE", cloud.login.api_base)
        monkeypatch.setenv("MERCHDROP_DATABASE_USER", MIGRATE)
        # a busy machine is no silent network, and calls are counted here
        monkeypatch.setattr(cloud_sql, "CLOUD_SQL_CONNECT_SECONDS", 60.0)
        monkeypatch.setattr(cloud_sql, "DATABASE_CONNECT_SECONDS", 60.0)
        yield cloud
    gc.collect()  # the connector drops tasks that failed; they are reported here, not in the middle of something else


def test_a_member_of_the_owner_migrates_and_an_operator_works(
    instance: Postgres, cloud: CloudSqlStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tell("migrate", url="") == {"revision": HEAD, "was": "base"}
    assert [row[0] for row in ask(instance.url(DATABASE_NAME), OWNERS)] == [OWNER]

    monkeypatch.setenv("MERCHDROP_DATABASE_USER", OPERATOR)
    assert "permission denied" in fail("drop", "list")  # before it has its role
    ask(instance.url("postgres"), f'GRANT merchdrop_operator TO "{OPERATOR}"')
    succeed("drop", "create", "tee", "--item", "M=5@0", url="")
    assert [drop["drop_id"] for drop in tell("drop", "list", url="")] == ["tee"]
    assert "permission denied" in fail("migrate")

    monkeypatch.setenv("MERCHDROP_DATABASE_USER", ANOTHER)
    assert tell("migrate", "--to", "base", "--yes", url="") == {"revision": "base", "was": HEAD}
    assert tell("migrate", url="") == {"revision": HEAD, "was": "base"}
    assert [row[0] for row in ask(instance.url(DATABASE_NAME), OWNERS)] == [OWNER]


def test_a_migration_uses_one_certificate_for_each_of_its_two_event_loops(cloud: CloudSqlStandIn) -> None:
    assert tell("migrate", "--to", "base", url="")["was"] == "base"
    assert sorted(cloud.calls) == ["connectSettings"] * 2 + ["generateEphemeralCert"] * 2


def test_a_network_that_is_not_there_yet_is_waited_for(cloud: CloudSqlStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_sql, "CLOUD_SQL_CONNECT_SECONDS", 0.5)
    cloud.hangs.set()
    connect = cloud_sql.CloudSql.connect

    async def second_time(self: cloud_sql.CloudSql, *arguments: Any) -> Any:
        if "connectSettings" in cloud.calls:  # the first attempt has been there, and had no answer
            monkeypatch.setattr(cloud_sql, "CLOUD_SQL_CONNECT_SECONDS", 60.0)
            cloud.hangs.clear()
        return await connect(self, *arguments)

    monkeypatch.setattr(cloud_sql.CloudSql, "connect", second_time)
    assert "run `merchdrop migrate`" in fail("drop", "list")


def test_a_network_that_never_comes_is_given_up(cloud: CloudSqlStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_sql, "CLOUD_SQL_CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(connection, "CLOUD_SQL_START_SECONDS", 0.2)
    cloud.hangs.set()
    assert "the database does not answer (not in time)" in fail("drop", "list")


@pytest.mark.parametrize("command", [("migrate",), ("drop", "list")], ids=" ".join)
def test_a_refusal_is_told_at_once(cloud: CloudSqlStandIn, command: tuple[str, ...]) -> None:
    cloud.status = 403
    told = fail(*command)
    assert "Cloud SQL refused (403" in told
    assert "needs the role cloudsql.client" in told
    assert cloud.calls.count("connectSettings") == 1


def test_a_login_that_is_not_there_is_told(cloud: CloudSqlStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERCHDROP_DATABASE_USER", "nobody@demo.iam")
    assert "the account in MERCHDROP_DATABASE_USER" in fail("drop", "list")


def test_settings_that_contradict_each_other_are_refused(
    cloud: CloudSqlStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "are both set" in fail("drop", "list", url="postgresql://127.0.0.1/x")
    assert "the environment names a database" in fail("sale", status=2)
    (tmp_path / "stack.json").write_text('{"database_url": "postgresql://127.0.0.1:1/x"}')
    monkeypatch.delenv("MERCHDROP_CLOUD_SQL_INSTANCE")  # who means a database elsewhere does not get the one here
    assert "set one of MERCHDROP_DATABASE_URL" in fail("drop", "list", "--data-dir", tmp_path)
    monkeypatch.delenv("MERCHDROP_DATABASE_USER")
    assert "does not answer" in run("drop", "list", "--data-dir", tmp_path).stderr
    assert cloud.calls == []


def test_what_was_given_up_shows_no_traceback(
    cloud: CloudSqlStandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cloud_sql, "CLOUD_SQL_CONNECT_SECONDS", 1.0)
    monkeypatch.setattr(connection, "CLOUD_SQL_START_SECONDS", 0.2)
    cloud.hangs.set()
    fail("drop", "list")
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []
