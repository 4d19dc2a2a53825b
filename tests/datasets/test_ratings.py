"""Ratings: MovieLens's two formats and csv, what is wrong with a file, the four situations, and a known optimum."""

import zipfile

import jax
import numpy as np
import pytest

from jaxmeta import datasets

FILES_100K = {
    "u.data": "1\t2\t5\t881250949\n2\t2\t3\t881250950\n1\t3\t1\t881250951\n",
    "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n3|7|M|other|V1G4L\n",
    "u.item": "2|GoldenEye (1995)|01-Jan-1995||u|0|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0|1|0|0\n"
    "3|Am\xe9lie (2001)|01-Jan-2001||u|0|0|0|0|0|1|0|0|1|0|0|0|0|0|0|0|0|0|0\n"
    "9|unknown|||u|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n",
}
FILES_1M = {
    "ratings.dat": "1::2::5::881250949\n2::2::3::881250950\n1::3::1::881250951\n",
    "users.dat": "1::M::25::17::85711\n2::F::50::0::94043\n",
    "movies.dat": "2::GoldenEye (1995)::Action|Adventure|Thriller\n3::Am\xe9lie (2001)::Comedy|Drama\n",
}


def write(folder, files):
    for name, content in files.items():
        (folder / name).write_bytes(content.encode("latin-1"))
    return folder


@pytest.mark.parametrize("files, is_zip", [(FILES_100K, False), (FILES_1M, True)])
def test_movielens(tmp_path, files, is_zip):
    path = write(tmp_path, files)
    if is_zip:
        path = tmp_path / "ml.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in files:
                archive.write(tmp_path / name, f"ml-1m/{name}")
    data = datasets.ratings(path)
    assert data.rating.tolist() == [5, 3, 1] and data.user.tolist() == [0, 1, 0] and data.item.tolist() == [0, 0, 1]
    assert data.time.tolist() == [881250949, 881250950, 881250951]
    assert data.item_names == ("GoldenEye (1995)", "Amélie (2001)") and data.user_names == ("1", "2")
    assert [np.flatnonzero(row).tolist() for row in data.items["genre"]] == [[0, 1, 15], [4, 7]]
    assert data.items["year"].tolist() == [0, 1] and data.users["gender"].tolist() == [1, 0]
    assert data.users["age"].tolist() == ([1, 5] if not is_zip else [2, 5])
    assert data.sizes == {
        "user": 2,
        "age": 6,
        "gender": 2,
        "occupation": 2,
        "zip": 2,
        "item": 2,
        "genre": 18,
        "year": 2,
    }


def test_a_csv_under_the_names_of_others(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text("userId,movieId,rating,timestamp\nu7,m1,3.5,10\nu2,m1,4,11\n")
    data = datasets.ratings(path)
    assert (data.user_names, data.user.tolist(), data.time.tolist()) == (("u2", "u7"), [1, 0], [10, 11])


@pytest.mark.parametrize(
    "files, text",
    [
        ({"u.data": "1\t2\t5\n"}, "u.data, line 1: 3 cells where 4 are needed"),
        ({"u.data": "1\t2\t5\t1\n1\t3\tx\t1\n"}, "u.data, line 2: the rating 'x' is no finite number"),
        ({"u.data": "1\t2\tnan\t1\n"}, "u.data, line 1: the rating 'nan' is no finite"),
        (FILES_100K | {"u.user": "1|24|M|technician|85711\n"}, "a rating of user '2', of whom the other file"),
        ({"u.data": ""}, "has no ratings"),
        ({"readme": ""}, "neither u.data"),
        ({"mine.csv": "user,item\n1,2\n"}, "'rating' is missing"),
        ({"mine.csv": "user,item,rating\n1,2\n"}, "line 2: 2 cells, but the header has 3"),
    ],
)
def test_odd_files(tmp_path, files, text):
    write(tmp_path, files)
    with pytest.raises(ValueError, match=text):
        datasets.ratings(tmp_path / "mine.csv" if "mine.csv" in files else tmp_path)


def test_the_four_situations_are_disjoint_and_what_they_say():
    data, _ = datasets.invented_ratings(num_users=50, num_items=40, num_ratings=20, key=jax.random.key(0))
    parts = datasets.cold_start(data, key=jax.random.key(1), newest="year", num_held_out=5)
    pairs = [set(zip(p.user.tolist(), p.item.tolist(), strict=True)) for p in parts]
    assert sum(map(len, pairs)) == len(set.union(*pairs)) == 1000
    old_users, old_items = {*parts.train.user.tolist()}, {*parts.train.item.tolist()}
    assert {*parts.held_out.user.tolist()} <= old_users and len(parts.held_out.user) == 5 * 40
    assert not old_users & {*parts.new_users.user.tolist()} and {*parts.new_users.item.tolist()} <= old_items
    assert not old_items & {*parts.new_items.item.tolist()} and {*parts.new_items.user.tolist()} <= old_users
    assert not old_users & {*parts.both_new.user.tolist()} and not old_items & {*parts.both_new.item.tolist()}
    year = data.items["year"]
    assert year[parts.train.item].max() <= year[parts.new_items.item].min()


def test_the_optimum_is_the_conditional_normal_distribution():
    """By functions instead of weights: the joint covariance of given and asked ratings, conditioned."""
    _, w = datasets.invented_ratings(num_users=3, num_items=30, num_ratings=20, key=jax.random.key(2))
    given, asked, y = np.arange(12), np.arange(12, 20), np.linspace(1, 5, 12)
    q = w.traits.astype(np.float64)
    mean = w.mean + w.quality + q @ w.expected[1].astype(np.float64)
    cov = w.spread**2 * q @ q.T + w.noise**2 * np.eye(len(q))
    gain = np.linalg.solve(cov[np.ix_(given, given)], cov[np.ix_(given, asked)]).T
    best, std = w.predict(1, given, y, asked)
    np.testing.assert_allclose(best, mean[asked] + gain @ (y - mean[given]), rtol=1e-10)
    left = cov[np.ix_(asked, asked)] - gain @ cov[np.ix_(given, asked)]
    np.testing.assert_allclose(std, np.sqrt(np.diag(left)), rtol=1e-10)


def test_no_prediction_is_better_than_the_optimum():
    """Its squared error over all users is the variance that it states."""
    data, w = datasets.invented_ratings(num_users=400, num_items=60, num_ratings=20, key=jax.random.key(3))
    errors, stated = [], []
    for user in range(400):
        rows = np.flatnonzero(data.user == user)
        mean, std = w.predict(user, data.item[rows[:10]], data.rating[rows[:10]], data.item[rows[10:]])
        errors.append(np.mean((mean - data.rating[rows[10:]]) ** 2))
        stated.append(np.mean(std**2))
    assert abs(np.mean(errors) / np.mean(stated) - 1) < 0.06


@pytest.mark.parametrize("options", [{"new_users": 0.0}, {"new_items": 1.0}, {"newest": "genre"}, {"new_users": 0.001}])
def test_splits_that_cannot_be(options):
    data, _ = datasets.invented_ratings(num_users=20, num_items=20, num_ratings=10, key=jax.random.key(0))
    with pytest.raises(ValueError, match="`new_users`|`new_items`|`newest`|No rating is left"):
        datasets.cold_start(data, key=jax.random.key(0), **options)
