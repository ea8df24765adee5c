"""Files that are written all at once, or not at all."""

import os
import secrets
from pathlib import Path

from chipsim.errors import StoredFileError

PART = ".part"
"""How the name of an unfinished file ends."""


def cannot_write(error: OSError, path: Path) -> StoredFileError:
    """The error to raise when the system refuses to write `path`."""
    reason = error.strerror or str(error)
    return StoredFileError(f"cannot write {path}: {reason}; free space there or choose another place")


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` into `path`: all of it or, if the process or the disk fails, none of it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _flush_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(error, path) from error


def _flush_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be flushed
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process left of unfinished versions of `path`, or of files in the folder `path`."""
    pattern, folder = (f".*{PART}", path) if path.is_dir() else (f".{path.name}.*{PART}", path.parent)
    for leftover in folder.glob(pattern):
        leftover.unlink(missing_ok=True)
