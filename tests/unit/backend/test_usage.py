"""Counting what passes to GPU hosts; how, is tested on every database under contract/."""

from sqlalchemy import event

from backend.gpu.traffic import Traffic
from backend.gpu.usage import Usage


def test_a_database_that_is_away_stops_no_render(database, caplog):
    usage = Usage(database)
    with database.writing() as session:
        session.connection().exec_driver_sql("DROP TABLE gpu_host_usage")
    usage.passed("https://host.example", Traffic(1, 2, 3))
    assert "could not be counted" in caplog.text


def test_a_row_that_another_backend_makes_in_that_moment_is_changed_all_the_same(database):
    usage, url = Usage(database), "https://host.example"
    month = usage._day()[:7]
    rest = []

    def another(connection, cursor, statement, *_):
        # As between two statements of one transaction of PostgreSQL, which sees what others commit.
        if statement.startswith("UPDATE") and not rest:
            rest.append(statement)
            connection.exec_driver_sql(
                "INSERT INTO gpu_host_usage VALUES (?, ?, 5, 0, 0, '', 0)", (url, month)
            )

    event.listen(database.engine, "after_cursor_execute", another)
    assert usage.may_ask(url)
    usage.passed(url, Traffic(1, 2, 3))
    assert (usage.all()[url].requests, usage.all()[url].questions_today) == (6, 1)
