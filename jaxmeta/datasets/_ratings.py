"""Ratings of items by users: MovieLens's formats and csv, and the splits of cold start.

Letters: M ratings, U users, I items, F columns of a feature.
"""

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmeta.types import Key

from ._files import MAX_BYTES, local_path, open_tree

AGES = (18, 25, 35, 45, 50, 56)  # where the age groups of MovieLens 1M begin, after the first
GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Film-Noir",
    "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
COLUMNS = {  # of a csv, lower case
    "user": ("user", "user_id", "userid"),
    "item": ("item", "item_id", "itemid", "movieid", "movie_id"),
    "rating": ("rating", "score", "stars"),
    "time": ("time", "timestamp"),
}
Table = dict[str, np.ndarray]


class Ratings(NamedTuple):
    """Ratings, and what is known about users and items.

    Attributes:
      user, item: int32 ``[M]``, rows of the tables below.
      rating: float32 ``[M]``.
      time: int64 ``[M]``, seconds; zeros where the file has no times.
      users: features by name: int32 ``[U]`` for categories, float32 ``[U, F]`` for numbers. ``"user"`` is the row.
      items: the same of items, ``[I]`` or ``[I, F]``; ``"item"`` is the row.
      user_names, item_names: the names of the rows; of movies their titles, or their numbers where there are none.
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    time: np.ndarray
    users: Table
    items: Table
    user_names: tuple[str, ...]
    item_names: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of categories, or of columns, of every feature."""
        return {
            name: feature.shape[1] if feature.ndim == 2 else int(feature.max(initial=0)) + 1
            for name, feature in (self.users | self.items).items()
        }

    def rows(self, chosen: np.ndarray) -> "Ratings":
        """Return some of the ratings, by a mask or by their numbers; the tables stay whole."""
        return self._replace(
            user=self.user[chosen], item=self.item[chosen], rating=self.rating[chosen], time=self.time[chosen]
        )


class ColdStart(NamedTuple):
    """The ratings of four situations, and those to train on; all disjoint.

    Attributes:
      train: existing users and items.
      held_out: the same users and items: ratings that are not trained on, to predict from those of `train`.
      new_users: users that training has never met, and items that it has.
      new_items: users that training has met, and items that it has not.
      both_new: neither.
    """

    train: Ratings
    held_out: Ratings
    new_users: Ratings
    new_items: Ratings
    both_new: Ratings


def ratings(path: str | os.PathLike[str]) -> Ratings:
    """Read ratings: the files of MovieLens 100K or 1M, or any csv of users, items, ratings and times.

    MovieLens is downloaded by hand from grouplens.org, whose licence forbids to pass it on. Users have ``age`` (seven
    groups), ``gender``, ``occupation`` and ``zip`` (its first character); items ``genre`` (one column a genre, 1 where
    it is one of the movie's) and ``year``, in the order of years with unknown ones first. A csv has no features.

    Args:
      path: the folder or zip of MovieLens (``u.data``, ``u.user``, ``u.item``; or ``ratings.dat``, ``users.dat``,
        ``movies.dat``; the last two are optional), or a ``.csv`` or ``.tsv`` with a header that names ``user``,
        ``item`` and ``rating``, and maybe ``time`` (also ``userId``, ``movieId``, ``timestamp``).

    Raises:
      ValueError: if there is no such file, a line is not what it should be, or a rating is not finite: naming the line.

    Example:
      >>> import pathlib, tempfile
      >>> from jaxmeta import datasets
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "mine.csv")
      ...     _ = file.write_text("user,item,rating\\nann,tea,5\\nbob,tea,2\\nann,milk,4\\n")
      ...     data = datasets.ratings(file)
      >>> data.user_names, data.item_names, data.rating.tolist()
      (('ann', 'bob'), ('milk', 'tea'), [5.0, 2.0, 4.0])
    """
    where = local_path(path, "path")
    if where.suffix.lower() in (".csv", ".tsv"):
        return _from_table(where)
    with open_tree(where, "path") as tree:
        read = {Path(name).name: lambda name=name: tree.read(name).decode("latin-1") for name in tree.names}
        for layout in (_100k, _1m):
            if layout.ratings in read:
                return layout.read(read)
    raise ValueError(
        f"`path`: {str(where)!r} has neither u.data (MovieLens 100K) nor ratings.dat (1M). Download ml-100k.zip or "
        "ml-1m.zip from grouplens.org, and pass the zip or its folder; or pass a .csv of your own."
    )


def cold_start(
    data: Ratings,
    *,
    key: Key,
    new_users: float = 0.2,
    new_items: float = 0.2,
    newest: str | None = None,
    num_held_out: int = 10,
) -> ColdStart:
    """Divide ratings into the four situations of cold start: old and new users times old and new items.

    Users are divided at random, items at random or by age, as by Lee et al., 2019, https://arxiv.org/abs/1908.00413.

    Args:
      data: the ratings.
      key: decides who and what is new.
      new_users, new_items: the share that is new.
      newest: a category of items, such as ``"year"``: new items are those of the highest values. Random by default.
      num_held_out: ratings of each existing user that are held out, at random, of users with twice as many or more.

    Raises:
      ValueError: if a share is not between 0 and 1, ``newest`` is no category of items, or a part would be empty.

    Example:
      >>> from jaxmeta import datasets
      >>> data, _ = datasets.invented_ratings(num_users=40, num_items=30, num_ratings=20, key=jax.random.key(0))
      >>> parts = cold_start(data, key=jax.random.key(1), num_held_out=4)
      >>> sum(len(part.rating) for part in parts), len(data.rating)
      (800, 800)
    """
    for name, share in (("new_users", new_users), ("new_items", new_items)):
        if not 0 < share < 1:
            raise ValueError(f"`{name}` must be a share between 0 and 1, got {share}.")
    if newest is not None and (newest not in data.items or data.items[newest].ndim != 1):
        known = [name for name, feature in data.items.items() if feature.ndim == 1]
        raise ValueError(f"`newest` must be a category of items, got {newest!r}. There are {known}.")
    k_users, k_items, k_rows = jax.random.split(key, 3)
    users = _last(np.asarray(jax.random.permutation(k_users, len(data.user_names))), new_users)
    order = np.asarray(jax.random.permutation(k_items, len(data.item_names)))
    if newest is not None:
        order = order[np.argsort(data.items[newest][order], kind="stable")]
    items = _last(order, new_items)
    user, item = users[data.user], items[data.item]
    old = np.flatnonzero(~user & ~item)
    order = old[np.asarray(jax.random.permutation(k_rows, len(old)))]
    place, count = _place_in_group(data.user[order])
    out = order[(place < num_held_out) & (count >= 2 * num_held_out)]
    held = np.zeros(len(user), bool)
    held[out] = True
    masks = (~user & ~item & ~held, held, user & ~item, ~user & item, user & item)
    parts = ColdStart(*(data.rows(mask) for mask in masks))
    for name, part in parts._asdict().items():
        if not len(part.rating):
            raise ValueError(f"No rating is left for {name!r}: change `new_users`, `new_items` or `num_held_out`.")
    return parts


def _last(order: np.ndarray, share: float) -> np.ndarray:
    """Return a mask of the last entries of an order."""
    mask = np.zeros(len(order), bool)
    mask[order[len(order) - round(share * len(order)) :]] = True
    return mask


def _place_in_group(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each entry's place among the entries of its group, and the size of the group."""
    order = np.argsort(group, kind="stable")
    _, start, number, count = np.unique(group[order], return_index=True, return_inverse=True, return_counts=True)
    place, size = np.empty(len(group), int), np.empty(len(group), int)
    place[order], size[order] = np.arange(len(group)) - start[number], count[number]
    return place, size


class _Layout(NamedTuple):
    """The three files of a MovieLens data set, and what separates cells."""

    ratings: str
    users: str
    movies: str
    rating_cells: str
    cells: str
    movie: Callable[[Sequence[str]], tuple[str, str, Iterable[str]]]  # cells -> title, year, genres

    def read(self, files: Mapping[str, Callable[[], str]]) -> Ratings:
        """Read the files there are."""
        lines = _lines(files[self.ratings](), self.rating_cells, 4, self.ratings)
        columns = [list(column) for column in zip(*(cells for _, cells in lines), strict=True)] or [[], [], [], []]
        users = _lines(files[self.users](), self.cells, 5, self.users) if self.users in files else []
        movies = _lines(files[self.movies](), self.cells, 3, self.movies) if self.movies in files else []
        about_users = {cells[0]: cells for _, cells in users}
        about_movies = {cells[0]: (number, cells) for number, cells in movies}
        numbers = [number for number, _ in lines]
        data = _ratings(columns, numbers, self.ratings, about_users, about_movies)
        if users:
            data = data._replace(users=data.users | self._of_users([about_users[n] for n in data.user_names]))
        if movies:
            data = self._with_movies(data, [about_movies[n] for n in data.item_names])
        return data

    def _of_users(self, rows: Sequence[Sequence[str]]) -> Table:
        age, gender = (1, 2) if self is _100k else (2, 1)
        try:
            ages = np.digitize([int(row[age]) for row in rows], AGES)
        except ValueError as error:
            raise ValueError(f"`path`: {self.users}: an age is no whole number ({error}).") from error
        return {
            "age": ages.astype(np.int32),
            "gender": _categories([row[gender] for row in rows]),
            "occupation": _categories([row[3] for row in rows]),
            "zip": _categories([row[4][:1] for row in rows]),
        }

    def _with_movies(self, data: Ratings, rows: Sequence[tuple[int, Sequence[str]]]) -> Ratings:
        found = [self.movie(cells) for _, cells in rows]
        genre = np.zeros((len(found), len(GENRES)), np.float32)
        for i, (_, _, names) in enumerate(found):
            for name in names:
                if name in GENRES:
                    genre[i, GENRES.index(name)] = 1
        features = {"genre": genre, "year": _categories([year for _, year, _ in found])}
        return data._replace(items=data.items | features, item_names=tuple(title for title, _, _ in found))


def _movie_100k(cells: Sequence[str]) -> tuple[str, str, Iterable[str]]:
    flags = cells[-len(GENRES) :]
    return cells[1], cells[2][-4:], [name for name, flag in zip(GENRES, flags, strict=True) if flag == "1"]


def _movie_1m(cells: Sequence[str]) -> tuple[str, str, Iterable[str]]:
    year = re.search(r"\((\d{4})\)\s*$", cells[1])
    return cells[1], year[1] if year else "", cells[2].split("|")


_100k = _Layout("u.data", "u.user", "u.item", "\t", "|", _movie_100k)
_1m = _Layout("ratings.dat", "users.dat", "movies.dat", "::", "::", _movie_1m)


def _lines(content: str, separator: str, least: int, file: str) -> list[tuple[int, list[str]]]:
    found: list[tuple[int, list[str]]] = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        cells = line.split(separator)
        if len(cells) < least:
            raise ValueError(
                f"`path`: {file}, line {number}: {len(cells)} cells where {least} are needed, separated by "
                f"{separator!r}: {line[:60]!r}."
            )
        found.append((number, cells))
    return found


def _ratings(
    columns: Sequence[Sequence[str]],
    numbers: Sequence[int],
    file: str,
    users: Mapping[str, Any] = {},
    items: Mapping[str, Any] = {},
) -> Ratings:
    """Make `Ratings` of the columns user, item, rating and time; ``numbers`` are those of the lines, for errors."""
    if not numbers:
        raise ValueError(f"`path`: {file} has no ratings.")
    rating, time = (
        _numbers(column, numbers, file, kind) for column, kind in zip(columns[2:], (float, int), strict=True)
    )
    names, rows = zip(*(np.unique(column, return_inverse=True) for column in columns[:2]), strict=True)
    for known, present, what in ((users, names[0], "user"), (items, names[1], "item")):
        missing = [str(name) for name in present if known and str(name) not in known]
        if missing:
            raise ValueError(
                f"`path`: {file} has a rating of {what} {missing[0]!r}, of whom the other file knows nothing."
            )
    (user_names, item_names), (user, item) = (tuple(map(str, n)) for n in names), (r.reshape(-1) for r in rows)
    return Ratings(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        rating=rating.astype(np.float32),
        time=time.astype(np.int64),
        users={"user": np.arange(len(user_names), dtype=np.int32)},
        items={"item": np.arange(len(item_names), dtype=np.int32)},
        user_names=user_names,
        item_names=item_names,
    )


def _numbers(column: Sequence[str], lines: Sequence[int], file: str, kind: type) -> np.ndarray:
    try:
        values = np.array(column, np.float64)
        if np.isfinite(values).all():
            return values
    except ValueError:
        values = np.array([])
    for line, text in zip(lines, column, strict=True):
        try:
            good = np.isfinite(float(text))
        except ValueError:
            good = False
        if not good:
            what = "rating" if kind is float else "time"
            raise ValueError(f"`path`: {file}, line {line}: the {what} {text[:40]!r} is no finite number.")
    raise AssertionError(f"{file}: numbers are finite one by one and not together")


def _categories(values: Sequence[str]) -> np.ndarray:
    """Return the number of each value among the sorted ones, int32."""
    return np.unique(np.array(values), return_inverse=True)[1].reshape(-1).astype(np.int32)


def _from_table(path: Path) -> Ratings:
    name = f"{os.fspath(path)!r}"
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise ValueError(f"`path`: {name} does not exist, or is no regular file of at most {MAX_BYTES} bytes.")
    try:
        with nullcontext(path.read_text("utf-8-sig")) as content:
            reader = csv.reader(io.StringIO(content, newline=""), delimiter="\t" if path.suffix == ".tsv" else ",")
            header = [cell.strip().lower() for cell in next(reader, [])]
            lines = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ValueError(f"`path`: {name} cannot be read as a table: {error}.") from error
    places = {what: next((header.index(n) for n in names if n in header), None) for what, names in COLUMNS.items()}
    missing = [what for what, place in places.items() if place is None and what != "time"]
    if missing:
        raise ValueError(
            f"`path`: {name} needs columns user, item and rating in its first line; {missing[0]!r} is missing."
        )
    for number, row in lines:
        if len(row) != len(header):
            raise ValueError(f"`path`: {name}, line {number}: {len(row)} cells, but the header has {len(header)}.")
    columns = [[row[p] if p is not None else "0" for _, row in lines] for p in places.values()]
    return _ratings(columns, [number for number, _ in lines], name)
