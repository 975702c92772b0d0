"""Bytes that are counted as they pass."""

import io
import threading

from backend.gpu.traffic import CountedReader, Traffic, TrafficCount


def test_what_is_taken_is_counted_once():
    count = TrafficCount()
    count.asked()
    count.sent(10)
    count.received(20)
    assert count.take() == Traffic(1, 10, 20)
    assert count.take() == Traffic()


def test_many_threads_count_together():
    count = TrafficCount()
    threads = [
        threading.Thread(target=lambda: [count.sent(1) for _ in range(2000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count.take().sent_bytes == 8000


def test_a_reader_gives_the_same_bytes_and_counts_them():
    count = TrafficCount()
    source = io.BytesIO(b"head\r\n\r\n" + bytes(20_000))
    with io.BufferedReader(CountedReader(source, count)) as reader:
        assert reader.readline() == b"head\r\n"
        assert reader.read() == b"\r\n" + bytes(20_000)
    assert count.take().received_bytes == 20_008
    assert source.closed
