"""Lock of a study's folder: one process runs the study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from search.errors import EnvironmentProblem
from search.storage.journal import exclusive
from search.storage.run_folder import RunFolder
from search.storage.study_folder import require_own_files


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """The folder, made if it is not there, for this process alone.

    Where no study came to be, what was made is taken away again.
    """
    made = [path for path in (folder.path, *folder.path.parents) if not path.exists()]
    folder.create()
    require_own_files(folder.path)
    with exclusive(folder.lock, f"{folder.path}: another process is running this study"):
        try:
            yield
        finally:  # still under the lock: whoever was refused leaves another's folder alone
            if made and not folder.study.exists():
                folder.lock.unlink(missing_ok=True)
                with suppress(OSError):  # somebody else put something there
                    for path in made:
                        path.rmdir()


def has_begun(folder: RunFolder) -> bool:
    """Return whether a study has begun there; EnvironmentProblem if a file that it needs is
    gone."""
    if not folder.study.exists():
        if folder.journal.exists():
            raise EnvironmentProblem(
                f"{folder.path} holds a journal and no study.yaml that says what it is of; "
                "restore the file, or choose another --out"
            )
        return False
    made_from_it = (folder.trials, folder.summary, folder.best_spec, folder.best_weights)
    if not folder.journal.exists() and any(file.exists() for file in made_from_it):
        raise EnvironmentProblem(
            f"{folder.journal} is gone, and with it what {folder.path} has tried; "
            "restore the file, or choose another --out"
        )
    return True
