"""A journal on disk between one writer that must not wait and a reader that may be away. Standard library only.

Lines are appended to segments, `<folder>/<20-digit time>-<pid>.jsonl`. A writer holds a lock on the segment it writes, which
the kernel frees when the writer ends, however it ends: a segment that can be locked is finished, and only then may it go.

What survives: an append that returned True is with the kernel, so the death of the writer (`kill -9`, a crash, no memory) loses
nothing. It is not forced to the disk: the death of the machine (a power cut, a kernel that panics) can lose the last seconds. A
writer killed within an append leaves at most one line cut short, at the end of a segment; readers never see it as a line.
"""

import contextlib
import fcntl
import os
import re
import threading
import time
from pathlib import Path

SEGMENT_BYTES = 16 * 1024 * 1024
_SUFFIX = ".jsonl"
# A segment that is not locked yet; it gets its name with the lock on it, so that no reader takes it for finished.
_UNLOCKED_SUFFIX = ".new"
# What a person puts beside them, a copy for instance, is none of them.
_NAME = re.compile(r"[0-9]{20}-[0-9]+")
_REFUSED_SECONDS = 1.0
_ABANDONED_SECONDS = 60.0


class Journal:
    """The writing side; threads may share it. Several processes may write into one folder, each its own segments.

    Parameters
    ----------
    folder
        Made when the first line is written.
    max_bytes
        How much may wait in the folder for the reader, over all writers. Above it, appends are refused.
    segment_bytes
        A segment that reaches this size is finished. At most a quarter of `max_bytes`: only finished ones can be deleted.
    """

    def __init__(self, folder: Path, *, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = min(segment_bytes, max(1, max_bytes // 4))
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._segment_size = 0
        self._spooled = 0
        self._refused_until = 0.0
        self.is_full = False

    def append(self, lines: bytes) -> bool:
        """Append whole lines, each ended by a newline, with one write.

        Returns
        -------
        False when they are dropped, because the spool is full (`is_full`), the disk refuses them or anything else goes wrong;
        for a second everything is dropped, and then it is tried again. Of several lines that a filling disk cut short, the
        first ones may be there all the same.

        Raises
        ------
        ValueError
            When the last line lacks its newline: the caller's fault, and the only thing that is ever raised.
        """
        if not lines.endswith(b"\n"):
            raise ValueError(f"a journal takes whole lines, not {lines[-80:]!r}")
        with self._lock:
            if self._refused_until and time.monotonic() < self._refused_until:
                return False
            try:
                descriptor = self._find_room(len(lines))
                self.is_full = descriptor is None
                is_written = descriptor is not None and self._write(descriptor, lines)
            except Exception:
                # Whatever it is, a caller of the bento waits for an answer.
                is_written = self.is_full = False
            self._refused_until = 0.0 if is_written else time.monotonic() + _REFUSED_SECONDS
            return is_written

    def close(self) -> None:
        """Finish the segment; a later append opens another."""
        with self._lock:
            self._finish()

    def _find_room(self, n_bytes: int) -> int | None:
        """The segment to write to, if the spool has room. The folder is looked at only when it may be full."""
        if self._descriptor is None or self._spooled + n_bytes > self._max_bytes:
            self._spooled = spooled_bytes(self._folder)
        if self._spooled + n_bytes > self._max_bytes:
            # Finished, or the reader could never delete it and make room.
            self._finish()
            return None
        if self._descriptor is None:
            self._descriptor, self._segment_size = _open_segment(self._folder), 0
        return self._descriptor

    def _write(self, descriptor: int, lines: bytes) -> bool:
        """Write the lines; after a failure in the middle of them the segment ends there, so that nothing follows half a line."""
        n_written = 0
        try:
            while n_written < len(lines):
                n_written += os.write(descriptor, lines[n_written:] if n_written else lines)
        except OSError:
            if n_written:
                self._finish()
            return False
        self._segment_size += n_written
        self._spooled += n_written
        if self._segment_size >= self._segment_bytes:
            self._finish()
        return True

    def _finish(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _open_segment(folder: Path) -> int:
    """A new segment with the lock on it, named after all that are there, whatever the clock says."""
    newest = max((int(path.name.partition("-")[0]) for path in _segments(folder)), default=0)
    name = f"{max(time.time_ns(), newest + 1):020d}-{os.getpid()}"
    unlocked, segment = folder / f"{name}{_UNLOCKED_SUFFIX}", folder / f"{name}{_SUFFIX}"
    descriptor = _create(unlocked)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        unlocked.rename(segment)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _create(path: Path, *, is_second_try: bool = False) -> int:
    make_folder(path.parent)
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
    except FileNotFoundError:
        # The reader removed the folder in this moment, as it was empty for long. Made anew, it stays for a minute.
        if is_second_try:
            raise
        return _create(path, is_second_try=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, all for their owner only: `Path.mkdir` cares for the last one alone."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def list_segments(root: Path) -> list[Path]:
    """Segments of all folders under `root`, folder by folder, each folder's in the order they were begun."""
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    return [segment for folder in folders for segment in _segments(folder)]


def read_from(segment: Path, position: int, *, max_bytes: int) -> tuple[list[bytes], int]:
    """The complete lines that follow `position`, and the position after them.

    Returns
    -------
    Lines without their newline, of about `max_bytes` and at least one; none where no complete line follows.
    """
    with segment.open("rb") as file:
        file.seek(position)
        content = file.read(max_bytes)
        if len(content) == max_bytes and not content.endswith(b"\n"):
            end = content.rfind(b"\n") + 1
            content = content[:end] if end else content + file.readline()
    content = content[: content.rfind(b"\n") + 1]
    return content.split(b"\n")[:-1], position + len(content)


def is_finished(segment: Path) -> bool:
    """Whether its writer is through with it. Ask before reading: what is read then is all there will ever be."""
    with segment.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def delete_segment(segment: Path) -> None:
    """Delete a finished segment for good, so that not even the death of the machine brings it back to be read again."""
    segment.unlink(missing_ok=True)
    descriptor = os.open(segment.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete_empty_folders(root: Path) -> None:
    """Delete the folders under `root` that for a minute held nothing but what a writer killed in its first moment left."""
    for folder in [path for path in root.glob("*") if path.is_dir()]:
        for path in _named(folder, _UNLOCKED_SUFFIX):
            if _is_abandoned(path):
                path.unlink(missing_ok=True)
        # A folder in use is not empty, and one that a writer is about to use is made by it again.
        if _is_abandoned(folder):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _is_abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
    except FileNotFoundError:
        return False


def spooled_bytes(folder: Path) -> int:
    """Size of a folder's segments, shipped or not, as long as they are there."""
    return sum(size_of(segment) for segment in _segments(folder))


def size_of(segment: Path) -> int:
    """Size of a segment; 0 when it is gone by now."""
    try:
        return segment.stat().st_size
    except FileNotFoundError:
        return 0


def _segments(folder: Path) -> list[Path]:
    return _named(folder, _SUFFIX)


def _named(folder: Path, suffix: str) -> list[Path]:
    """A writer's files of one kind, in the order they were begun."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == suffix and _NAME.fullmatch(path.stem))
    except FileNotFoundError:
        return []
