"""What the demo measures and compares."""

from pathlib import Path

import pytest

from console.children import ChildFailed
from console.demo import flip_words, what_next, without_mine


def test_two_logs_are_compared_without_mine_and_with_everything_else() -> None:
    line = b'{"event":"final","text":"say \\",\\"mine\\":true","mine":true,"v":1}'
    assert without_mine(line) == b'{"event":"final","text":"say \\",\\"mine\\":true","v":1}'
    assert without_mine(line) == without_mine(line.replace(b'"mine":true,"v"', b'"mine":false,"v"'))


def test_one_bit_of_the_words_is_flipped_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"...hello...hello")
    (tmp_path / "other").write_bytes(b"nothing")
    flip_words(tmp_path, b"hello")
    assert (tmp_path / "store").read_bytes() == b"...iello...iello"
    assert (tmp_path / "other").read_bytes() == b"nothing"
    with pytest.raises(ChildFailed):
        flip_words(tmp_path, b"hello")


def test_who_has_no_pigeon_on_the_path_is_told_how_to_get_it_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "activate").touch()
    (tmp_path / "pigeon").touch(mode=0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    assert f"  source {tmp_path}/activate " in what_next(tmp_path / "pigeon")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "activate" not in what_next(tmp_path / "pigeon")
