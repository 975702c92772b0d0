"""Counting what passes to GPU hosts; how, is tested on every database under contract/."""

from backend.gpu.traffic import Traffic
from backend.gpu.usage import Usage


def test_a_database_that_is_away_stops_no_render(database, caplog):
    usage = Usage(database)
    with database.writing() as session:
        session.connection().exec_driver_sql("DROP TABLE gpu_host_usage")
    usage.passed("https://host.example", Traffic(1, 2, 3))
    assert "could not be counted" in caplog.text
