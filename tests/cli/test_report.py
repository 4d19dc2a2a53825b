"""The report: a whole page, in which a stranger's words stay words."""

import html
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from jaxmeta import plots
from jaxmeta.runs._journal import append
from jaxmeta.runs._json import write_json
from jaxmeta.runs._report import write_report

HOSTILE = [
    "<script>document.title='taken'</script>",
    "\"><img src=x onerror=document.title='taken'>",
    "'; </style><style>body{display:none}</style>",
    "</code></pre><iframe src=//example.org></iframe>",
]
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Elements, attributes and texts, as a browser would find them."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def run(tmp_path):
    """A run folder whose every text is hostile."""
    first, second, third, fourth = HOSTILE
    arguments = {first: second, "num_steps": 3, "flag": True, second: None, "path": fourth}
    config = {"format": 1, "recipe": first, "arguments": arguments, "seed": third, "num_steps": 3, "compute": {}}
    row = {"mean": 0.5, "ci95": 0.1, "num_tasks": 64, "transductive": True}
    rows = [{"name": second, "metric": fourth, **row}, {"name": "after 1 step", "metric": "accuracy", **row}]
    rows += [{"name": 3, "metric": "accuracy", **row}, {"name": "broken", "metric": "accuracy"}, "no row"]
    results = {"format": 1, "status": third, "step": 3, "message": fourth, "rows": rows, "published": first}
    write_json(tmp_path / "config.json", config)
    write_json(tmp_path / "results.json", results)
    append(tmp_path / "timing.jsonl", {"step": 3, "seconds": 1.5, "tasks_per_second": 9.0})
    plots.confusion(np.array([0, 1]), np.array([0, 1]), [first, second], tmp_path / "confusion.png")
    write_report(tmp_path)
    return tmp_path


def test_hostile_words_stay_words(run):
    page = Page((run / "report.html").read_text())
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "link", "object", "embed", "form", "base"}
    assert page.open == [] and sum(tag == "style" for tag, _ in page.elements) == 1
    names = {name for _, attributes in page.elements for name in attributes}
    assert not any(name.startswith("on") for name in names) and "style" not in names
    text = "".join(page.texts)
    assert all(word in text for word in HOSTILE)  # they are shown as they are


def test_nothing_is_fetched(run):
    text = (run / "report.html").read_text()
    page = Page(text)
    for _, attributes in page.elements:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;") and "script" not in policy
    assert "http://" not in text and "https://" not in text and "url(" not in text and "@import" not in text


def test_it_can_be_read_by_everyone(run):
    page = Page((run / "report.html").read_text())
    count = lambda name: sum(tag == name for tag, _ in page.elements)
    assert count("h1") == 1 and count("h2") == 5 and count("main") == 1
    assert count("caption") == count("table") == 3
    assert all(a.get("alt") for tag, a in page.elements if tag == "img") and count("img") == 1
    assert all(a.get("scope") in ("row", "col") for tag, a in page.elements if tag == "th")
    links = {a["href"][1:] for tag, a in page.elements if tag == "a"}
    assert links == {a["id"] for _, a in page.elements if "id" in a}
    assert ("html", {"lang": "en"}) in page.elements
    assert any(a.get("name") == "viewport" for tag, a in page.elements if tag == "meta")


def test_commands_are_quoted_for_the_shell(run):
    """What one copies into a shell is one word, whatever it says."""
    code = re.search(r"<pre.*?><code>(.*?)</code></pre>", (run / "report.html").read_text(), re.S)
    lines = [line for line in html.unescape(code[1]).splitlines() if line.startswith("jaxmeta train ")]
    words = shlex.split(lines[-1])
    assert words[2] == HOSTILE[0] and words[-1] == "1" and HOSTILE[3] in words and "--flag" in words


@pytest.mark.parametrize(
    "recipe, lines",
    [
        ("my file.py:mine", ["train --resume {} --recipe 'my file.py:mine'", "evaluate {} --recipe 'my file.py:mine'"]),
        (None, ["jm.runs.resume(&quot;{}&quot;, experiment)", "jm.runs.load(&quot;{}&quot;, learner="]),
    ],
)
def test_commands_for_a_recipe_of_ones_own_name_it(recipe, lines, tmp_path):
    write_json(tmp_path / "config.json", {"recipe": recipe, "arguments": {}, "num_steps": 9})
    write_report(tmp_path)
    text = (tmp_path / "report.html").read_text().replace("&#x27;", "'")
    assert all(line.format(tmp_path) in text for line in lines) and "None" not in text.partition('id="further"')[2]


def test_what_a_run_has(tmp_path):
    """Of a run that was cut short there is a page as well."""
    write_json(tmp_path / "config.json", {"recipe": "sinusoid_maml", "arguments": {"hidden": 8}, "num_steps": 9})
    append(tmp_path / "metrics.jsonl", {"step": 4, "loss": 1.0})
    write_report(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "unfinished: 4 of 9 meta-steps" in text and "Not measured" in text and 'id="pictures"' not in text
    assert f"jaxmeta train --resume {tmp_path}" in text and "--hidden 8" in text


def test_a_damaged_run(tmp_path):
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match="config.json' should hold an object"):
        write_report(tmp_path)
    write_json(tmp_path / "config.json", {})
    (tmp_path / "results.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="results.json' cannot be read as JSON"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_in_a_browser(run, tmp_path):
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip(f"no browser is installed: none of {', '.join(names)}")
    call = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    page = (run / "report.html").as_uri()
    done = subprocess.run([*call, "--dump-dom", page], capture_output=True, text=True, timeout=120, check=True)
    title = re.search("<title>(.*?)</title>", done.stdout)[1]
    assert title.endswith(": jaxmeta run")  # and not "taken", which a script would have made of it
    assert "<script>" not in done.stdout.split("</title>")[1] and "<iframe" not in done.stdout
    shot = [f"--screenshot={tmp_path / 'shot.png'}", "--window-size=400,900", page]
    subprocess.run([*call, *shot], capture_output=True, timeout=120, check=True)
    assert np.asarray(Image.open(tmp_path / "shot.png").convert("L")).std() > 5  # it shows something
