"""Without any network the embedded base model does everything, also as it is installed."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import gpt_magic

_BLOCKED = """
import socket

def refuse(*args, **kwargs):
    raise AssertionError(f"the network was asked for: {args}")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = refuse

import gpt_magic

films = [{"text": f"a {word} film, number {n}", "label": word} for n in range(8) for word in ("good", "bad")]
clf = gpt_magic.finetune(films, base="nano", max_steps=2, quiet=True)
print(clf.predict("a good film").columns.tolist())
poet = gpt_magic.finetune(gpt_magic.samples.load("sonnets").head(6)[["text"]], base="nano", max_steps=1, quiet=True)
print(len(poet.generate("When I do", max_new_tokens=4, seed=0)) > 0)
"""


def run_blocked(within: Path | None = None) -> list[str]:
    """Lines that the script printed, run in that folder, whose package comes first, where one is named."""
    done = subprocess.run(
        [sys.executable, "-c", _BLOCKED + "print(gpt_magic.__file__)"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=within,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_nano_is_tuned_with_the_network_blocked() -> None:
    *said, _ = run_blocked()
    assert said == ["['text', 'prediction', 'confidence']", "True"]


def test_the_wheel_holds_the_base_model_and_the_samples(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=Path(gpt_magic.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 30e6
    unpacked = tmp_path / "site"
    with ZipFile(wheel) as files:
        files.extractall(unpacked)
    *said, where = run_blocked(unpacked)
    assert said == ["['text', 'prediction', 'confidence']", "True"]
    assert Path(where).parents[1] == unpacked
