from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from app.core import security
from app.core.ids import new_id, pattern
from app.core.security import Principal, Scope, Signer, key_id, load_signer, make_key, write_secret
from app.core.settings import Settings

SIGNER = Signer(b"p" * 32)


class TestKeys:
    def test_shape(self) -> None:
        made = make_key("local")
        assert re.fullmatch(r"dd_local_[0-9a-z]{8}_[A-Za-z0-9_-]{43}_[0-9a-f]{8}", made.text)
        assert key_id(made.text) == made.id
        assert re.fullmatch(r"key_[0-9a-z]{8}", made.id)

    def test_are_all_different(self) -> None:
        assert len({make_key("local").text for _ in range(100)}) == 100

    @pytest.mark.parametrize("position", [0, 5, 12, 30, -1])
    def test_typing_error_is_noticed_without_the_database(self, position: int) -> None:
        text = make_key("local").text
        letter = "0" if text[position] != "0" else "1"
        typo = text[:position] + letter + text[position:][1:] if position >= 0 else text[:-1] + letter
        assert key_id(typo) is None

    @pytest.mark.parametrize("text", ["", "dd_", "dd_local_abcdefgh_short_00000000", "x" * 500, "dd_ä_1_2_3", "\n"])
    def test_nonsense_is_no_key(self, text: str) -> None:
        assert key_id(text) is None

    def test_trailing_newline_is_no_key(self) -> None:
        assert key_id(make_key("local").text + "\n") is None


class TestSigner:
    def test_seals_and_opens(self) -> None:
        sealed = SIGNER.seal("cursor", {"a": [1, "ä"]})
        assert SIGNER.open("cursor", sealed) == {"a": [1, "ä"]}

    def test_other_purpose_is_refused(self) -> None:
        assert SIGNER.open("session", SIGNER.seal("cursor", {"a": 1})) is None

    def test_other_pepper_is_refused(self) -> None:
        assert Signer(b"q" * 32).open("cursor", SIGNER.seal("cursor", {"a": 1})) is None

    def test_any_change_is_refused(self) -> None:
        sealed = SIGNER.seal("cursor", {"key": "abc"})
        for index, letter in enumerate(sealed):
            changed = sealed[:index] + ("A" if letter != "A" else "B") + sealed[index + 1 :]
            assert SIGNER.open("cursor", changed) is None, index

    @pytest.mark.parametrize("text", ["", ".", "a.b", "ä.ö", "e30", "x" * 5000])
    def test_nonsense_is_refused(self, text: str) -> None:
        assert SIGNER.open("cursor", text) is None

    def test_short_pepper_is_refused(self) -> None:
        with pytest.raises(ValueError, match="32"):
            Signer(b"short")


class TestSessions:
    def test_names_its_key(self) -> None:
        first, second = (security.open_session(SIGNER, security.seal_session(SIGNER, "key_1", 60)) for _ in range(2))
        assert first is not None
        assert second is not None
        assert first.key_id == "key_1"
        assert first.id != second.id

    def test_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cookie = security.seal_session(SIGNER, "key_1", 60)
        later = time.time() + 61
        monkeypatch.setattr(time, "time", lambda: later)
        assert security.open_session(SIGNER, cookie) is None


class TestPepper:
    def test_is_made_once_and_private(self, tmp_path: Path) -> None:
        settings = Settings(home=tmp_path)
        first = load_signer(settings).digest("x", "y")
        assert load_signer(settings).digest("x", "y") == first
        assert (tmp_path / "pepper").stat().st_mode & 0o777 == 0o600

    def test_of_the_settings_wins(self, tmp_path: Path) -> None:
        signer = load_signer(Settings(home=tmp_path, pepper="s" * 32))
        assert signer.digest("x", "y") == Signer(b"s" * 32).digest("x", "y")
        assert not (tmp_path / "pepper").exists()

    def test_first_starts_at_once_agree(self, tmp_path: Path) -> None:
        paths = [threading.Thread(target=write_secret, args=(tmp_path / "s", str(n))) for n in range(16)]
        for thread in paths:
            thread.start()
        for thread in paths:
            thread.join()
        assert (tmp_path / "s").read_text().strip() in {str(n) for n in range(16)}
        assert [path.name for path in tmp_path.iterdir()] == ["s"]


class TestPrincipal:
    def test_admin_may_everything_in_the_tenant(self) -> None:
        """Tenants and workers are an operator's: only the scope itself gives that."""
        admin = Principal("t", "key_1", frozenset({Scope.ADMIN}))
        assert {scope for scope in Scope if not admin.may(scope)} == {Scope.OPERATOR}

    def test_others_may_what_they_hold(self) -> None:
        reader = Principal("t", "key_1", frozenset({Scope.JOBS_READ}))
        assert reader.may(Scope.JOBS_READ)
        assert not reader.may(Scope.JOBS_WRITE)
        assert not reader.may(Scope.ADMIN)


class TestIds:
    def test_match_their_pattern(self) -> None:
        assert all(re.match(pattern("job"), new_id("job")) for _ in range(200))

    def test_later_sorts_later(self) -> None:
        early = new_id("job")
        time.sleep(0.003)
        assert early < new_id("job")

    def test_are_version_7(self) -> None:
        number = 0
        for letter in new_id("job").removeprefix("job_"):
            number = number * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(letter)
        assert number >> 76 & 0xF == 7
        assert number >> 62 & 0b11 == 0b10
        assert abs((number >> 80) / 1000 - time.time()) < 60
