"""The journal on a real disk, with writers that are really killed."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from perennial.adapters import journal
from perennial.adapters.journal import Journal, delete_empty_folders, delete_segment, is_finished, list_segments, read_from

PLENTY = 1024**2
LINE = b"x" * 99 + b"\n"


def read_all(root: Path) -> list[bytes]:
    found = []
    for segment in list_segments(root):
        position = 0
        while True:
            lines, position = read_from(segment, position, max_bytes=250)
            if not lines:
                break
            found += lines
    return found


def child(code: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", f"from perennial.adapters.journal import *\nimport sys\n{code}", *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_lines_come_back_in_order_over_segments(tmp_path: Path):
    writer = Journal(tmp_path / "p", max_bytes=PLENTY, segment_bytes=300)
    for number in range(50):
        assert writer.append(b"%d\n%d\n" % (number, -number) + LINE)
    assert len(list_segments(tmp_path)) == 17
    expected = [line for number in range(50) for line in (b"%d" % number, b"%d" % -number, LINE[:-1])]
    assert read_all(tmp_path) == expected


def test_a_segment_is_finished_when_it_is_full_or_closed_and_not_before(tmp_path: Path):
    writer = Journal(tmp_path / "p", max_bytes=PLENTY, segment_bytes=150)
    writer.append(LINE)
    (first,) = list_segments(tmp_path)
    assert not is_finished(first)
    writer.append(LINE)
    assert is_finished(first)
    writer.append(LINE)
    assert [is_finished(segment) for segment in list_segments(tmp_path)] == [True, False]
    writer.close()
    assert [is_finished(segment) for segment in list_segments(tmp_path)] == [True, True]
    assert writer.append(LINE)
    assert len(list_segments(tmp_path)) == 3


def test_a_later_segment_comes_later_even_when_the_clock_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writer = Journal(tmp_path / "p", max_bytes=PLENTY)
    writer.append(b"before\n")
    writer.close()
    monkeypatch.setattr(journal.time, "time_ns", lambda: 5)
    writer.append(b"after\n")
    assert read_all(tmp_path) == [b"before", b"after"]


def test_nothing_is_on_the_disk_before_the_first_line(tmp_path: Path):
    writer = Journal(tmp_path / "p", max_bytes=PLENTY)
    assert not (tmp_path / "p").exists()
    assert list_segments(tmp_path / "none") == []
    writer.append(LINE)
    assert (tmp_path / "p").stat().st_mode & 0o077 == 0
    assert list_segments(tmp_path)[0].stat().st_mode & 0o077 == 0


def test_half_a_line_is_none(tmp_path: Path):
    segment = tmp_path / "segment.jsonl"
    segment.write_bytes(b"one\ntwo\nthr")
    assert read_from(segment, 0, max_bytes=100) == ([b"one", b"two"], 8)
    assert read_from(segment, 8, max_bytes=100) == ([], 8)
    assert read_from(segment, 99, max_bytes=100) == ([], 99)
    segment.write_bytes(b"one\ntwo\nthree\n")
    assert read_from(segment, 8, max_bytes=2) == ([b"three"], 14)


@pytest.mark.parametrize("max_bytes", range(1, 16))
def test_no_limit_cuts_a_line(tmp_path: Path, max_bytes: int):
    segment = tmp_path / "segment.jsonl"
    segment.write_bytes(b"a\nbcdef\n\nghi\n")
    found, position = [], 0
    while position < 13:
        lines, position = read_from(segment, position, max_bytes=max_bytes)
        found += lines
    assert found == [b"a", b"bcdef", b"", b"ghi"]


def test_half_a_line_is_not_taken(tmp_path: Path):
    with pytest.raises(ValueError, match="whole lines, not b'half'"):
        Journal(tmp_path / "p", max_bytes=PLENTY).append(b"half")


def test_a_full_spool_refuses_until_the_reader_has_made_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    writer = Journal(tmp_path / "p", max_bytes=1000)
    assert [writer.append(LINE) for _ in range(12)] == [True] * 10 + [False] * 2
    now[0] += 2
    assert not writer.append(LINE)
    segments = list_segments(tmp_path)
    assert all(is_finished(segment) for segment in segments), "the reader must be able to delete all of them"
    assert [segment.stat().st_size for segment in segments] == [300, 300, 300, 100], "refusing leaves no empty ones behind"
    assert len(read_all(tmp_path)) == 10
    delete_segment(segments[0])
    assert not writer.append(LINE), "it looks again only after a second"
    now[0] += 2
    assert [writer.append(LINE) for _ in range(4)] == [True] * 3 + [False]


def test_two_writers_share_the_room_of_a_folder(tmp_path: Path):
    first, second = (Journal(tmp_path / "p", max_bytes=1000, segment_bytes=100) for _ in range(2))
    assert [writer.append(LINE) for _ in range(5) for writer in (first, second)] == [True] * 10
    assert not first.append(LINE)
    assert not second.append(LINE)


def test_a_disk_that_fills_up_within_a_line_ends_the_segment(tmp_path: Path):
    """The limit of a file's size stands for the full disk: some of the bytes are written, then none."""
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (250, 10**6))
journal = Journal(Path(sys.argv[1]), max_bytes=10**6)
line = b"x" * 99 + b"\\n"
print([journal.append(line) for _ in range(4)])
journal._refused_until = 0.0
print(journal.append(line))
"""
    said, fault = child(code, tmp_path / "p").communicate(timeout=20)
    assert said.splitlines() == ["[True, True, False, False]", "True"], fault
    first, second = list_segments(tmp_path)
    assert (first.stat().st_size, second.stat().st_size) == (250, 100)
    assert read_all(tmp_path) == [LINE[:-1]] * 3


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_refuses_and_takes_again_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("no right to mount")
    try:
        writer = Journal(tmp_path / "p", max_bytes=PLENTY)
        n_taken = 0
        while writer.append(LINE):
            n_taken += 1
        assert 500 < n_taken < 700
        lines = read_all(tmp_path)
        assert lines == [LINE[:-1]] * n_taken
        for segment in list_segments(tmp_path):
            if is_finished(segment):
                delete_segment(segment)
        monkeypatch.setattr(writer, "_refused_until", 0.0)
        assert writer.append(LINE)
        writer.close()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_threads_do_not_mix_their_lines(tmp_path: Path):
    writer = Journal(tmp_path / "p", max_bytes=PLENTY, segment_bytes=2000)

    def write(name: int) -> None:
        for number in range(200):
            assert writer.append(b"%d %d\n" % (name, number))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [tuple(map(int, line.split())) for line in read_all(tmp_path)]
    for name in range(4):
        assert [number for who, number in found if who == name] == list(range(200))


def test_what_a_killed_writer_appended_is_there_and_its_segment_is_finished(tmp_path: Path):
    code = """
journal = Journal(Path(sys.argv[1]), max_bytes=10**9, segment_bytes=10**5)
number = 0
while journal.append(b"%d %s\\n" % (number, b"x" * 300)):
    print(number, flush=True)
    number += 1
"""
    writer = child(code, tmp_path / "p")
    assert writer.stdout is not None
    n_said = sum(1 for _, _ in zip(range(2000), writer.stdout, strict=False))
    writer.send_signal(signal.SIGKILL)
    n_said += len(writer.stdout.readlines())
    writer.communicate()
    assert all(is_finished(segment) for segment in list_segments(tmp_path))
    numbers = [int(line.split()[0]) for line in read_all(tmp_path)]
    assert numbers == list(range(len(numbers)))
    assert n_said <= len(numbers) <= n_said + 1


def test_a_segment_of_another_process_is_finished_when_that_is_gone_and_not_before(tmp_path: Path):
    writer = child(
        'Journal(Path(sys.argv[1]), max_bytes=10**9).append(b"x\\n"); print(flush=True); sys.stdin.read()', tmp_path / "p"
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    (segment,) = list_segments(tmp_path)
    assert not is_finished(segment)
    writer.kill()
    writer.communicate()
    assert is_finished(segment)


def age(path: Path) -> None:
    """As if nothing had happened to it for long."""
    os.utime(path, (5, 5))


def test_a_folder_goes_when_it_was_empty_for_long_and_comes_back_when_it_is_needed(tmp_path: Path):
    writer = Journal(tmp_path / "p", max_bytes=PLENTY)
    writer.append(LINE)
    age(tmp_path / "p")
    delete_empty_folders(tmp_path)
    (segment,) = list_segments(tmp_path)
    writer.close()
    delete_segment(segment)
    delete_empty_folders(tmp_path)
    assert (tmp_path / "p").exists(), "a bento with little traffic is about to use it again"
    age(tmp_path / "p")
    delete_empty_folders(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert writer.append(LINE)


def test_what_a_writer_killed_in_its_first_moment_left_goes_too(tmp_path: Path):
    (tmp_path / "p").mkdir()
    left = tmp_path / "p" / f"{5:020d}-7.new"
    left.touch()
    age(tmp_path / "p")
    delete_empty_folders(tmp_path)
    assert left.exists(), "its writer may be about to name it"
    age(left)
    delete_empty_folders(tmp_path)
    assert not left.exists()
    age(tmp_path / "p")
    delete_empty_folders(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_looks_all_the_time_loses_nothing(tmp_path: Path):
    """Segments are deleted and folders looked at as fast as can be, while a writer begins a new one with every line."""
    writer = Journal(tmp_path / "p", max_bytes=PLENTY, segment_bytes=1)
    done = threading.Event()
    found: list[bytes] = []

    def take() -> None:
        while True:
            is_last = done.is_set()
            for segment in list_segments(tmp_path):
                if is_finished(segment):
                    found.extend(read_from(segment, 0, max_bytes=PLENTY)[0])
                    delete_segment(segment)
            delete_empty_folders(tmp_path)
            if is_last:
                return

    reader = threading.Thread(target=take)
    reader.start()
    written = [writer.append(b"%d\n" % number) for number in range(1000)]
    done.set()
    reader.join()
    assert written == [True] * 1000
    assert found == [b"%d" % number for number in range(1000)]


def test_a_folder_that_goes_as_it_is_about_to_be_used_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It was empty for long: the reader removes it between the writer's look at it and its first file."""
    (tmp_path / "p").mkdir()
    age(tmp_path / "p")
    opened = os.open

    def open_late(*arguments: object) -> int:
        delete_empty_folders(tmp_path)
        return opened(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(journal.os, "open", open_late)
    assert Journal(tmp_path / "p", max_bytes=PLENTY).append(LINE)
    assert read_all(tmp_path) == [LINE[:-1]]


def test_every_folder_that_a_writer_makes_is_its_owners_only(tmp_path: Path):
    Journal(tmp_path / "predictions" / "p", max_bytes=PLENTY).append(LINE)
    assert [(tmp_path / path).stat().st_mode & 0o777 for path in ("predictions", "predictions/p")] == [0o700, 0o700]


@pytest.mark.parametrize("name", ["x.jsonl", "copy of it.jsonl", f"{7:020d}.jsonl", f"{7:020d}-1 (1).jsonl", f"{7:020d}-x.jsonl"])
def test_what_a_person_puts_into_the_folder_is_let_alone(tmp_path: Path, name: str):
    other = tmp_path / "p" / name
    other.parent.mkdir()
    other.write_bytes(b"other\n" * 1000)
    old = other.with_suffix(".new")
    old.touch()
    age(old)
    writer = Journal(tmp_path / "p", max_bytes=500)
    assert writer.append(LINE)
    delete_empty_folders(tmp_path)
    assert read_all(tmp_path) == [LINE[:-1]]
    assert other.exists() and old.exists()


@pytest.mark.parametrize("fault", [OSError("disk"), ValueError("name"), RuntimeError("unheard of")], ids=repr)
def test_whatever_goes_wrong_the_answer_is_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception):
    def fail(*_: object) -> None:
        raise fault

    writer = Journal(tmp_path / "p", max_bytes=PLENTY)
    with monkeypatch.context() as patch:
        patch.setattr(journal.fcntl, "flock", fail)
        assert not writer.append(LINE)
    monkeypatch.setattr(writer, "_refused_until", 0.0)
    assert writer.append(LINE)


def test_a_segment_that_is_gone_has_no_size(tmp_path: Path):
    (tmp_path / "segment").write_bytes(LINE)
    assert [journal.size_of(tmp_path / name) for name in ("segment", "gone")] == [100, 0]
