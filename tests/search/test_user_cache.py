"""The user's cache folder, and users without one."""

from __future__ import annotations

from pathlib import Path

import pytest
from machines import without_home

from search.device_lease import lease
from search.user_cache import user_cache


def test_it_is_the_folder_that_xdg_names_or_the_one_at_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert user_cache() == Path("/elsewhere/metaformer-search")
    for ignored in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert user_cache() == tmp_path / ".cache" / "metaformer-search"


def test_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    without_home(monkeypatch)
    with pytest.raises(OSError, match="no home folder: HOME is not set"):
        user_cache()


def test_a_lease_without_a_folder_keeps_nobody_away_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_home(monkeypatch)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setattr(lease, "shared_folder", lambda: tmp_path / "file" / "leases")
    reach = lease.lease_reach()
    assert reach.startswith("nobody: ")
    assert "no home folder" in reach
    assert not Path("~").exists()
