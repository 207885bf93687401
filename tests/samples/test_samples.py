"""The packed samples: columns, counts, masks, repetitions, the split and the errors."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from gpt_magic import samples
from gpt_magic.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(samples.__file__).resolve().parents[2]
PACKED = Path(samples.__file__).with_name("spam.csv.gz")
MAKER = ROOT / "tools" / "make_spam_sample.py"


@pytest.fixture(scope="module")
def spam() -> pd.DataFrame:
    return samples.load("spam")


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    if not MAKER.exists():
        pytest.skip("the tool is not part of an installed package")
    spec = importlib.util.spec_from_file_location("make_spam_sample", MAKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def hashed_split(text: str) -> str:
    digest = hashlib.sha256(f"split\n{text}".encode()).hexdigest()
    return "test" if int(digest[:13], 16) / 16**13 < 0.25 else "train"


def bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", re.sub(r"\d+", "0", text.lower()))


# --- spam ---------------------------------------------------------------------


def test_spam_columns_and_values(spam: pd.DataFrame) -> None:
    assert list(spam.columns) == ["text", "label", "split"]
    assert set(spam["label"]) == {"ham", "spam"}
    assert set(spam["split"]) == {"train", "test"}
    assert list(spam.index) == list(range(len(spam)))


def test_spam_counts_are_those_of_the_docs(spam: pd.DataFrame) -> None:
    counts = spam.groupby(["label", "split"]).size().to_dict()
    assert counts == {
        ("ham", "train"): 2813,
        ("ham", "test"): 886,
        ("spam", "train"): 661,
        ("spam", "test"): 221,
    }
    readme = PACKED.with_name("README.md").read_text(encoding="utf-8")
    for number in (len(spam), *counts.values()):
        assert f"{number:,}" in readme
        assert f"{number:,}" in str(samples.__doc__)


def test_spam_split_is_stratified(spam: pd.DataFrame) -> None:
    shares = (spam["split"] == "test").groupby(spam["label"]).mean()
    assert shares.between(0.22, 0.28).all()


def test_spam_split_is_fixed_by_the_text(spam: pd.DataFrame) -> None:
    assert list(spam["split"]) == [hashed_split(text) for text in spam["text"]]


def test_spam_lengths(spam: pd.DataFrame) -> None:
    lengths = spam["text"].str.len()
    assert lengths.between(20, 1000).all()
    assert not spam["text"].str.contains(r"\s\s|[\n\t\r]|^\s|\s$").any()


def test_spam_has_no_repetitions(spam: pd.DataFrame) -> None:
    assert not spam["text"].duplicated().any()
    whole = spam["text"].map(bare)
    assert not whole.duplicated().any()
    assert not whole.str[:200].duplicated().any()


def test_train_and_test_are_not_alike(spam: pd.DataFrame, maker: ModuleType) -> None:
    sets = [maker.shingles(text) for text in spam["text"]]
    holders: dict[int, list[int]] = {}
    for n, mine in enumerate(sets):
        common: dict[int, int] = {}
        for shingle in mine:
            for other in holders.setdefault(shingle, []):
                common[other] = common.get(other, 0) + 1
            holders[shingle].append(n)
        assert not [o for o, c in common.items() if c / (len(mine) + len(sets[o]) - c) >= 0.5]


@pytest.mark.parametrize(
    "pattern",
    [
        r"\w\s?@\s?[A-Za-z][\w-]*\.\w",
        r"[\w.]@\w",
        r"(?i)https?:",
        r"(?i)://",
        r"(?i)\bwww\.",
        r"(?i)\bmailto:",
        r"(?i)\b[\w-]{3,}\.(?:com|net|org)\b",
        r"\b\d{7,}\b",
        r"\b\d{3}[-.]\d{3}[-.]\d{4}\b",
        r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b",
        r"(?i)\blistinfo/|yahoo! groups sponsor|irish linux users' group",
        r"(?i)start spamassassin results|spamassassin-talk|razor-users|\bzzzz|netnoteinc",
        r"(?i)\bporn|\bxxx\b|\bsex\b",
    ],
)
def test_spam_is_masked(spam: pd.DataFrame, pattern: str) -> None:
    found = spam["text"][spam["text"].str.contains(pattern)]
    assert found.empty, found.iloc[0]


def test_spam_is_small_and_holds_no_time() -> None:
    assert PACKED.stat().st_size < 1_500_000
    head = PACKED.read_bytes()[:10]
    assert head[3] == 0  # no name in the header
    assert head[4:8] == bytes(4)  # no time in the header


# --- toy_zh, names, errors ----------------------------------------------------


def test_toy_zh() -> None:
    toy = samples.load("toy_zh")
    assert list(toy.columns) == ["input", "labels"]
    assert {"input": "苹果是一种什么", "labels": "食物"} in toy.to_dict("records")
    assert {"input": "狗是一种什么", "labels": "动物"} in toy.to_dict("records")
    assert toy["input"].str.endswith("是一种什么").all()
    assert not toy["input"].duplicated().any()
    assert toy["labels"].value_counts().to_dict() == dict.fromkeys(["食物", "动物", "植物", "交通工具"], 11)


def test_every_name_loads_a_new_frame() -> None:
    for name in samples.names():
        assert samples.load(name) is not samples.load(name)
        assert not samples.load(name).isna().any().any()


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(DataError) as caught:
        samples.load("spma")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("'spma'", "did you mean 'spam'?", "toy_zh"):
        assert part in message


def test_import_does_not_need_pandas() -> None:
    code = "import sys, gpt_magic.samples as s; s.names(); assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# --- the tool -----------------------------------------------------------------

PLAIN = b"""From: A <a@example.com>
Content-Type: text/plain; charset=iso-8859-1

On Monday, Jane Doe wrote:
> a quoted line that has to go
The caf\xe9 opens at nine; see http://example.com/x?y=1 or call 212-555-0100.
Mail "Jane Doe" <jane@example.com>, code deadbeef0123.
--\x20
Jane, of the signature
_______________________________________________
Some-list mailing list
"""

HTML = b"""Content-Type: text/html

<html><head><style>p {color: red}</style><title>no</title></head><body>
<p>Buy<!-- x --> now &amp; save</p><script>var x = 1;</script><p>at www.example.com</p></body></html>
"""


def cleaned(maker: ModuleType, raw: bytes) -> str:
    return str(maker.clean(maker.unframed(raw), frozenset()))


def test_tool_cleans_plain_text(maker: ModuleType) -> None:
    assert cleaned(maker, PLAIN) == ("The café opens at nine; see <url> or call <phone>. Mail <email>, code <code>.")


def test_tool_cleans_html(maker: ModuleType) -> None:
    assert cleaned(maker, HTML) == "Buy now & save at <url>"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00",
        b"Content-Type: text/plain; charset=no-such-charset\n\nhello there",
        b"Content-Type: multipart/mixed; boundary=x\n\nno boundary here",
        b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!!!not base64",
        b"Content-Type: text/html\n\n<p <![if x]> <b>unclosed &#x110000;",
    ],
)
def test_tool_survives_broken_mails(maker: ModuleType, raw: bytes) -> None:
    assert isinstance(cleaned(maker, raw), str)


def test_tool_cuts_at_a_word(maker: ModuleType) -> None:
    assert maker.cut("one two three", 9) == "one two"
    assert maker.cut("one two three", 7) == "one two"
    assert maker.cut("one", 7) == "one"


def test_tool_packs_reproducibly_and_fits(maker: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [maker.Row(f"text number {n} {maker.share(str(n), 'x')}", "ham") for n in range(200)]
    rows += [maker.Row(f"offer number {n} {maker.share(str(n), 'y')}", "spam") for n in range(20)]
    assert maker.packed(rows) == maker.packed(rows)
    monkeypatch.setattr(maker, "MAX_BYTES", len(maker.packed(rows)) // 2)
    kept, data = maker.fitted(rows)
    assert len(data) <= maker.MAX_BYTES
    assert sum(row.label == "spam" for row in kept) == 20
    assert 0 < sum(row.label == "ham" for row in kept) < 200


def test_tool_finds_repetitions(maker: ModuleType) -> None:
    words = " ".join(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(60))
    texts = [words, words, words.upper() + "!", words + " tail", "zz " + words, "something else altogether"]
    counts = maker.Counter()
    kept = maker.unique([maker.Row(text, "ham") for text in texts], counts)
    assert [row.text for row in kept] == [words, "something else altogether"]
    assert counts == {
        "ham: same text": 1,
        "ham: same normalised text": 1,
        "ham: same first 200 characters": 1,
        "ham: alike in shingles": 1,
    }
