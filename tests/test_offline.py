"""Without any network the embedded base model does everything."""

import subprocess
import sys

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


def test_nano_is_tuned_with_the_network_blocked() -> None:
    done = subprocess.run([sys.executable, "-c", _BLOCKED], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['text', 'prediction', 'confidence']", "True"]
