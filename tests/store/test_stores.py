"""Stores: growing, parts, refusals and damage, all without a process being killed."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zarr
from store_runs import RATES, Stiff, assert_same_bits, first, never, run
from zarr.storage import LocalStore

import jaxdyn as jd
from jaxdyn.store import open_root

SEEDS = 6  # with three rates 18 lanes: three blocks of 8, the last padded


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run on disk, and its Dataset."""
    out = tmp_path_factory.mktemp("stores") / "run.zarr"
    return out, run(out, SEEDS)


@pytest.fixture
def copy(whole, tmp_path):
    out = tmp_path / "run.zarr"
    shutil.copytree(whole[0], out)
    return out


def tree(out: Path) -> dict[str, str]:
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.rglob("*")) if p.is_file()}


def one_sentence(error) -> str:
    text = str(error.value)
    assert "\n" not in text and text.endswith((".", "changed."))
    return text


@pytest.mark.ci_slow
def test_a_store_gives_what_memory_gives(whole):
    out, ds = whole
    assert_same_bits(ds, run(None, SEEDS))
    before = tree(out)
    assert_same_bits(ds, run(out, SEEDS))
    assert tree(out) == before
    assert ds["never"].dims == ("rate", "seed", "time", "never_0") and np.isnan(ds["never"]).all()


def test_more_seeds_extend_a_store(copy):
    more = run(copy, 10)
    assert_same_bits(more, run(None, 10))
    assert_same_bits(run(copy, [9, 2]), run(None, [9, 2]))


def test_a_part_of_a_store(copy, whole):
    before = tree(copy)
    part = run(copy, [4, 1])
    assert_same_bits(part, whole[1].sel(seed=[4, 1]))
    assert tree(copy) == before


def test_a_part_of_a_store_that_is_not_finished_does_only_its_blocks(copy, whole):
    shutil.rmtree(copy / "done" / "c")
    seeds = zarr.open_array(str(copy / "seed"), mode="r")[:]
    of_seed_0 = {int(place) // 8 for place in np.flatnonzero(seeds == 0)}
    assert len(of_seed_0) < 3
    assert_same_bits(run(copy, [0]), whole[1].sel(seed=[0]))
    marks = zarr.open_array(str(copy / "done"), mode="r")[:]
    assert set(np.flatnonzero(marks).tolist()) == of_seed_0


OTHERS = {
    "grid[0].values[1]": {"rates": [1.0, 31.0, 1000.0]},
    "grid[0].values": {"rates": [1.0, 30.0]},
    "t1": {"t1": 21.0},
    "record": {"record": 4},
    "solve.rtol": {"rtol": 1e-5},
    "solve.solver": {"solver": __import__("diffrax").Dopri5()},
    "solve.stop": {"stop": jd.LossBelow(1e-9)},
    "solve.max_steps": {"max_steps": 10**5},
    "observe.first.code": {"observe": {"first": lambda flow, t, params: params[1], "never": never}},
    "observe.third": {"observe": {"first": first, "never": never, "third": first}},
    "key": {"key": jax.random.key(1)},
    "width=4": {"width": 8},
}


@pytest.mark.parametrize("named", OTHERS)
def test_other_settings_are_refused_and_nothing_changes(whole, named):
    out = whole[0]
    before = tree(out)
    with pytest.raises(ValueError, match="was made with") as error:
        run(out, 12, **OTHERS[named])
    expected = "observe.first.function" if named == "observe.first.code" else named
    assert expected in one_sentence(error)
    assert tree(out) == before


def test_another_flow_is_refused(whole):
    with pytest.raises(ValueError, match=r"flow\.rate = 1.0, not 2.0"):
        jd.sweep(Stiff(jnp.asarray(2.0)), SEEDS, {"rate": RATES}, t1=20.0, record=3, out=whole[0], progress=False)


def test_two_sweeps_in_one_store(tmp_path):
    out = tmp_path / "both.zarr"
    slow = run(out, SEEDS, rates=[1.0, 2.0, 4.0], group="slow")
    fast = run(out, SEEDS, group="fast/first")
    assert_same_bits(slow, run(out, SEEDS, rates=[1.0, 2.0, 4.0], group="slow"))
    assert_same_bits(fast, run(None, SEEDS))
    assert not slow.equals(fast)


def flip(path: Path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(bytes(data))


def halve(path: Path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "a chunk is gone": lambda s: (s / "params/c/1/0").unlink(),
    "a chunk is torn": lambda s: halve(s / "params/c/1/0"),
    "a chunk is another's": lambda s: shutil.copy(s / "params/c/0/0", s / "params/c/1/0"),
    "a chunk is flipped": lambda s: flip(s / "t_end/c/1"),
    "a chunk is empty": lambda s: (s / "first_end/c/1").write_bytes(b""),
    "a mark is gone": lambda s: (s / "done/c/1").unlink(),
    "a mark is torn": lambda s: halve(s / "done/c/1"),
    "a mark is another's": lambda s: shutil.copy(s / "done/c/0", s / "done/c/1"),
    "arrays grew": lambda s: [zarr.open_array(str(s / name), mode="a").resize(n) for name, n in (("t_end", (40,)), ("seed", (40,)))],
    "an array did not grow": lambda s: zarr.open_array(str(s / "t_end"), mode="a").resize((8,)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_mended_by_doing_just_that_block_again(copy, whole, kind):
    store = copy
    before = {p: p.stat().st_mtime_ns for p in store.rglob("*") if p.is_file() and "/c/0" in str(p)}
    assert len(before) > 10
    DAMAGE[kind](store)
    assert_same_bits(run(copy, SEEDS), whole[1])
    assert all(p.stat().st_mtime_ns == then for p, then in before.items())
    after = tree(copy)
    assert_same_bits(run(copy, SEEDS), whole[1])
    assert tree(copy) == after


LOST = {
    "zarr.json": halve,
    "params/zarr.json": halve,
    "t_end/zarr.json": Path.unlink,
    "first": shutil.rmtree,
    "done/zarr.json": halve,
    "seed/zarr.json": Path.unlink,
    "seed/c/1": Path.unlink,
    "cell/c/0": flip,
    "seed/c/0": halve,
}


@pytest.mark.parametrize("part", LOST)
def test_what_cannot_be_mended_is_one_clear_error(copy, part):
    LOST[part](copy / part)
    for seeds in (SEEDS, 12):
        before = tree(copy)
        with pytest.raises(ValueError, match="choose another place, or delete it|name another place") as error:
            run(copy, seeds)
        one_sentence(error)
        assert tree(copy) == before


def test_another_format_is_refused(copy):
    path = copy / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"attributes": {**json.loads(path.read_text())["attributes"], "format": 99}}))
    with pytest.raises(ValueError, match="has the format 99") as error:
        run(copy, SEEDS)
    one_sentence(error)


class Crash(BaseException):
    """A death in the middle of things: nothing can be written any more."""


@pytest.mark.ci_slow
@pytest.mark.parametrize("torn", [False, True], ids=["whole files", "torn chunks"])
def test_a_crash_at_any_write_loses_nothing(tmp_path, monkeypatch, whole, torn):
    """The run is broken off before its k-th file, for k over all of them, and grows from 3 seeds to 6 on the way."""
    write, lock, count = LocalStore.set, threading.Lock(), {"left": None, "made": 0}

    async def counted(self, key, value):
        with lock:
            count["made"] += 1
            dead = count["left"] is not None and count["made"] > count["left"]
            exact = count["made"] == (count["left"] or 0) + 1
        if dead:
            if torn and exact and "/c/" in key:
                path = self.root / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(value.to_bytes()[:7])
            raise Crash
        return await write(self, key, value)

    monkeypatch.setattr(LocalStore, "set", counted)
    run(tmp_path / "all", 3)
    run(tmp_path / "all", SEEDS)
    total = count["made"]
    assert total > 60
    expected = run(None, SEEDS)
    crashes = 0
    for number, k in enumerate(np.linspace(0, total - 1, 9).astype(int) + (3 if torn else 0)):
        out = tmp_path / str(number)
        count.update(left=int(k), made=0)
        try:
            run(out, 3)
            run(out, SEEDS)
        except Crash:
            crashes += 1
        count.update(left=None)
        assert_same_bits(run(out, SEEDS), expected)
    assert crashes >= 8


def test_places_that_are_taken(tmp_path):
    file, foreign, array = tmp_path / "file", tmp_path / "foreign", tmp_path / "array"
    file.write_text("something")
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("something")
    zarr.create_array(str(array), shape=(3,), dtype="f8")
    for place in (file, foreign, array):
        before = tree(tmp_path)
        with pytest.raises(ValueError, match=place.name) as error:
            run(place, 1)
        one_sentence(error)
        assert tree(tmp_path) == before
    for group in ("", "..", "a//b", "lanes_0"):
        with pytest.raises(ValueError, match="no name for a group"):
            run(tmp_path / "new", 1, group=group)


def test_groups_and_arrays_do_not_take_each_others_names(copy, whole, tmp_path):
    """A wrong group is no damage, and nobody is told to delete a good store."""
    for group, said in ((3, "must be the name"), (b"x", "must be the name"), ("../x", "no name for a group"), ("params/x", "an array")):
        with pytest.raises(ValueError, match=said) as error:
            run(copy, 1, group=group)
        one_sentence(error)
    for group in (3, b"x", "../x", "params"):
        with pytest.raises(ValueError, match="group") as error:
            jd.open(copy, group=group)
        one_sentence(error)
    assert_same_bits(run(copy, SEEDS), whole[1])
    run(tmp_path / "new", 1, group="rate")
    with pytest.raises(ValueError, match="a group of the name 'rate'") as error:
        run(tmp_path / "new", 1)
    one_sentence(error)


@pytest.mark.parametrize("key", ["params", "loss_end", "seed", "rate"])
def test_an_array_of_enormous_length_takes_no_memory(copy, key):
    file = copy / key / "zarr.json"
    about = json.loads(file.read_text())
    about["shape"][0] = 10**11
    file.write_text(json.dumps(about))
    with pytest.raises(ValueError, match=f"the array {key}") as error:
        run(copy, SEEDS)
    one_sentence(error)


def test_metadata_that_only_xarray_needs(copy, whole):
    (copy / "time" / "zarr.json").write_text("")
    with pytest.warns(UserWarning, match="xarray.open_zarr will not show it"):
        assert_same_bits(run(copy, [*range(SEEDS), 99]).sel(seed=range(SEEDS)), whole[1])


@pytest.mark.parametrize("broken", ["mkdir", "set"])
def test_places_that_cannot_be_written(tmp_path, monkeypatch, broken):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    async def refuse_set(self, key, value):
        raise PermissionError(13, "Permission denied", key)

    monkeypatch.setattr(*((Path, "mkdir", refuse) if broken == "mkdir" else (LocalStore, "set", refuse_set)))
    with pytest.raises(ValueError, match="cannot be written \\(Permission denied\\): name another place") as error:
        run(tmp_path / "new", 1)
    one_sentence(error)


def test_an_empty_directory_will_do(tmp_path):
    (tmp_path / "zarr.abc.partial").write_text("left by a kill")
    assert np.isfinite(run(tmp_path, 1)["params"]).all()


def test_two_runs_never_write_to_one_store(copy):
    """The second is refused at once, whatever process it is in; a process that dies gives the store free."""
    before = tree(copy)
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; from jaxdyn.store import open_root\nwith open_root(sys.argv[1], None): print(); input()", copy],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    with pytest.raises(ValueError, match="another run is writing") as error:
        run(copy, 10)
    one_sentence(error)
    assert tree(copy) == before
    holder.kill()
    holder.wait()
    assert_same_bits(run(copy, SEEDS), run(None, SEEDS))


def test_of_runs_that_begin_a_store_at_once_one_has_it(tmp_path):
    """None meets a store that another is in the middle of making."""

    def begin(path, barrier, said):
        barrier.wait()
        try:
            with open_root(path, "a/b") as (root, _):
                said.append(root.path)
                barrier.wait()
        except ValueError as error:
            said.append(str(error))
            barrier.wait()

    for k in range(20):
        said, barrier = [], threading.Barrier(4)
        runs = [threading.Thread(target=begin, args=(tmp_path / str(k), barrier, said)) for _ in range(4)]
        for one in runs:
            one.start()
        for one in runs:
            one.join()
        assert sorted(said)[:1] == ["a/b"] and sum("another run is writing" in text for text in said) == 3, said
