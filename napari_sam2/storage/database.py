"""The SQLite database of a project: its tables, its checks on opening, and its transactions."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from napari_sam2.session.sqlite_store import COLUMNS
from napari_sam2.storage.errors import (
    ProjectDamagedError,
    ProjectError,
    ProjectNotFoundError,
    ProjectReadOnlyError,
    ProjectVersionError,
    disk_errors,
)
from napari_sam2.storage.file_systems import has_shared_memory
from napari_sam2.storage.schema import VERSION

DATABASE = "project.db"
APPLICATION_ID = 0x4E53414D  # "NSAM"
SIDE_FILES = ("-wal", "-shm", "-journal")
_MAGIC = b"SQLite format 3\0"
_SYNC_AFTER = 0.5  # seconds
_CHECKED_BYTES = 32 * 2**20  # larger databases are checked as a whole by verify() only
_SMALL_TABLES = ("project", "step", "entry", "removal")
_PAGE = 2048  # bytes; larger ones waste room with small records
_CHECKPOINT_PAGES = 8000
_ROWS_AT_ONCE = 100
_QUIET_PAGES = 2000  # of the log, that are moved into the database when it is quiet
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 256 * 2**20,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
}

# Every row of a result belongs to a step of undo. The current row is the newest one whose step is applied, unless the
# object was removed in a later step. Undo and redo only change `applied`.
_CURRENT = """
SELECT {columns}, MAX(r.step) AS step FROM {table} r JOIN step s ON s.id = r.step
WHERE s.applied AND r.step >= IFNULL((SELECT MAX(q.step) FROM removal q JOIN step t ON t.id = q.step
    WHERE t.applied AND q.object_id = r.object_id), 0)
GROUP BY r.frame, r.object_id HAVING r.present"""
_MASK = "r.frame, r.object_id, r.origin, r.object_score, r.predicted_iou, r.prompted, r.rle, r.checksum"
_RECORD = "r.frame, r.object_id, " + ", ".join(f"r.{column.split()[0]}" for column in COLUMNS.split(","))
SCHEMA = f"""
CREATE TABLE project (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE step (id INTEGER PRIMARY KEY AUTOINCREMENT, label TEXT NOT NULL,
    applied INTEGER NOT NULL DEFAULT 1 CHECK (applied IN (0, 1)),
    reach INTEGER NOT NULL DEFAULT 1 CHECK (reach IN (-1, 0, 1)),
    replaced INTEGER NOT NULL DEFAULT 0, written INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX step_by_reach ON step (reach, applied, id);
CREATE TABLE entry (frame INTEGER NOT NULL, object_id INTEGER NOT NULL, step INTEGER NOT NULL,
    rank INTEGER NOT NULL, data TEXT, checksum INTEGER, PRIMARY KEY (frame, object_id, step)) STRICT, WITHOUT ROWID;
CREATE INDEX entry_by_step ON entry (step);
CREATE TABLE removal (object_id INTEGER NOT NULL, step INTEGER NOT NULL,
    PRIMARY KEY (object_id, step)) STRICT, WITHOUT ROWID;
CREATE INDEX removal_by_step ON removal (step);
CREATE TABLE mask (frame INTEGER NOT NULL, object_id INTEGER NOT NULL, step INTEGER NOT NULL,
    present INTEGER NOT NULL, bytes INTEGER NOT NULL, origin TEXT, object_score REAL, predicted_iou REAL,
    prompted INTEGER, rle TEXT, checksum INTEGER, PRIMARY KEY (frame, object_id, step)) STRICT, WITHOUT ROWID;
CREATE INDEX mask_by_object ON mask (object_id, frame, step, present, bytes);
CREATE INDEX mask_by_step ON mask (step);
CREATE TABLE record (id INTEGER PRIMARY KEY, frame INTEGER NOT NULL, object_id INTEGER NOT NULL,
    step INTEGER NOT NULL, present INTEGER NOT NULL, bytes INTEGER NOT NULL, {COLUMNS}) STRICT;
CREATE UNIQUE INDEX record_by_frame ON record (frame, object_id, step);
CREATE INDEX record_by_object ON record (object_id, frame, step, present, bytes);
CREATE INDEX record_by_step ON record (step, frame, object_id);
CREATE VIEW current_mask AS {_CURRENT.format(columns=_MASK, table="mask")};
CREATE VIEW current_record AS {_CURRENT.format(columns=_RECORD, table="record")};
CREATE VIEW current_entry AS
SELECT e.frame, e.object_id, e.rank, e.data, e.checksum, MAX(e.step) AS step FROM entry e JOIN step s ON s.id = e.step
WHERE s.applied GROUP BY e.frame, e.object_id HAVING e.data IS NOT NULL;
CREATE VIEW current_prompt AS SELECT frame, object_id, data, rank FROM current_entry WHERE frame >= 0;
CREATE VIEW current_object AS
SELECT object_id AS id, json_extract(data, '$.name') AS name, json_extract(data, '$.color') AS color
FROM current_entry WHERE frame < 0;
"""


class Database:
    """One connection to a project's database, used by several threads; transactions belong to one at a time.

    While it is open for writing, changes go to a write-ahead log where the file system has shared memory, and to
    a rollback journal elsewhere (network drives). Every transaction survives the death of the process. With the
    log, the operating system writes it to the disk half a second later at most; a loss of power takes back the
    transactions since then and never leaves half of one.

    ``may_write``: this process holds the right to write, so it may take back a transaction that was cut short.
    ``is_copy``: the files were copied while a program wrote to them, so they are checked as a whole.
    """

    def __init__(self, folder: Path, may_write: bool = False, is_copy: bool = False) -> None:
        self.path = folder / DATABASE
        self._may_write, self._is_copy = may_write, is_copy
        self.writable = False
        self.on_rollback: Callable[[], None] = lambda: None
        self._reading = threading.RLock()
        self._writing = threading.RLock()
        self._sync: threading.Timer | None = None
        self._has_log = False
        self.problem = ""  # found when a damaged database was opened for reading
        self._db: sqlite3.Connection | None = self._opened()

    # -- reading and writing -----------------------------------------------------------------------------

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a query; ProjectDamagedError when they are larger than the database."""
        rows: list[Any] = []
        size = 0
        with self._reading, disk_errors(self.path):
            cursor = self._connection.execute(query, values)
            while found := cursor.fetchmany(_ROWS_AT_ONCE):
                rows += found
                if len(found) == _ROWS_AT_ONCE:  # a damaged tree may lead to the same rows again and again
                    size += sum(len(v) if isinstance(v, (str, bytes)) else 1 for row in found for v in row)
                    if size > self._bytes():
                        raise ProjectDamagedError(f"{self.path} is damaged: its tables run in a circle")
        return rows

    def value(self, query: str, values: Sequence[Any] = ()) -> Any:
        """Return the first column of the first row of a query; None when there is no row."""
        rows = self.rows(query, values)
        return rows[0][0] if rows else None

    def write(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run a statement inside a transaction; returns how many rows it changed."""
        with self._reading, disk_errors(self.path):
            return self._connection.execute(statement, values).rowcount

    def _bytes(self) -> int:
        files = (Path(f"{self.path}{suffix}") for suffix in ("", "-wal"))
        return sum(file.stat().st_size for file in files if file.is_file())

    def write_rows(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for every row inside a transaction."""
        with self._reading, disk_errors(self.path):
            self._connection.executemany(statement, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside one transaction, or part of the one that this thread is in."""
        with self._writing:
            self.require_writable()
            if self._connection.in_transaction:
                yield
                return
            self.write("BEGIN IMMEDIATE")
            try:
                yield
                self.write("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            if self._has_log and self._sync is None:  # a journal is forced out with every transaction
                self._sync = threading.Timer(_SYNC_AFTER, self.sync)
                self._sync.daemon = True
                self._sync.start()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # after some errors SQLite has done it
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        self.on_rollback()

    def require_writable(self) -> None:
        """Raise ProjectReadOnlyError when the project was opened for reading or is closed."""
        if not self.writable:
            raise ProjectReadOnlyError(
                f"{self.path.parent} is open for reading only: open it with mode='a' to change it"
            )

    # -- the disk ----------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Force committed transactions to the disk."""
        self._sync = None
        with suppress(OSError):
            log = os.open(f"{self.path}-wal", os.O_RDWR)
            try:
                os.fsync(log)
            finally:
                os.close(log)

    def tidy(self, pages: int = 500) -> None:
        """Give some free pages back to the disk when there are many, and move a long log into the database."""
        if not self.writable or self._connection.in_transaction:
            return
        with self._writing:
            free, total = self.value("PRAGMA freelist_count"), self.value("PRAGMA page_count")
            if free > max(256, total // 4):
                self.rows(f"PRAGMA incremental_vacuum({pages})")
            with suppress(OSError):
                if self._has_log and os.stat(f"{self.path}-wal").st_size > _QUIET_PAGES * _PAGE:
                    self.rows("PRAGMA wal_checkpoint(PASSIVE)")
                    with self.transaction():  # the first one of a log that begins again waits for the disk
                        self.write(f"PRAGMA user_version={VERSION}")

    def copy_to(self, target: Path) -> None:
        """Write a copy of the database as it is now, also while it is written to."""
        with disk_errors(target):
            copy = sqlite3.connect(target)
            try:
                with self._reading:
                    self._connection.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
            finally:
                copy.close()

    def problems(self) -> list[str]:
        """Return the findings of a complete check of the database, one sentence each."""
        try:
            return [text for (text,) in self.rows("PRAGMA integrity_check(20)") if text != "ok"]
        except ProjectDamagedError as error:
            return [str(error)]

    def close(self) -> None:
        """Write what is left and close the file; later reading opens it again."""
        with self._writing, self._reading:
            if self._sync is not None:
                self._sync.cancel()
            writable, self.writable = self.writable, False
            db, self._db = self._db, None
            if db is None:
                return
            try:
                if writable:
                    # A project at rest is one plain file, which can be read on any file system.
                    with suppress(sqlite3.OperationalError):  # somebody reads: the last one to close does it
                        db.execute("PRAGMA journal_mode=DELETE")
            finally:
                db.close()

    # -- opening -----------------------------------------------------------------------------------------

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = self._opened()
        return self._db

    def _opened(self) -> sqlite3.Connection:
        _check_library()
        check_file(self.path, writable=False)
        with disk_errors(self.path):
            db = self._connected_for_reading()
            try:
                self._check(db)
            except BaseException:
                db.close()
                raise
        return db

    def begin_writing(self) -> None:
        """Open for writing after the checks of opening; this process holds the right to write.

        Raises
        ------
        ProjectDamagedError
            The check when it was opened found something.
        """
        if self.problem:
            raise ProjectDamagedError(self.problem)
        check_file(self.path, writable=True)
        self._connection.close()
        with disk_errors(self.path):
            shares = has_shared_memory(self.path.parent)
            self._db = db = self._attempt(self.path, "rw", alone=not shares)
            self._has_log = shares and _takes_log(db)
            if shares and not self._has_log:
                db.close()
                self._db = db = self._attempt(self.path, "rw", alone=True)
            db.execute("PRAGMA query_only=OFF")
            if not self._has_log:
                db.execute("PRAGMA journal_mode=TRUNCATE").fetchone()
                db.execute("PRAGMA locking_mode=NORMAL")
                db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()  # gives the exclusive lock back
            db.execute(f"PRAGMA synchronous={'NORMAL' if self._has_log else 'FULL'}")
            db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
            db.execute("PRAGMA journal_size_limit=0")  # a log that begins again is cut first
            db.execute("PRAGMA busy_timeout=5000")
        self.writable = True

    def _connected_for_reading(self) -> sqlite3.Connection:
        journal, log = (Path(f"{self.path}-{name}") for name in ("journal", "wal"))
        left = [path for path in (journal, log) if path.is_file() and path.stat().st_size > 0]
        try:
            return self._attempt(self.path, "rw" if self._may_write and journal in left else "ro")
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
        # Left by a process that died, and a reader may not put it in order: that is done with a copy.
        if not left:
            return self._attempt(self.path, "ro&immutable=1")
        private = Path(tempfile.mkdtemp(prefix="napari-sam2-"))
        weakref.finalize(self, shutil.rmtree, private, True)
        for path in (self.path, *left):
            shutil.copyfile(path, private / path.name)
        return self._attempt(private / DATABASE, "rw")

    def _attempt(self, path: Path, mode: str, alone: bool = False) -> sqlite3.Connection:
        place = path.absolute().as_posix()
        uri = f"file://{'' if place.startswith('/') else '/'}{quote(place)}?mode={mode}"
        db = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            for limit, value in _LIMITS.items():
                db.setlimit(limit, value)
            for setting in ("trusted_schema=OFF", "cell_size_check=ON", "query_only=ON", "temp_store=MEMORY"):
                db.execute(f"PRAGMA {setting}")
            if alone:  # a log that is left can be read without sharing it
                db.execute("PRAGMA locking_mode=EXCLUSIVE")
            db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        except BaseException:
            db.close()
            raise
        return db

    def _check(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise ProjectVersionError(
                f"{self.path.parent} has layout version {version}, this software knows versions up to {VERSION}: "
                "update napari-sam2"
            )
        if version < 1 or _schema(db) != _expected_schema():
            raise ProjectDamagedError(
                f"{self.path} is damaged: its tables are not those of a project of version {VERSION}"
            )
        checks = ["integrity_check(1)"] if self._is_copy else ["quick_check(1)"]
        if not self._is_copy and self.path.stat().st_size > _CHECKED_BYTES:
            checks = [f"quick_check({table})" for table in _SMALL_TABLES]
        remedy = "; it was copied while it was open: copy it again when it is closed" if self._is_copy else ""
        for check in checks:
            found = db.execute(f"PRAGMA {check}").fetchone()[0]
            if found != "ok":
                self.problem = f"{self.path} is damaged: {found.splitlines()[-1]}{remedy}"


def create_database(path: Path) -> None:
    """Make a database with empty tables; nothing else may be at ``path``."""
    _check_library()
    with disk_errors(path):
        path.touch(exist_ok=False)
        db = sqlite3.connect(path, isolation_level=None)
        try:
            db.executescript(
                f"PRAGMA page_size={_PAGE}; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA application_id={APPLICATION_ID}; "
                f"PRAGMA user_version={VERSION}; BEGIN; {SCHEMA} "
                "INSERT INTO step (label, reach) VALUES ('', -1); COMMIT;"
            )
        finally:
            db.close()


def check_file(path: Path, writable: bool) -> bytes:
    """Return the first 100 bytes of a project's database; raise unless ``path`` is a plain file with such a header."""
    with disk_errors(path):
        try:
            found = path.lstat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ProjectNotFoundError(f"{path} is missing") from error
        if writable and stat.S_ISLNK(found.st_mode):
            raise ProjectDamagedError(f"{path} is a link and is not written to: put the file itself there")
        if not path.is_file():
            raise ProjectDamagedError(f"{path} is damaged: it should be a file")
        with path.open("rb") as file:
            header = file.read(100)
    if len(header) < 100 or header[:16] != _MAGIC:
        raise ProjectDamagedError(f"{path} is damaged: it is no SQLite database")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise ProjectDamagedError(f"{path} is no database of napari-sam2")
    for suffix in SIDE_FILES if writable else ():
        if os.path.islink(f"{path}{suffix}"):
            raise ProjectDamagedError(f"{path}{suffix} is a link and is not written to: remove it")
    return header


def _check_library() -> None:
    if sqlite3.sqlite_version_info < (3, 37):
        raise ProjectError(f"projects need SQLite 3.37 or newer, this Python has {sqlite3.sqlite_version}")


def _takes_log(db: sqlite3.Connection) -> bool:
    try:
        db.execute("PRAGMA query_only=OFF")
        db.execute("PRAGMA synchronous=EXTRA")  # no journal may come back after the change to a log
        mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        for word in ("BEGIN IMMEDIATE", "ROLLBACK"):  # needs the shared memory
            db.execute(word)
        return bool(mode == "wal")
    except sqlite3.OperationalError:
        return False


def _schema(db: sqlite3.Connection) -> dict[str, str | None]:
    rows = db.execute("SELECT name, sql FROM sqlite_master").fetchall()
    return {name: sql for name, sql in rows if not str(name).startswith("sqlite_stat")}


@cache
def _expected_schema() -> dict[str, str | None]:
    db = sqlite3.connect(":memory:")
    try:
        db.executescript(SCHEMA)
        return _schema(db)
    finally:
        db.close()
