"""Bad input as users write it, and the line that each gives.

`tests.test_bad_input` runs every cell; ``tools/bad_input_table.py`` makes ``docs/bad_input.md`` of it.
"""

from dataclasses import dataclass

# What the notebook holds before each cell, beside `clf` and `writer`, two tuned models, and `model` and `tokenizer`, a
# small GPT-2.
NOTEBOOK = """
from pathlib import Path
import datasets, numpy as np, pandas as pd
import gpt_magic
%config GptMagic.base = "scratch"

reviews = pd.DataFrame({"review": ["a fine film", "a dull film", "well acted", "badly acted"] * 3,
                        "sentiment": ["good", "bad", "good", "bad"] * 3})
held_out = pd.DataFrame({"review": ["a fine plot"], "sentiment": ["good"]})
riddles = pd.DataFrame({"prompt": ["Who barks?", "Who purrs?"] * 6, "completion": [" The dog.", " The cat."] * 6})
talk = [{"role": "user", "content": "Who barks?"}, {"role": "assistant", "content": "The dog."}]
talks = pd.DataFrame({"messages": [talk] * 12})
names = pd.DataFrame({"tokens": [["Ada", "met", "Bob"]] * 12, "tags": [["B-PER", "O", "B-PER"]] * 12})
found = [{"start": 0, "end": 3, "label": "PER"}]
marked = pd.DataFrame({"text": ["Ada met Bob"] * 12, "entities": [found] * 12})
quiz = pd.DataFrame({"question": ["Who barks?", "Who purrs?"] * 6, "context": ["The dog barks.", "The cat purrs."] * 6,
                     "answer": ["The dog", "The cat"] * 6})
"""


@dataclass(frozen=True)
class Bad:
    """One kind of bad input.

    Attributes:
        what: the kind, in words.
        cell: what was written.
        line: what is shown, all of it.
        given: code that was run in the notebook before.
    """

    what: str
    cell: str
    line: str
    given: str = ""


LINE = [
    Bad(
        "no data",
        "%%finetune\nepochs = 3",
        "DataError: no data: name a DataFrame, as in %%finetune reviews, or say data = ...",
    ),
    Bad(
        "a slip in the name of the data",
        "%%finetune revews",
        "OptionError: there is no 'revews' in this notebook (did you mean 'reviews'?)",
    ),
    Bad(
        "data that are not there",
        "%finetune letters",
        "OptionError: there is no 'letters' in this notebook; name a DataFrame of this notebook, the path of a file, "
        "or a data set of the hub as letters:train",
    ),
    Bad(
        "an expression on the line",
        "%finetune reviews[:9]",
        "OptionError: there is no 'reviews[:9]' in this notebook; an expression goes into the body of a "
        "%%finetune cell: data = ...",
    ),
    Bad(
        "two tables",
        "%finetune reviews held_out",
        "OptionError: data is given twice on the line of the magic, again as 'held_out'",
    ),
    Bad(
        "an attribute that is not there",
        "%finetune reviews.train",
        "OptionError: reviews.train: a DataFrame has no 'train', and no file that gpt_magic reads has such a name",
    ),
    Bad(
        "an order to a run that never was",
        "%finetune --stop clg",
        "OptionError: no run 'clg' (did you mean 'clf'?)",
    ),
    Bad(
        "two names for an order",
        "%finetune --pause clf poet",
        "OptionError: --pause takes the name of one run, or none for the last; not 'clf poet'",
    ),
    Bad(
        "an order beside other flags",
        "%finetune reviews --stop",
        "OptionError: --stop stands alone, with the name of a run at most: %finetune --stop [NAME]",
    ),
    Bad(
        "an order with a body",
        "%%finetune --show clf\nepochs = 3",
        "OptionError: --show takes no body: write %finetune --show in a cell of its own",
    ),
    Bad(
        "a name for a list",
        "%finetune --status clf",
        "OptionError: --status lists all runs: write it without a name",
    ),
    Bad(
        "no run to resume",
        "%finetune --resume clf",
        "DataError: there is no run to resume: none was stopped, or cut after its first checkpoint",
        "gpt_magic.cache().clear()",
    ),
    Bad("a slip in a flag", "%finetune reviews --epohcs 3", "OptionError: no option 'epohcs' (did you mean 'epochs'?)"),
    Bad(
        "a flag of another tool",
        "%finetune reviews --lr 1e-4",
        "OptionError: no option 'lr' (did you mean 'learning_rate'?)",
    ),
    Bad(
        "a flag with one dash",
        "%finetune reviews -epochs 3",
        "OptionError: no flag '-epochs'; flags are -o, -h and the options with two dashes, such as --epochs",
    ),
    Bad(
        "a flag without its value",
        "%finetune reviews --text --label sentiment",
        "OptionError: --text needs a value: the name of a column, a list of two, or None",
    ),
    Bad(
        "a switch turned off as elsewhere",
        "%finetune reviews --no-baselines",
        "OptionError: no option '--no-baselines': write --baselines False",
    ),
    Bad(
        "a flag twice",
        "%finetune reviews --epochs 3 --epochs 5",
        "OptionError: epochs is given twice on the line of the magic, again as '5'",
    ),
    Bad(
        "an option on the line and in the body",
        "%%finetune reviews --epochs 3\nepochs = 5",
        "OptionError: epochs is given twice: on the line of the magic and in the cell's body",
    ),
    Bad(
        "an open quote",
        "%finetune reviews --text reviewer's",
        "OptionError: cannot read the line of the magic: no closing quotation; a text with ' in it stands "
        'between " and "',
    ),
]
BODY = [
    Bad(
        "a slip in an option",
        "%%finetune reviews\nepohcs = 3",
        "OptionError: line 2 of the cell: no option 'epohcs' (did you mean 'epochs'?)",
    ),
    Bad(
        "an option of another tool",
        "%%finetune reviews\nnum_train_epochs = 3",
        "OptionError: line 2 of the cell: no option 'num_train_epochs' (did you mean 'epochs'?)",
    ),
    Bad(
        "an option that is none",
        "%%finetune reviews\ncolour = 'red'",
        "OptionError: line 2 of the cell: no option 'colour'; see %finetune -h for the list",
    ),
    Bad(
        "an option twice",
        "%%finetune reviews\nepochs = 3\nepochs = 5",
        "OptionError: epochs is given twice, again on line 3 of the cell",
    ),
    Bad(
        "other code in the body",
        "%%finetune reviews\nprint('go')",
        "OptionError: line 2 of the cell, \"print('go')\", is not an assignment to an option: write lines such "
        "as epochs = 3, and other code in a cell of its own",
    ),
    Bad(
        "a flag in the body",
        "%%finetune reviews\n--epochs 3",
        "OptionError: line 2 of the cell is not Python: '--epochs 3' (invalid syntax); flags stand on the first line",
    ),
    Bad(
        "a body that is not Python",
        "%%finetune reviews\nepochs = 3,\nlabel = 'sentiment",
        'OptionError: line 3 of the cell is not Python: "label = \'sentiment" (unterminated string literal)',
    ),
    Bad(
        "an assignment to something else",
        "%%finetune reviews\nreviews['text'] = 'a'",
        "OptionError: line 2 of the cell, \"reviews['text'] = 'a'\": only option names can be assigned to",
    ),
    Bad(
        "a column without quotes",
        "%%finetune reviews\nlabel = sentiment",
        "OptionError: line 2 of the cell, 'label = sentiment': NameError: name 'sentiment' is not defined; a "
        "text stands in quotes: label = 'sentiment'",
    ),
    Bad(
        "a slip in a name",
        "%%finetune reviews\nvalid = heldout",
        "OptionError: line 2 of the cell, 'valid = heldout': NameError: name 'heldout' is not defined (did "
        "you mean 'held_out'?)",
    ),
    Bad(
        "an expression that fails",
        "%%finetune reviews\ntext = reviews.columns[5]",
        "OptionError: line 2 of the cell, 'text = reviews.columns[5]': IndexError: index out of bounds",
    ),
    Bad(
        "two options, one value",
        "%%finetune reviews\ntext, label = 'review'",
        "OptionError: line 2 of the cell, \"text, label = 'review'\": 2 names need 2 values",
    ),
]
VALUES = [
    Bad(
        "a number out of range",
        "%%finetune reviews\nepochs = 0",
        "OptionError: epochs = 0: must be a whole number from 1 to 1,000 or auto",
    ),
    Bad(
        "a number as text",
        "%%finetune reviews\nepochs = '3'",
        "OptionError: epochs = '3': must be a whole number from 1 to 1,000 or auto",
    ),
    Bad(
        "a learning rate as text",
        "%finetune reviews --learning-rate fast",
        "OptionError: learning_rate = 'fast': must be a number from 1e-08 to 1, auto or None",
    ),
    Bad(
        "an end that nothing can tell",
        "%%finetune reviews\nepochs, max_steps, valid_fraction = 'auto', 0, 0",
        "OptionError: epochs = 'auto' ends when the validation rows bring nothing better, and there are none: give "
        "valid, a valid_fraction above 0, or a number of epochs",
    ),
    Bad(
        "a percentage for a share",
        "%%finetune reviews\nvalid_fraction = 20",
        "OptionError: valid_fraction = 20: must be a number from 0 to 0.5",
    ),
    Bad(
        "blocks without a number",
        "%%finetune reviews\ntrain = 'top'",
        "OptionError: train = 'top': must be all, lora, head or top:k, such as top:2 (did you mean 'top:2'?)",
    ),
    Bad(
        "a slip in a choice",
        "%%finetune reviews\nschedule = 'cosin'",
        "OptionError: schedule = 'cosin': must be one of linear, cosine, constant (did you mean 'cosine'?)",
    ),
    Bad(
        "a format that training does not use",
        "%%finetune reviews\nprecision = 'fp16'",
        "OptionError: precision = 'fp16': must be one of auto, fp32, bf16 (did you mean 'bf16'?)",
    ),
    Bad(
        "a device that is none",
        "%%finetune reviews\ndevice = 'gpu'",
        "OptionError: device = 'gpu': must be auto, cpu, cuda, cuda:N or mps",
    ),
    Bad(
        "a switch that is neither on nor off",
        "%finetune reviews --quiet maybe",
        "OptionError: quiet = 'maybe': must be True or False",
    ),
    Bad(
        "two columns for one role",
        "%%finetune reviews\nlabel = ['title', 'review']",
        "OptionError: label = ['title', 'review']: must be the name of a column or None",
    ),
    Bad(
        "a result that has no Python name",
        "%finetune reviews -o my-model",
        "OptionError: output = 'my-model': must be a Python name, such as clf",
    ),
    Bad(
        "longer texts than the base reads",
        "%%finetune reviews\nmax_length = 5000",
        "OptionError: max_length = 5,000: scratch reads at most 512 tokens",
    ),
    Bad(
        "weights in a list",
        "%%finetune reviews\nclass_weights = [1, 2]",
        "OptionError: class_weights = [1, 2]: must be none, balanced, or a dict label -> weight",
    ),
    Bad(
        "a class without a weight",
        "%%finetune reviews\nclass_weights = {'good': 1}",
        "OptionError: class_weights: 'bad' not given; give a weight for each of 'bad', 'good'",
    ),
    Bad(
        "a weight for no class",
        "%%finetune reviews\nclass_weights = {'good': 1, 'bad': 1, 'poor': 1}",
        "OptionError: class_weights: 'poor' unknown; give a weight for each of 'bad', 'good'",
    ),
    Bad(
        "a negative weight",
        "%%finetune reviews\nclass_weights = {'good': 1, 'bad': -1}",
        "OptionError: class_weights = {'good': 1, 'bad': -1}: weights must be numbers from 0 up, not all 0",
    ),
]
TABLES = [
    Bad(
        "a text for data",
        "%%finetune\ndata = 'It was a dark and stormy night. ' * 100\ntask = 'generate'",
        "DataError: data = 'It was a dark and stormy night. It was a dark and stormy... is a text, not the name of a "
        "file: texts to learn from stand in a list, data = [text]",
    ),
    Bad(
        "an empty name",
        "%%finetune\ndata = ''",
        "DataError: data = '' names nothing: give the path of a file, or a DataFrame without quotes",
    ),
    Bad(
        "a number for data",
        "%%finetune\ndata = 3",
        "DataError: data is an int: give a DataFrame, a list of dicts or of texts, a datasets.Dataset, or the "
        "path of a CSV, TSV, JSONL, TXT or Parquet file",
    ),
    Bad(
        "texts without labels",
        "%%finetune\ndata = ['a fine film', 'a dull film']\ntask = 'classify'",
        "DataError: no column is left for the label: the table has only 'text'",
    ),
    Bad(
        "the data's name in quotes",
        "%%finetune\ndata = 'reviews'",
        "OptionError: data = 'reviews': the name of a DataFrame has no quotes: data = reviews",
    ),
    Bad(
        "a data set of the hub without a network",
        "%finetune my-team/mails:test",
        "DataError: data = 'my-team/mails:test': no such file, and no such data set on this disk while HF_HUB_OFFLINE "
        "is set; the name of a DataFrame has no quotes",
    ),
    Bad(
        "a split that is not there",
        "%finetune splits:tset",
        "OptionError: splits:tset: a DatasetDict has no split 'tset' (did you mean 'test'?)",
        "part = datasets.Dataset.from_pandas(reviews); splits = datasets.DatasetDict(train=part, test=part)",
    ),
    Bad(
        "a split of a table",
        "%finetune reviews --split test",
        "DataError: split = 'test': data is a DataFrame, which has no splits",
    ),
    Bad(
        "a pattern that no file has",
        "%finetune data/*.csv",
        "DataError: data = 'data/*.csv': no file is named so",
    ),
    Bad(
        "a pattern for files of two kinds",
        "%finetune 'parts/*'",
        "DataError: data = 'parts/*' also stands for notes.md, which gpt_magic does not read: say which, such as "
        "'parts/*.csv'",
        "Path('parts').mkdir(exist_ok=True); Path('parts/notes.md').touch(); reviews.to_csv('parts/a.csv')",
    ),
    Bad(
        "files of one table with other columns",
        "%finetune shards/*.csv",
        "DataError: data: b.csv has the columns 'text', 'sentiment', but a.csv has 'review', 'sentiment': files of one "
        "table have the same columns",
        "Path('shards').mkdir(exist_ok=True); reviews.to_csv('shards/a.csv', index=False); "
        "reviews.rename(columns={'review': 'text'}).to_csv('shards/b.csv', index=False)",
    ),
    Bad(
        "a folder without texts",
        "%%finetune\ndata = 'empty'",
        "DataError: data = 'empty': the folder has no .txt files; for tables write 'empty/*.csv'",
        "Path('empty').mkdir(exist_ok=True)",
    ),
    Bad(
        "one column",
        "%finetune reviews.review",
        "DataError: data is a Series: give a DataFrame, a list of dicts or of texts, a datasets.Dataset, or the "
        "path of a CSV, TSV, JSONL, TXT or Parquet file",
    ),
    Bad("no rows", "%%finetune\ndata = reviews[reviews.sentiment == 'great']", "DataError: data has no rows"),
    Bad(
        "splits of which none is train",
        "%finetune splits",
        "DataError: data holds the splits test, dev: say which, such as split = 'test'",
        "part = datasets.Dataset.from_pandas(reviews); splits = datasets.DatasetDict(test=part, dev=part)",
    ),
    Bad(
        "columns of two lengths",
        "%%finetune\ndata = {'text': ['a', 'b'], 'label': ['x']}",
        "DataError: data is a dict, but not of columns that make a table: All arrays must be of the same length",
    ),
    Bad(
        "columns of two levels",
        "%finetune counts",
        "DataError: data has columns of 2 levels: flatten them to plain names first",
        "counts = reviews.pivot_table(index='review', columns=['sentiment'], aggfunc=['size', 'count'])",
    ),
    Bad(
        "two columns of one name",
        "%finetune doubled",
        "DataError: data has two columns named 'review': rename one",
        "doubled = pd.concat([reviews, reviews], axis=1)",
    ),
    Bad(
        "a file that is not there",
        "%finetune revews.csv",
        "DataError: data = 'revews.csv': no such file (did you mean 'reviews.csv'?)",
        "reviews.to_csv('reviews.csv', index=False)",
    ),
    Bad(
        "a file of another kind",
        "%finetune reviews.xlsx",
        "OptionError: reviews.xlsx: a DataFrame has no 'xlsx', and no file that gpt_magic reads has such a name",
    ),
    Bad(
        "a web address",
        "%finetune https://example.org/reviews.csv",
        "DataError: data = 'https://example.org/reviews.csv' is a web address: read it into a DataFrame "
        "first, or download the file",
    ),
    Bad(
        "a file in another encoding",
        "%finetune old.csv",
        "DataError: data = 'old.csv' is not UTF-8 (byte 0xe9): save it as UTF-8, or read it into a DataFrame "
        "with pandas and its encoding, such as encoding='latin-1'",
        "Path('old.csv').write_text('text,label\\ncafé,x\\n', encoding='latin-1')",
    ),
    Bad(
        "commas without quotes",
        "%finetune loose.csv",
        "DataError: data = 'loose.csv' cannot be read: rows have more fields than the first line; put texts "
        "with ',' in quotes",
        "Path('loose.csv').write_text('text,label\\nso, so,x\\nno, no,y\\n')",
    ),
    Bad(
        "semicolons for commas",
        "%finetune german.csv",
        "DataError: data = 'german.csv' cannot be read: its first line has ';', not ',': read it with "
        "pandas.read_csv(..., sep=';')",
        "Path('german.csv').write_text('text;label\\na;x\\n')",
    ),
    Bad(
        "a row that is too long",
        "%finetune long.csv",
        "DataError: data = 'long.csv' cannot be read: Expected 2 fields in line 3, saw 3; put texts with ',' in quotes",
        "Path('long.csv').write_text('text,label\\nyes,x\\nno, no,y\\n')",
    ),
    Bad(
        "a line that is not JSON",
        "%finetune bad.jsonl",
        "DataError: data = 'bad.jsonl' cannot be read: line 2, column 10 is not JSON (Expecting value)",
        'Path(\'bad.jsonl\').write_text(\'{"text": "a", "label": "x"}\\n{"text": b}\\n\')',
    ),
]
COLUMNS = [
    Bad(
        "a column that is not there",
        "%%finetune reviews\ntext = 'reviews'",
        "DataError: text = 'reviews': no such column (did you mean 'review'?)",
    ),
    Bad(
        "no column with a usual name",
        "%finetune odd",
        "DataError: no column is plainly the text: say text = ... with one of 'a', 'b'",
        "odd = reviews.set_axis(['a', 'b'], axis=1)",
    ),
    Bad(
        "two columns that could be it",
        "%finetune both",
        "DataError: which column is the text: 'review' or 'content'? Say text = 'review'",
        "both = reviews.assign(content=reviews.review)",
    ),
    Bad(
        "no column left",
        "%finetune texts --task classify",
        "DataError: no column is left for the label: the table has only 'review'",
        "texts = reviews[['review']]",
    ),
    Bad(
        "one column for both roles",
        "%%finetune reviews\ntext, label = 'review', 'review'",
        "DataError: text and label are both the column 'review': name two different columns",
    ),
    Bad(
        "validation data that are none",
        "%%finetune reviews\nvalid = 0.2",
        "DataError: valid = 0.2 is no table; to set a share of the data aside say valid_fraction = 0.2",
    ),
    Bad(
        "validation data without the column",
        "%%finetune reviews\nvalid = other",
        "DataError: valid has no column 'review' for the text; it has 'text', 'sentiment'",
        "other = held_out.rename(columns={'review': 'text'})",
    ),
]
ROWS = [
    Bad(
        "missing texts",
        "%finetune gaps",
        "DataError: data: column 'review' is empty in rows 0, 1, 2. Fill them, or say missing = 'drop' to "
        "leave such rows out",
        "gaps = reviews.assign(review=[None, '', ' ', *['a', 'b', 'c'] * 3])",
    ),
    Bad(
        "missing labels",
        "%finetune gaps",
        "DataError: data: column 'sentiment' is empty in rows 2, 5, 8, 11. Fill them, or say missing = "
        "'drop' to leave such rows out",
        "gaps = reviews.assign(sentiment=['good', 'bad', np.nan] * 4)",
    ),
    Bad(
        "numbers for texts",
        "%%finetune reviews\ntext = 'stars'",
        "DataError: data: column 'stars' holds int64 values, not texts: is it the right one?",
        "reviews['stars'] = range(12)",
    ),
    Bad(
        "a number among the texts",
        "%finetune mixed",
        "DataError: data, row 1: column 'review' holds an int, not a text",
        "mixed = reviews.assign(review=['a', 5, *'bcdefghijk'])",
    ),
    Bad(
        "an emoji cut in two",
        "%finetune cut",
        "DataError: data, row 0: the text in column 'text' is no valid Unicode (an emoji cut in two?): clean "
        "it with text.encode('utf-8', 'ignore').decode()",
        "cut = [{'text': 'so \\ud83d', 'label': 'good'}, {'text': 'no', 'label': 'bad'}]",
    ),
    Bad(
        "one class",
        "%%finetune\ndata = reviews[reviews.sentiment == 'good']",
        "DataError: column 'sentiment' has one class only, 'good': nothing to tell apart",
    ),
    Bad(
        "classes with a fraction",
        "%finetune scores --task classify",
        "DataError: data, row 0: the label 0.5 in column 'sentiment' is a number that is not whole; classes "
        "are texts, whole numbers or True/False; task = 'regress' learns numbers",
        "scores = reviews.assign(sentiment=[0.5, 1.0] * 6)",
    ),
    Bad(
        "labels of two kinds",
        "%finetune mixed",
        "DataError: data: column 'sentiment' mixes labels of kind int and str: make them one kind, such as "
        ".astype(str)",
        "mixed = reviews.assign(sentiment=[1, 'good'] * 6)",
    ),
    Bad(
        "dates for labels",
        "%finetune dated",
        "DataError: data, row 0: the label Timestamp('2026-01-01 00:00:00') in column 'sentiment' is a "
        "Timestamp; classes are texts, whole numbers or True/False",
        "dated = reviews.assign(sentiment=pd.date_range('2026-01-01', periods=12))",
    ),
    Bad(
        "a new label in validation",
        "%%finetune reviews\nvalid = other",
        "DataError: valid, row 0: no training row has the label 'great'; the classes are 'bad', 'good'",
        "other = held_out.assign(sentiment='great')",
    ),
    Bad(
        "validation labels of another kind",
        "%%finetune reviews\nvalid = other",
        "DataError: valid: column 'sentiment' holds int labels, data holds str: make them one kind",
        "other = held_out.assign(sentiment=1)",
    ),
    Bad(
        "texts that are too long",
        "%%finetune reviews\nmax_length = 2\ntruncate = 'error'",
        "DataError: 12 rows with a text longer than 2 tokens (rows 0, 1, 2, 3, 4, 5, 6, 7 and 4 more): "
        "shorten them, or say truncate = 'head' or 'tail'",
    ),
]
BASES = [
    Bad(
        "more blocks than the base has",
        "%%finetune reviews\ntrain = 'top:12'",
        "OptionError: train = 'top:12': the model has 6 blocks; say top:1 to top:6",
    ),
    Bad(
        "a layer that the base does not have",
        "%%finetune reviews\ntrain, lora_targets = 'lora', ['q_proj']",
        "OptionError: lora_targets = ['q_proj']: no layer 'q_proj' in the blocks (did you mean 'c_proj'?); there are "
        "c_attn, c_proj, c_fc",
    ),
    Bad(
        "an optimizer that small matrices do not suit",
        "%%finetune reviews\ntrain, optimizer = 'lora', 'muon'",
        "OptionError: optimizer = 'muon' is for the matrices in the blocks, and train = 'lora' has small matrices, for "
        "which it is not made: say optimizer = 'adamw'",
    ),
    Bad(
        "a head that is the embedding, alone",
        "%%finetune riddles\ntrain = 'head'",
        "OptionError: train = 'head': this head shares its matrix with the embedding, which stays as it is, so nothing "
        "would be learned; say train = 'top:1' or 'lora'",
    ),
    Bad(
        "an adapter whose base nobody finds again",
        "%%finetune reviews\ntrain, merge = 'lora', False",
        "OptionError: merge = False: an adapter needs a base that is found again, and base = 'scratch' has random "
        "weights; save it and give the folder, or say merge = True",
    ),
    Bad(
        "a hub model without the hub",
        "%%finetune reviews\nbase = 'org/model'",
        "ModelError: base = 'org/model' is not on this disk and HF_HUB_OFFLINE is set: say base = 'nano', "
        "which ships with gpt_magic, or give a folder",
    ),
    Bad(
        "a slip in a model's name",
        "%%finetune reviews\nbase = 'scrach'",
        "ModelError: base = 'scrach' is not on this disk and HF_HUB_OFFLINE is set (did you mean "
        "'scratch'?): say base = 'nano', which ships with gpt_magic, or give a folder",
    ),
    Bad(
        "a name that cannot be one",
        "%%finetune reviews\nbase = 'my model'",
        "ModelError: base = 'my model' is neither a folder nor a hub id",
    ),
    Bad(
        "a folder that is not there",
        "%%finetune reviews\nbase = './models/clf'",
        "ModelError: base = './models/clf': no such folder",
    ),
    Bad(
        "a folder without a model",
        "%%finetune reviews\nbase = 'empty'",
        "ModelError: base = 'empty': the folder has no config.json, so it is not a saved transformers model",
        "Path('empty').mkdir()",
    ),
    Bad(
        "weights in a pickle",
        "%%finetune reviews\nbase = 'pickled'",
        "ModelError: base = 'pickled': the folder has no .safetensors weights, and other formats can run "
        "code when they are loaded; save it again with model.save_pretrained(...)",
        "model.config.save_pretrained('pickled')\nPath('pickled/pytorch_model.bin').touch()",
    ),
    Bad(
        "damaged weights",
        "%%finetune reviews\nbase = 'damaged'",
        "ModelError: base = 'damaged': its weights are damaged (Error while deserializing header: header too "
        "small); save or download them again",
        "model.save_pretrained('damaged'); tokenizer.save_pretrained('damaged')\n"
        "Path('damaged/model.safetensors').write_bytes(b'cut')",
    ),
    Bad(
        "a folder without a tokenizer",
        "%%finetune reviews\nbase = 'bare'",
        "ModelError: base = 'bare' has no tokenizer: add it with tokenizer.save_pretrained(...)",
        "model.save_pretrained('bare')",
    ),
    Bad(
        "a model alone",
        "%%finetune reviews\nbase = model",
        "OptionError: base is a GPT2LMHeadModel: give a hub id such as 'gpt2', a folder, a (model, "
        "tokenizer) pair, or 'nano' or 'scratch'",
    ),
    Bad(
        "a pair the wrong way round",
        "%%finetune reviews\nbase = (tokenizer, model)",
        "OptionError: base: a (model, tokenizer) pair holds a transformers model first, not a GPT2Tokenizer",
    ),
    Bad(
        "a number for a base",
        "%%finetune reviews\nbase = 2",
        "OptionError: base is an int: give a hub id such as 'gpt2', a folder, a (model, tokenizer) pair, or "
        "'nano' or 'scratch'",
    ),
]
PREDICT = [
    Bad(
        "a slip in the model's name",
        "%predict clv a fine film",
        "OptionError: 'clv' is not in this notebook (did you mean 'clf'?)",
    ),
    Bad(
        "something that is no model",
        "%predict reviews a fine film",
        "OptionError: 'reviews' is not a tuned model; tuned models here: clf, writer",
    ),
    Bad(
        "nothing to predict",
        "%predict clf",
        "DataError: nothing to predict: give a text or the name of a DataFrame after the model's name",
    ),
    Bad(
        "no texts in the cell",
        "%%predict clf\n\n",
        "DataError: the cell has no texts: write one a line below %%predict",
    ),
    Bad(
        "texts on the line and in the cell",
        "%%predict clf a fine film\na dull film",
        "OptionError: give the texts in the cell's body or on the line, not both",
    ),
    Bad(
        "a table without the text column",
        "%predict clf other",
        "DataError: the data have no text column 'review'; theirs are 'text', 'sentiment'",
        "other = held_out.rename(columns={'review': 'text'})",
    ),
    Bad("a table without rows", "%predict clf none", "DataError: data has no rows", "none = held_out.iloc[:0]"),
    Bad(
        "numbers for texts",
        "%predict clf numbers",
        "DataError: data, row 0: the list holds an int, not a text",
        "numbers = [1, 2]",
    ),
    Bad(
        "a slip in a flag",
        "%predict clf reviews --probs",
        "OptionError: no flag '--probs' (did you mean '--probabilities'?); a text that begins or ends so stands in "
        "quotes",
    ),
    Bad(
        "an expression",
        "%predict clf reviews.review[:3]",
        "OptionError: 'reviews.review[:3]' is an expression: write clf.predict(reviews.review[:3]); a text stands in "
        "quotes",
    ),
    Bad(
        "a file that is not there",
        "%predict clf revews.csv",
        "DataError: data = 'revews.csv': no such file (did you mean 'reviews.csv'?)",
        "reviews.to_csv('reviews.csv', index=False)",
    ),
]
GENERATE = [
    Bad(
        "columns of two kinds",
        "%%finetune talks\nmessages, text = 'messages', 'review'",
        "OptionError: text and messages are both given: give text, or prompt and completion, or messages",
    ),
    Bad(
        "a label for a text to write on from",
        "%finetune reviews --task generate --label sentiment",
        "OptionError: label is for task = 'classify'; to generate give text, or prompt and completion, or messages",
    ),
    Bad(
        "two columns that could be the prompt",
        "%finetune orders --task generate",
        "DataError: which column is the prompt: 'instruction' or 'input'? Say prompt = 'instruction'",
        "orders = riddles.set_axis(['instruction', 'output'], axis=1).assign(input='Be short.')",
    ),
    Bad(
        "completions for a classifier",
        "%finetune riddles --task classify --completion completion",
        "OptionError: completion is for task = 'generate'; to classify give text and label",
    ),
    Bad(
        "a prompt column that is not there",
        "%finetune riddles --prompt promt",
        "DataError: prompt = 'promt': no such column (did you mean 'prompt'?)",
    ),
    Bad(
        "prompts without completions",
        "%%finetune\ndata = riddles[['prompt']]\nprompt = 'prompt'",
        "DataError: no column is left for the completion: the table has only 'prompt'",
    ),
    Bad(
        "one column with an unusual name",
        "%finetune verses",
        "DataError: no column is plainly the text: say text = ... with one of 'verse'",
        "verses = riddles[['prompt']].set_axis(['verse'], axis=1)",
    ),
    Bad(
        "an empty completion",
        "%finetune gaps",
        "DataError: data: column 'completion' is empty in rows 1, 3, 5, 7, 9, 11. Fill them, or say missing = 'drop' "
        "to leave such rows out",
        "gaps = riddles.replace(' The cat.', '')",
    ),
    Bad(
        "a text for a conversation",
        "%finetune texts",
        "DataError: data, row 0: 'Who barks?' is a str, not a list of {'role', 'content'} messages",
        "texts = talks.assign(messages='Who barks?')",
    ),
    Bad(
        "an empty conversation",
        "%finetune silent",
        "DataError: data, row 0: [] is empty, not a list of {'role', 'content'} messages",
        "silent = talks.assign(messages=[[]] * 12)",
    ),
    Bad(
        "messages of another shape",
        "%finetune turns",
        "DataError: data, row 0: message 0 is {'from': 'human', 'value': 'Hi'}; write {'role': 'user', 'content': "
        "'...'}",
        "turns = talks.assign(messages=[[{'from': 'human', 'value': 'Hi'}]] * 12)",
    ),
    Bad(
        "a role that is none",
        "%finetune bots",
        "DataError: data, row 0: message 1 has the role 'bot'; roles are system, user, assistant",
        "bots = talks.assign(messages=[[talk[0], {'role': 'bot', 'content': 'The dog.'}]] * 12)",
    ),
    Bad(
        "a message without a text",
        "%finetune blank",
        "DataError: data, row 0: message 1 has no text in 'content'",
        "blank = talks.assign(messages=[[talk[0], {'role': 'assistant', 'content': ' '}]] * 12)",
    ),
    Bad(
        "a conversation without an answer",
        "%finetune asked",
        "DataError: data, row 0: the assistant says nothing in this conversation, so there is nothing to learn",
        "asked = talks.assign(messages=[talk[:1]] * 12)",
    ),
    Bad(
        "a number of samples",
        "%%finetune riddles\nsamples = 3",
        "OptionError: samples = 3: must be a list of texts",
    ),
    Bad(
        "prompts that are too long",
        "%finetune riddles --max-length 6 --truncate error",
        "DataError: 12 prompts with their completions longer than 6 tokens (rows 0, 1, 2, 3, 4, 5, 6, 7 and 4 more): "
        "shorten them, or say truncate = 'tail' to learn them without their beginning",
    ),
    Bad(
        "a base that has learned to label",
        "%%finetune riddles\nbase = (GPT2ForSequenceClassification(config), tokenizer)",
        "ModelError: base = 'GPT2ForSequenceClassification' has no language-model head: to generate, start from a "
        "language model",
        "from transformers import GPT2Config, GPT2ForSequenceClassification\n"
        "config = GPT2Config(n_layer=1, n_embd=16, n_head=2, n_positions=32, vocab_size=8192, "
        "tie_word_embeddings=False)",
    ),
    Bad(
        "a temperature below 0",
        "writer.generate('Who', temperature=-1)",
        "OptionError: temperature = -1 must be a number from 0 up",
    ),
    Bad(
        "a choice among no tokens",
        "writer.generate('Who', top_p=0)",
        "OptionError: top_p = 0 must be a number above 0, up to 1",
    ),
    Bad(
        "more tokens than the model reads",
        "writer.generate('Who', max_new_tokens=5000)",
        "OptionError: max_new_tokens = 5,000 must be from 1 to 31: the model reads 32 tokens at once, the prompt "
        "included",
    ),
    Bad(
        "no prompts",
        "writer.generate([], max_new_tokens=5)",
        "DataError: nothing to continue: no prompts were given",
    ),
    Bad(
        "a prompt that is no text",
        "writer.generate(['Who', None], max_new_tokens=5)",
        "DataError: row 1: the prompt None is None, not a text",
    ),
    Bad(
        "a table without the prompt column",
        "writer.generate(reviews, max_new_tokens=5)",
        "DataError: the data have no prompt column 'prompt'; theirs are 'review', 'sentiment'",
    ),
    Bad(
        "texts without the completion column",
        "writer.evaluate(['a fine plot'])",
        "DataError: the data have no prompt column 'prompt'; theirs are 'text'",
    ),
    Bad(
        "what was memorised, after loading",
        "gpt_magic.load('saved').evaluate(riddles, memorised=True)",
        "OptionError: memorised = True: the training texts were not saved with the model; give them, as in "
        "memorised=df",
        "writer.save('saved')",
    ),
]
_TAGGER = "ner = gpt_magic.finetune(names, base=(model, tokenizer), max_steps=1, quiet=True)"
TAG = [
    Bad(
        "columns of two kinds",
        "%%finetune names\ntokens, entities = 'tokens', 'tags'",
        "OptionError: entities and tokens are both given: give text and entities, or tokens and tags",
    ),
    Bad(
        "tags for a classifier",
        "%finetune names --task classify --tags tags",
        "OptionError: tags is for task = 'tag'; to classify give text and label",
    ),
    Bad(
        "a label for entities",
        "%finetune names --task tag --label tags",
        "OptionError: label is for task = 'classify'; to tag give tokens and tags, or text and entities",
    ),
    Bad(
        "a slip in a column",
        "%finetune names --tokens token",
        "DataError: tokens = 'token': no such column (did you mean 'tokens'?)",
    ),
    Bad(
        "more tokens than tags",
        "%finetune uneven",
        "DataError: data, row 0: 3 tokens in 'tokens', but 2 tags in 'tags'",
        "uneven = names.assign(tags=[['B-PER', 'O']] * 12)",
    ),
    Bad(
        "a text for a list of tokens",
        "%finetune whole --task tag",
        "DataError: data, row 0: column 'tokens' holds a str, not a list of tokens; split it, as with .str.split(), or "
        "keep lists in JSONL or Parquet",
        "whole = names.assign(tokens='Ada met Bob')",
    ),
    Bad(
        "numbers for tags",
        "%finetune coded",
        "DataError: data, row 0: tag 0 in 'tags', 1, is an int; give names such as 'B-PER'",
        "coded = names.assign(tags=[[1, 0, 1]] * 12)",
    ),
    Bad(
        "types with and without a prefix",
        "%finetune mixed",
        "DataError: data, row 0: the tag 'PER' in 'tags' has no B- or I- before it",
        "mixed = names.assign(tags=[['B-PER', 'O', 'PER']] * 12)",
    ),
    Bad(
        "BIO written otherwise",
        "%finetune scored",
        "DataError: data: the tags in 'tags', such as 'B_PER', are BIO written otherwise: write 'B-PER', and 'O' for "
        "what is no entity",
        "scored = names.assign(tags=[['B_PER', 'O', 'B_PER']] * 12)",
    ),
    Bad(
        "lists of tokens from a CSV file",
        "%finetune names.csv",
        "DataError: data, row 0: column 'tokens' holds a str, not a list of tokens; split it, as with .str.split(), or "
        "keep lists in JSONL or Parquet",
        "names.to_csv('names.csv', index=False)",
    ),
    Bad(
        "entities as text",
        "%finetune dumped",
        "DataError: data, row 0: column 'entities' holds a str, not a list of entities such as {'start': 0, 'end': 5, "
        "'label': 'PER'}",
        "dumped = marked.assign(entities=marked.entities.astype(str))",
    ),
    Bad(
        "parts of speech",
        "%finetune speech",
        "DataError: data: the tags in 'tags', such as 'VERB', have no B- or I- before them, and none is 'O': they do "
        "not mark entities",
        "speech = names.assign(tags=[['VERB', 'VERB', 'NOUN']] * 12)",
    ),
    Bad(
        "no entities",
        "%finetune nobody",
        "DataError: column 'tags' has no entity in any row: nothing to learn",
        "nobody = names.assign(tags=[['O', 'O', 'O']] * 12)",
    ),
    Bad(
        "rows without tokens",
        "%finetune gaps",
        "DataError: data: column 'tokens' is empty in rows 1, 3, 5, 7, 9, 11. Fill them, or say missing = 'drop' to "
        "leave such rows out",
        "gaps = names.assign(tokens=[['Ada', 'met', 'Bob'], []] * 6)",
    ),
    Bad(
        "an entity of another shape",
        "%finetune pairs --entities entities",
        "DataError: data, row 0: entity 0 in 'entities' is (0, 3, 'PER'); write {'start': 0, 'end': 5, 'label': 'PER'}",
        "pairs = marked.assign(entities=[[(0, 3, 'PER')]] * 12)",
    ),
    Bad(
        "an entity of no characters",
        "%finetune empty",
        "DataError: data, row 0: entity 0 in 'entities', from 3 to 3, marks nothing",
        "empty = marked.assign(entities=[[{'start': 3, 'end': 3, 'label': 'PER'}]] * 12)",
    ),
    Bad(
        "an entity out of its text",
        "%finetune far",
        "DataError: data, row 0: entity 0 in 'entities', from 8 to 20, reaches out of the text, which has 11 "
        "characters",
        "far = marked.assign(entities=[[{'start': 8, 'end': 20, 'label': 'PER'}]] * 12)",
    ),
    Bad(
        "entities that overlap",
        "%finetune nested",
        "DataError: data, row 0: entities 0 and 1 in 'entities', from 0 to 3 and from 0 to 7, overlap: keep one",
        "nested = marked.assign(entities=[[*found, {'start': 0, 'end': 7, 'label': 'EVENT'}]] * 12)",
    ),
    Bad(
        "a CoNLL line without a tag",
        "%finetune names.conll",
        "DataError: data = 'names.conll' cannot be read: line 2, 'met', does not end with a tag such as O or B-PER",
        "Path('names.conll').write_text('Ada\\tB-PER\\nmet\\nBob\\tB-PER\\n')",
    ),
    Bad(
        "a new type in validation",
        "%%finetune names\nvalid = other",
        "DataError: valid, row 0: no training row has an entity 'ORG'; there are 'PER'",
        "other = names.assign(tags=[['B-ORG', 'O', 'B-PER']] * 12)",
    ),
    Bad(
        "no room to read twice",
        "%%finetune names\nmax_length, repeat = 2, True",
        "OptionError: max_length = 2: with repeat = True a text is read twice, so 3 at least",
    ),
    Bad(
        "a flag of another model",
        "%predict ner names --probabilities",
        "OptionError: --probabilities: for models that label, and ner tags; a text that begins or ends so stands in "
        "quotes",
        _TAGGER,
    ),
    Bad(
        "a table without texts",
        "%predict ner numbers",
        "DataError: the data have no tokens column 'tokens'; theirs are 'n'",
        _TAGGER + "\nnumbers = pd.DataFrame({'n': [1]})",
    ),
]
ANSWER = [
    Bad(
        "an answer that is not in its context",
        "%finetune loose",
        "DataError: data: the answer does not stand in the context, letter for letter, in row 1. Correct them, say "
        "missing = 'drop' to leave them out, or style = 'write'",
        "loose = quiz.assign(answer=['The dog', 'the cat', *quiz['answer'][2:]])",
    ),
    Bad(
        "an empty answer",
        "%finetune gaps",
        "DataError: data: column 'answer' is empty in row 3 ([] says that there is no answer). Fill them, or say "
        "missing = 'drop' to leave such rows out",
        "gaps = quiz.assign(answer=[*quiz['answer'][:3], '', *quiz['answer'][4:]])",
    ),
    Bad(
        "a number for an answer",
        "%finetune numbers",
        "DataError: data, row 0: the answer 0 is an int; write a text, a list of texts, or {'text': [...], "
        "'answer_start': [...]}; an empty list says that there is none",
        "numbers = quiz.assign(answer=range(12))",
    ),
    Bad(
        "no answers at all",
        "%finetune open_questions",
        "DataError: no row to train on has an answer: there is nothing to learn",
        "open_questions = quiz.assign(answer=[[]] * 12)",
    ),
    Bad(
        "a place for two answers",
        "%%finetune several\nanswer_start = 'at'",
        "DataError: data, row 0: 2 answers, but 1 of answer_start",
        "several = quiz.assign(answer=[['The dog', 'dog']] * 12, at=[0] * 12)",
    ),
    Bad(
        "a place that is no number",
        "%%finetune placed\nanswer_start = 'at'",
        "DataError: data, row 0: answer_start is 'first', not a whole number",
        "placed = quiz.assign(at='first')",
    ),
    Bad(
        "a way to label for answers",
        "%finetune quiz --style head",
        "OptionError: style = 'head' is for task = 'classify'; answer has 'extract' and 'write'",
    ),
    Bad(
        "a label for a question",
        "%finetune quiz --task answer --label answer",
        "OptionError: label is for task = 'classify'; to answer give question, context and answer",
    ),
    Bad(
        "a context for a classifier",
        "%finetune quiz --task classify --context context",
        "OptionError: context is for task = 'answer'; to classify give text and label",
    ),
    Bad(
        "questions without contexts",
        "%%finetune\ndata = quiz[['question', 'answer']]\ntask = 'answer'",
        "DataError: no column is plainly the context: say context = ... with one of 'answer'",
    ),
    Bad(
        "a SQuAD file with a part missing",
        "%%finetune\ndata = {'data': [{'paragraphs': [{'qas': [{'question': 'Who barks?', 'answers': []}]}]}]}",
        "DataError: data, article 0, paragraph 0 has no 'context', which a SQuAD file has there",
    ),
    Bad(
        "windows of few tokens",
        "%finetune quiz --max-length 7",
        "OptionError: max_length = 7: must be 8 at least for task = 'answer'",
    ),
    Bad(
        "prompts of few tokens",
        "%finetune quiz --max-length 15 --style write",
        "OptionError: max_length = 15: must be 16 at least for task = 'answer'",
    ),
    Bad(
        "contexts that are too long to write from",
        "%finetune quiz --max-length 16 --style write --truncate error",
        "DataError: 12 contexts longer than 16 tokens with question and answer (rows 0, 1, 2, 3, 4, 5, 6, 7 and 4 "
        "more): shorten them, or say truncate = 'head' or 'tail'",
    ),
    Bad(
        "questions that are too long",
        "%finetune quiz --max-length 8 --truncate error",
        "DataError: 12 questions longer than half of 8 tokens (rows 0, 1, 2, 3, 4, 5, 6, 7 and 4 more): shorten them, "
        "or say truncate = 'head' or 'tail'",
    ),
    Bad(
        "a question without a context",
        "%predict qa who barks",
        'DataError: there is no question with a context: %predict qa "question" NAME, or %%predict qa with question, '
        "empty line and context below",
        "qa = gpt_magic.finetune(quiz, base=(model, tokenizer))",
    ),
    Bad(
        "a context that is no text",
        '%predict qa "Who barks?" quiz',
        "DataError: 'quiz' is a DataFrame, not a text with the answer in it",
        "qa = gpt_magic.finetune(quiz, base=(model, tokenizer))",
    ),
    Bad(
        "a cell with a question alone",
        "%%predict qa\nWho barks?",
        'DataError: the cell has no question with a context: %predict qa "question" NAME, or %%predict qa with '
        "question, empty line and context below",
        "qa = gpt_magic.finetune(quiz, base=(model, tokenizer))",
    ),
    Bad(
        "questions without their contexts",
        "qa.predict(question='Who barks?')",
        "OptionError: context = ... is not given",
        "qa = gpt_magic.finetune(quiz, base=(model, tokenizer))",
    ),
    Bad(
        "an empty question",
        "qa.ask('', 'The dog barks.')",
        "DataError: the question is empty: give a text",
        "qa = gpt_magic.finetune(quiz, base=(model, tokenizer))",
    ),
    Bad(
        "a table without the context column",
        "qa.predict(quiz[['question']])",
        "DataError: the data have no context column 'context'; theirs are 'question'",
        "qa = gpt_magic.finetune(quiz, base=(model, tokenizer))",
    ),
]
PYTHON = [
    Bad(
        "a keyword that is none",
        "gpt_magic.finetune(reviews, epoch=3)",
        "OptionError: no option 'epoch' (did you mean 'epochs'?)",
    ),
    Bad(
        "a value out of range",
        "gpt_magic.finetune(reviews, batch_size=0)",
        "OptionError: batch_size = 0: must be a whole number from 1 to 65,536 or auto",
    ),
    Bad(
        "a new label in the test data",
        "clf.evaluate(held_out.assign(sentiment='great'))",
        "DataError: row 0 has the label 'great'; the classes are 'bad', 'good'",
    ),
    Bad(
        "test data without labels",
        "clf.evaluate(held_out[['review']])",
        "DataError: the data have no label column 'sentiment'; theirs are 'review'",
    ),
    Bad(
        "a slip in a choice",
        "clf.evaluate(held_out, missing='dorp')",
        "OptionError: missing = 'dorp': must be one of error, drop (did you mean 'drop'?)",
    ),
    Bad("no texts", "clf.predict([])", "DataError: nothing to predict: no texts were given"),
    Bad(
        "a folder that is a file",
        "clf.save('notes.txt')",
        "DataError: cannot save into 'notes.txt': it is a file, give a folder",
        "Path('notes.txt').touch()",
    ),
    Bad(
        "no folder",
        "clf.save('')",
        "DataError: '' names no folder: give its path, such as 'clf'",
    ),
    Bad(
        "a folder with the adapter of another tool",
        "clf.save('adapter')",
        "DataError: cannot save into 'adapter': it has an adapter of its own; give a new folder",
        "Path('adapter').mkdir(); Path('adapter/adapter_config.json').touch()",
    ),
    Bad(
        "a folder that is not there",
        "gpt_magic.load('nowhere')",
        "ModelError: cannot load 'nowhere': no such folder",
    ),
    Bad(
        "a file for a folder",
        "gpt_magic.load('model.safetensors')",
        "ModelError: cannot load 'model.safetensors': this is a file, give its folder",
        "Path('model.safetensors').touch()",
    ),
    Bad(
        "a folder with its own README.md",
        "clf.save('.')",
        "DataError: cannot save into '.': it has a README.md of its own; give a new folder",
        "Path('README.md').touch()",
    ),
    Bad(
        "a damaged folder",
        "gpt_magic.load('cut')",
        "ModelError: cannot load 'cut': its gpt_magic.json is damaged; save the model again",
        "clf.save('cut'); Path('cut/gpt_magic.json').write_text('{')",
    ),
    Bad(
        "a folder of another tool",
        "gpt_magic.load('plain')",
        "ModelError: cannot load 'plain': the folder has no gpt_magic.json, so gpt_magic did not write it",
        "model.save_pretrained('plain')",
    ),
    Bad(
        "a form where there are no widgets",
        "gpt_magic.form(reviews)",
        "OptionError: a form needs a notebook; here say %finetune -h, or gpt_magic.finetune(data)",
    ),
    Bad(
        "a slip in an option of a form",
        "gpt_magic.form(reviews, epohcs=3)",
        "OptionError: no option 'epohcs' (did you mean 'epochs'?)",
    ),
]
LABELS = [
    Bad(
        "lists for classes",
        "%finetune tagged --task classify",
        "DataError: data, row 0: the label ['good'] in column 'sentiment' is a list; classes are texts, whole numbers "
        "or True/False; task = 'multilabel' learns several a row",
        "tagged = reviews.assign(sentiment=[['good'], []] * 6)",
    ),
    Bad(
        "a label that stands in no list",
        "%finetune tagged",
        "DataError: data, row 1: 'bad' in column 'sentiment' is a str, not a list of labels; one label stands in a "
        "list too, and a row without any has an empty one",
        "tagged = reviews.assign(sentiment=[['good'], 'bad'] * 6)",
    ),
    Bad(
        "an empty text in a list of labels",
        "%finetune tagged",
        "DataError: data: an empty text among the labels of rows 1, 3 in column 'sentiment': leave it out; a row "
        "without labels has an empty list",
        "tagged = reviews.assign(sentiment=[['good'], [''], ['bad'], ['']] + [['good']] * 8)",
    ),
    Bad(
        "rows of 0 and 1 for labels",
        "%finetune tagged",
        "DataError: data: column 'sentiment' holds rows of 0 and 1: give the names of the labels that hold, such as "
        "['fiction', 'short']",
        "tagged = reviews.assign(sentiment=[[0, 1, 1], [1, 0, 0]] * 6)",
    ),
    Bad(
        "lists without a label",
        "%finetune tagged",
        "DataError: column 'sentiment' has no label in any row: nothing to learn",
        "tagged = reviews.assign(sentiment=[[]] * 12)",
    ),
    Bad(
        "texts for numbers",
        "%finetune reviews --task regress",
        "DataError: data, row 0: the label 'good' in column 'sentiment' is a str, not a number; make numbers of texts "
        "with .astype(float)",
    ),
    Bad(
        "an infinite number",
        "%finetune stars",
        "DataError: data: column 'sentiment' is infinite or too large in row 1: remove these rows",
        "stars = reviews.assign(sentiment=[0.5, np.inf] + [1.5] * 10)",
    ),
    Bad(
        "a number that is missing",
        "%finetune stars",
        "DataError: data: column 'sentiment' is empty in row 1. Fill them, or say missing = 'drop' to leave such rows "
        "out",
        "stars = reviews.assign(sentiment=[0.5, np.nan] + [1.5] * 10)",
    ),
    Bad(
        "one number only",
        "%finetune stars",
        "DataError: column 'sentiment' has one value only, 2.5: nothing to learn",
        "stars = reviews.assign(sentiment=2.5)",
    ),
    Bad(
        "a slip in the second column of pairs",
        "%%finetune reviews\ntext = ['review', 'sentimnt']",
        "DataError: second text = 'sentimnt': no such column (did you mean 'sentiment'?)",
    ),
    Bad(
        "three columns of texts",
        "%%finetune reviews\ntext = ['review', 'plot', 'cast']",
        "OptionError: text = ['review', 'plot', 'cast']: must be the name of a column, a list of two, or None",
    ),
    Bad(
        "pairs to write on from",
        "%%finetune riddles\ntask, text = 'generate', ['prompt', 'completion']",
        "OptionError: text = ['prompt', 'completion']: two columns are pairs to label; to generate give one column",
    ),
    Bad(
        "no room for a pair",
        "%%finetune pairs\ntext, max_length = ['review', 'reply'], 3",
        "OptionError: max_length = 3: a pair of texts needs 4 tokens at least",
        "pairs = reviews.assign(reply='I see.')",
    ),
    Bad(
        "a text for a model of pairs",
        "%predict nli it rains",
        'OptionError: nli labels pairs of texts, and \'it rains\' is none: write "one" "other", in quotes',
        "nli = gpt_magic.zero_shot(['yes', 'no'], text=['one', 'other'])",
    ),
    Bad(
        "half a pair",
        "nli.predict([('it rains', 'it is wet'), ('it rains',)])",
        "DataError: data, row 1: a tuple, not a pair of texts",
        "nli = gpt_magic.zero_shot(['yes', 'no'], text=['one', 'other'])",
    ),
    Bad(
        "words for numbers",
        "%%finetune reviews\nstyle, task = 'words', 'regress'",
        "OptionError: style = 'words' is for task = 'classify', not 'regress'",
    ),
    Bad(
        "a template without a place for the text",
        "%%finetune reviews\nstyle, template = 'words', 'Is it good?'",
        "OptionError: template = 'Is it good?': must hold {text} once, where the text goes",
    ),
    Bad(
        "no room for a text in the template",
        "%%finetune reviews\nstyle, max_length = 'words', 4",
        "OptionError: max_length leaves 3 tokens for a prompt, and the template alone has 5: a shorter template, "
        "shorter labels or a larger max_length",
    ),
    Bad(
        "one class to choose from",
        "gpt_magic.zero_shot('good')",
        "DataError: classes = ['good']: give two labels or more, each once",
    ),
    Bad(
        "a picture of a calibration that was not made",
        "clf.reliability()",
        "DataError: the model was not calibrated; its card says why",
    ),
    Bad(
        "probabilities of numbers",
        "%predict rater a fine film --probabilities",
        "OptionError: probabilities: a model that says numbers has none",
        "rater = gpt_magic.finetune(reviews.assign(sentiment=[0.5, 1.5] * 6), base=(model, tokenizer))",
    ),
    Bad(
        "a new label in the test data of several",
        "tagger.evaluate(held_out.assign(sentiment=[['good', 'great']]))",
        "DataError: row 0 has the label 'great'; the labels of the training data are 'bad', 'good'",
        "tagger = gpt_magic.finetune(reviews.assign(sentiment=[['good', 'bad'], []] * 6), base=(model, tokenizer))",
    ),
]
SECTIONS = {
    "The line of the magic": LINE,
    "The body of the cell": BODY,
    "Values": VALUES,
    "Tables and files": TABLES,
    "Columns": COLUMNS,
    "Rows": ROWS,
    "Base models": BASES,
    "Predicting": PREDICT,
    "Generating": GENERATE,
    "Tagging": TAG,
    "Answering": ANSWER,
    "From Python": PYTHON,
    "Labels, pairs, words": LABELS,
}
