"""Texts as class sets: tokens, files that people have, and the sentences that bad ones get."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tokenizers")

import jaxmeta as jm
from jaxmeta import datasets

SAID = ["pay my bill", "what time is it", "pay the rent", "time in Tokyo please", "pay it"]
LABELS = ["pay", "time", "pay", "time", "pay"]


@pytest.fixture(scope="module")
def tokenizer():
    return datasets.train_tokenizer(SAID, vocab_size=128)


def test_rows_hold_the_ids_of_their_text_sorted_by_class(tokenizer):
    data = datasets.texts(SAID, LABELS, tokenizer=tokenizer, length=8)
    assert data.names == ("pay", "time")
    assert data.x["ids"].dtype == data.x["length"].dtype == np.int32
    for row, text in zip(range(5), ["pay my bill", "pay the rent", "pay it", SAID[1], SAID[3]], strict=True):
        ids, n = data.x["ids"][row], data.x["length"][row]
        assert tokenizer.decode(ids[:n].tolist()) == text.lower()
        assert ids[0] == tokenizer.token_to_id("[CLS]")
        assert ids[n - 1] == tokenizer.token_to_id("[SEP]")
        assert not ids[n:].any()


def test_cut_texts_are_counted_and_keep_their_end_mark(tokenizer):
    with pytest.warns(UserWarning, match="`length`: 2 of 5 texts have more than 5 tokens"):
        data = datasets.texts(SAID, LABELS, tokenizer=tokenizer, length=5)
    assert data.x["length"].tolist() == [5, 5, 4, 5, 5]
    assert (data.x["ids"][data.x["length"] == 5, -1] == tokenizer.token_to_id("[SEP]")).all()
    assert tokenizer.truncation is None


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_a_tokenizer_knows_the_texts_it_was_trained_on_alone(kind, tmp_path):
    tokenizer = datasets.train_tokenizer(["aab aab aab", "aac"], kind=kind, vocab_size=40)
    assert "aab" in tokenizer.get_vocab()
    assert tokenizer.encode("xyz").ids.count(tokenizer.token_to_id("[UNK]")) >= 1
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = datasets.texts(["aab"], [0], tokenizer=tmp_path, length=4)
    assert again.x["ids"][0, :3].tolist() == tokenizer.encode("aab").ids


def test_tasks_streams_and_learners_take_texts_as_they_take_images(tokenizer):
    data = datasets.texts(SAID * 2, LABELS * 2, tokenizer=tokenizer, length=8)
    task = jm.tasks.episodes(data, num_ways=2, num_shots=1, num_queries=2)(jax.random.key(0))
    assert task.support.x["ids"].shape == (2, 8)
    assert task.query.x["length"].dtype == jnp.int32
    seen = jm.from_functions(lambda key, x: (), lambda variables, x: jax.nn.one_hot(x["ids"], 128).sum(1))
    learner = jm.protonet(seen)
    assert float(learner.loss(learner.init(jax.random.key(0), task), task, None)[1].metrics["accuracy"]) >= 0.5


TEXTS = [
    (lambda t: datasets.texts("pay", ["a"], tokenizer=t, length=4), TypeError, "`texts` must be a list of texts"),
    (lambda t: datasets.texts([], [], tokenizer=t, length=4), ValueError, "`texts` is empty"),
    (lambda t: datasets.texts(["a", " "], [0, 1], tokenizer=t, length=4), ValueError, r"`texts\[1\]` is empty"),
    (lambda t: datasets.texts(["a", 3], [0, 1], tokenizer=t, length=4), TypeError, r"`texts\[1\]` must be a string"),
    (lambda t: datasets.texts(["a"], [0, 1], tokenizer=t, length=4), ValueError, "`labels` has 2 entries for 1 texts"),
    (lambda t: datasets.texts(["a"], [0], tokenizer=t, length=0), ValueError, "`length`, in tokens"),
    (lambda t: datasets.texts(["a"], [0], tokenizer=t, length=1), ValueError, "`length` is 1, but the tokenizer adds"),
    (lambda t: datasets.texts(["a"], [0], tokenizer=3, length=4), TypeError, "`tokenizer` must be a"),
    (lambda t: datasets.texts(["a"], [0], tokenizer="no/where", length=4), ValueError, "`tokenizer`: 'no/where'"),
    (lambda t: datasets.texts(["x" * 10**7], [0], tokenizer=t, length=4), ValueError, "has 10,000,000 characters"),
    (lambda t: datasets.train_tokenizer(["a"], kind="letters"), ValueError, "`kind` must be 'wordpiece' or 'bpe'"),
    (lambda t: datasets.train_tokenizer(["a"], vocab_size=3), ValueError, "`vocab_size` must be a whole number above"),
]


@pytest.mark.parametrize(("make", "error", "message"), TEXTS)
def test_what_is_no_text_is_named(tokenizer, make, error, message):
    with pytest.raises(error, match=message):
        make(tokenizer)


CONTENT = {
    "few.csv": 'text,intent\n"pay, please",pay\nwhat time,time\n',
    "few.tsv": "id\tcategory\tsentence\n1\tpay\tpay, please\n2\ttime\twhat time\n",
    "few.jsonl": '{"query": "pay, please", "label": "pay"}\n\n{"query": "what time", "label": "time"}\n',
}


@pytest.mark.parametrize("name", list(CONTENT))
def test_files_of_every_kind_give_the_same_texts(tmp_path, name):
    (tmp_path / name).write_text("\ufeff" + CONTENT[name] if name == "few.csv" else CONTENT[name])
    assert datasets.read_texts(tmp_path / name) == (["pay, please", "what time"], ["pay", "time"])


def test_a_folder_per_class_is_read(tmp_path):
    for label, text in (("pay", "pay, please"), ("time", "what time")):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text(text + "\n")
    assert datasets.read_texts(tmp_path) == (["pay, please", "what time"], ["pay", "time"])
    (tmp_path / "pay" / "2.docx").write_text("no")
    with pytest.raises(ValueError, match=r"'pay/2.docx' in .* is not class/\*.txt"):
        datasets.read_texts(tmp_path)


def test_columns_may_be_named_and_numbers_are_labels(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"says": "hi", "n": 3}))
    assert datasets.read_texts(tmp_path / "a.jsonl", text="says", label="n") == (["hi"], ["3"])
    with pytest.raises(ValueError, match="`text` is 'said', but the columns are says, n; `path`"):
        datasets.read_texts(tmp_path / "a.jsonl", text="said")


FILES = [
    ("a.csv", "pay my bill,pay\nwhat time,time\n", "no column text or .*: its first line is 'pay my bill, pay'"),
    ("a.csv", "pay my bill,pay\n", "no column text or .*: its first line is 'pay my bill, pay'"),
    ("a.csv", "text,label\npay, please,pay\n", "line 2: 3 cells, but the header has 2"),
    ("a.csv", 'text,label\n"pay,pay\n', "line 2: .* Is a quote missing"),
    ("a.csv", "text,label\n,pay\n", "line 2: 'text' is '', but must have text"),
    ("a.csv", "text,label\npay my bill,\n", "line 2: 'label' is ''"),
    ("a.csv", "text,label\n", "has no rows"),
    ("a.csv", "", "has no rows"),
    ("a.csv", f"text,label\n{'x' * 10**7},pay\n", "line 2: the text has 10,000,000 characters"),
    ("a.csv", "text,label\npay my bill,rent\n", "the label 'rent' is unknown. The labels are pay, time"),
    ("a.jsonl", "{\n", "line 1: no JSON"),
    ("a.jsonl", "[1]\n", "is no JSON object"),
    ("a.jsonl", '{"text": null, "label": "a"}\n', "line 1: 'text' is 'None'"),
    ("a.xlsx", "", r"is no .csv, .tsv, .jsonl, folder or zip"),
]


@pytest.mark.parametrize(("name", "content", "message"), FILES)
def test_a_file_with_a_mistake_is_a_sentence(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"`path`: .*{message}") as caught:
        datasets.read_texts(tmp_path / name, classes=["pay", "time"])
    assert len(str(caught.value)) < 600


def test_a_file_that_is_not_there_or_no_utf8_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        datasets.read_texts(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes("text,label\ncafé,a\n".encode("latin-1"))
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        datasets.read_texts(tmp_path / "a.csv")
