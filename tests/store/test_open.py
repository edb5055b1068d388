"""Stores read without their script, by jaxdyn and by xarray; blocks that stand where they do not belong; the second format."""

import json
import shutil
import sys
import warnings
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_runs import RATES, Stiff, assert_same_bits, run
from test_stores import one_sentence, tree

import jaxdyn as jd
from jaxdyn.store import LaneStore

SEEDS = [5, 1, 3, 8, 2, 7]


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


def test_a_store_opens_as_the_dataset_that_the_sweep_returned(whole):
    before = tree(whole[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = jd.open(whole[0])
    assert found.identical(whole[1])
    assert_same_bits(found, whole[1])
    assert tree(whole[0]) == before
    meanings = dict(zip(found["outcome"].attrs["flag_meanings"].split(), found["outcome"].attrs["flag_values"], strict=True))
    assert meanings == {"missing": -1, **{outcome.name: int(outcome) for outcome in jd.Outcome}}


@pytest.mark.parametrize("consolidated", [None, True, False])
def test_xarray_reads_the_lanes(whole, consolidated):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = xr.open_zarr(whole[0], consolidated=consolidated).load()
    assert found["params"].dims == ("lane", "param") and set(found.coords) >= {"seed", "cell", "rate", "time"}
    lanes = found.isel(lane=np.flatnonzero(found["seed"] >= 0))
    assert lanes.sizes["lane"] == 18 and np.all(found["outcome"].values[found["seed"].values < 0] == -1)
    for k in range(18):
        lane = lanes.isel(lane=k)
        one = whole[1].sel(seed=int(lane["seed"]), rate=float(lane["rate"]))
        np.testing.assert_array_equal(lane["params"], one["params"])
        assert int(lane["outcome"]) == int(one["outcome"])


def test_a_store_that_grew_opens_with_the_seeds_in_their_order(copy):
    run(copy, [9, 5])
    found = jd.open(copy)
    assert found["seed"].values.tolist() == [*SEEDS, 9]
    assert_same_bits(found.sel(seed=[9, 5]), run(None, [9, 5]))
    assert xr.open_zarr(copy).sizes["lane"] == 24 + 8


def test_what_is_not_done_is_missing(copy, whole):
    (copy / "done" / "c" / "1").unlink()
    seeds, cells = (zarr.open_array(str(copy / name), mode="r")[8:16] for name in ("seed", "cell"))
    found = jd.open(copy)
    gone = np.zeros((3, 6), bool)
    for seed, cell in zip(seeds, cells, strict=True):
        gone[cell, SEEDS.index(seed)] = True
    np.testing.assert_array_equal(found["outcome"] == -1, gone)
    np.testing.assert_array_equal(np.isnan(found["params"]).all("param"), gone)
    np.testing.assert_array_equal(found["params"].values[~gone], whole[1]["params"].values[~gone])
    assert jd.outcome_counts(found)["missing"] == 8
    assert_same_bits(run(copy, SEEDS), whole[1])


def swap_blocks(out, one=0, two=1, other=None):
    """Moves whole blocks, marks, seeds and cells included or not."""
    other = other or out
    for array in (p for p in out.iterdir() if (p / "zarr.json").exists() and p.name not in ("seed", "cell", "order", "time", "rate")):
        for here in (array / "c").rglob(f"{one}*"):
            rest = here.relative_to(array / "c").parts
            if rest[0] != str(one) or not here.is_file():
                continue
            there = other / array.name / "c" / Path(str(two), *rest[1:])
            if there.exists():
                held, there_held = here.read_bytes(), there.read_bytes()
                here.write_bytes(there_held)
                if other is out:
                    there.write_bytes(held)


def test_swapped_blocks_are_found(copy, whole):
    swap_blocks(copy)
    with pytest.warns(UserWarning, match="damaged in block 0, 1, or it stands in the wrong place"):
        found = jd.open(copy)
    assert (found["outcome"] == -1).sum() == 16
    with pytest.warns(UserWarning, match="block 0, 1.*computed again"):
        assert_same_bits(run(copy, SEEDS), whole[1])


@pytest.mark.parametrize("other", [{"t1": 21.0}, {"key": __import__("jax").random.key(1)}, {"seeds": [4, 1, 3, 8, 2, 7]}])
def test_a_block_of_another_store_is_found(copy, whole, tmp_path, other):
    run(tmp_path / "other", **{"seeds": SEEDS} | other)
    swap_blocks(copy, 1, 1, tmp_path / "other")
    with pytest.warns(UserWarning, match="damaged in block 1"):
        found = jd.open(copy)
    kept = (found["outcome"] >= 0).values
    np.testing.assert_array_equal(found["params"].values[kept], whole[1]["params"].values[kept])
    with pytest.warns(UserWarning, match="block 1"):
        assert_same_bits(run(copy, SEEDS), whole[1])


@pytest.mark.ci_slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_one_file_gives_wrong_numbers(whole, tmp_path, data):
    """A flipped byte, a truncation, a deletion or the content of another file: right numbers, missing lanes, or one sentence."""
    out = tmp_path / "damaged"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(whole[0], out)
    files = sorted(p for p in out.rglob("*") if p.is_file())
    path = data.draw(st.sampled_from(files), "file")
    content = path.read_bytes()
    kind = data.draw(st.sampled_from(["flip", "truncate", "delete", "other"]), "kind")
    if kind == "delete":
        path.unlink()
    elif kind == "other":
        path.write_bytes(data.draw(st.sampled_from([p for p in files if p != path]), "from").read_bytes())
    else:
        at = data.draw(st.integers(0, len(content) - 1), "at")
        bit = data.draw(st.integers(0, 7), "bit")
        path.write_bytes(content[:at] + (bytes([content[at] ^ 1 << bit]) + content[at + 1 :] if kind == "flip" else b""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = jd.open(out)
        except ValueError as error:
            assert "\n" not in str(error) and str(error).endswith(".")
            return
    expected = whole[1]
    assert dict(found.sizes) == dict(expected.sizes) and found["params"].dims == expected["params"].dims
    for name in (*expected.coords, "settings", "convention", "param_layout"):
        if name in expected.coords:
            np.testing.assert_array_equal(found[name], expected[name])
        else:
            assert found.attrs[name] == expected.attrs[name]
    done = found["outcome"] != -1
    for name in expected.data_vars:
        if name in found:
            one, two = (ds[name].where(done).values for ds in (found, expected))
            np.testing.assert_array_equal(one, two)


def as_format_2(new: Path, old: Path) -> Path:
    """Rewrites a store of one group as jaxdyn 0.1.0 wrote it."""
    store = zarr.open_group(str(new), mode="r", use_consolidated=False)
    attrs = dict(store.attrs)
    group = zarr.open_group(str(old), mode="w").create_group("lanes_0")
    block, marks = attrs["block"], []

    def crc(rows):
        total = 0
        for key in sorted(rows):
            total = zlib.crc32(np.ascontiguousarray(rows[key]).tobytes(), zlib.crc32(key.encode(), total))
        return 1 + total

    columns = {key: store[key][:] for key in attrs["columns"]}
    for k in range(attrs["places"] // block):
        marks.append(crc({key: values[k * block : (k + 1) * block] for key, values in columns.items()}))
    for key, values in columns.items():
        dims = ("lane", *attrs["columns"][key][2])
        group.create_array(f"data/{key}", data=values, chunks=(block, *(max(1, n) for n in values.shape[1:])), dimension_names=dims)
    lists = {key: store[key][:] for key in ("seed", "cell")}
    for key, values in lists.items():
        group.create_array(key, data=values, chunks=(block,))
    group.create_array("done", data=np.asarray(marks, np.int64), chunks=(1,))
    keep = ("block", "places", "columns", "settings", "width", "devices", "versions", "platform", "convention", "method", "param")
    group.attrs.put({key: attrs[key] for key in (*keep, "fingerprint")} | {"format": 2, "queue": crc(lists)})
    return old


def test_the_second_format_is_read_but_not_continued(whole, tmp_path):
    old = as_format_2(whole[0], tmp_path / "old.zarr")
    before = tree(old)
    found = jd.open(old)
    expected = whole[1].sortby("seed")
    assert list(found["seed"]) == sorted(SEEDS) and set(found.data_vars) == set(expected.data_vars)
    for name in (*expected.data_vars, *expected.coords):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    with pytest.raises(ValueError, match=r"has the format 2 of an earlier jaxdyn, which can be read with jaxdyn\.open") as error:
        run(old, SEEDS)
    one_sentence(error)
    assert tree(old) == before


def test_enormous_shapes_take_no_memory(whole, tmp_path):
    old = as_format_2(whole[0], tmp_path / "old.zarr")
    path = old / "lanes_0" / "zarr.json"
    for wrong in ({"param": [["a", [10**9]]]}, {"places": 8 * 10**11}, {"block": 0}, {"columns": {}}):
        about = json.loads(path.read_text())
        path.write_text(json.dumps(about | {"attributes": about["attributes"] | wrong}))
        with pytest.raises(ValueError, match="choose another place, or delete it") as error:
            jd.open(old)
        one_sentence(error)
        path.write_text(json.dumps(about))
    new = tmp_path / "new.zarr"
    shutil.copytree(whole[0], new)
    about = json.loads((new / "zarr.json").read_text())
    (new / "zarr.json").write_text(json.dumps(about | {"attributes": about["attributes"] | {"param": [["a", [10**9]]]}}))
    with pytest.raises(ValueError, match="its attributes are damaged"):
        jd.open(new)


class Wide(Stiff):
    """The same in as many dimensions as are asked for."""

    width: int = __import__("equinox").field(static=True, default=2)

    def vector_field(self, t, y, args=None):
        return -self.rate * y

    def init(self, key):
        return 1.0 + jnp.arange(self.width * 1.0)


@pytest.mark.ci_slow
def test_groups_of_different_shapes(tmp_path):
    out = tmp_path / "wide.zarr"
    how = {"t1": 1.0, "record": 2, "width": 4, "out": out, "progress": False, "devices": __import__("jax").devices()[:1]}
    ds = jd.sweep(Wide(jnp.asarray(1.0)), 2, {"width": [2, 3], "rate": [1.0, 2.0]}, **how)
    assert jd.open(out).identical(ds)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert xr.open_zarr(out, group="lanes_1").sizes["param"] == 3
        assert xr.open_zarr(out, group="lanes_0", consolidated=False).sizes["param"] == 2
    assert jd.final_params(ds, Wide(jnp.asarray(1.0), 3), 1, width=3, rate=2.0).shape == (3,)
    with pytest.raises(ValueError, match="cell's static settings"):
        jd.final_params(ds, Wide(jnp.asarray(1.0), 2), 1, width=3, rate=2.0)
    for array in (p for p in (out / "lanes_0").iterdir() if p.name not in ("params", "zarr.json")):
        if (array / "c").exists():
            shutil.copytree(array / "c", out / "lanes_1" / array.name / "c", dirs_exist_ok=True)
    with pytest.warns(UserWarning, match="damaged in block 0"):
        assert (jd.open(out)["outcome"].sel(width=3) == -1).all()


def test_places_without_a_store(tmp_path, whole):
    (tmp_path / "file").write_text("text")
    for place, sentence in ((tmp_path / "none", "there is no store at"), (tmp_path / "file", "is a file"), (tmp_path, "there is no store")):
        with pytest.raises(ValueError, match=sentence) as error:
            jd.open(place)
        one_sentence(error)
    run(tmp_path / "both", 1, group="slow", rates=[1.0])
    run(tmp_path / "both", 1, group="fast/first", rates=RATES[:1])
    with pytest.raises(ValueError, match="holds several sweeps: name one, group='fast/first' or 'slow'"):
        jd.open(tmp_path / "both")
    with pytest.raises(ValueError, match="has no group 'other'"):
        jd.open(tmp_path / "both", "other")
    assert jd.open(tmp_path / "both", "slow").sizes["seed"] == 1


def test_a_lost_description_is_not_recomputed_without_a_word(copy):
    path = copy / "zarr.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"attributes": {}}))
    before = tree(copy)
    with pytest.raises(ValueError, match="choose another place, or delete it"):
        run(copy, SEEDS)
    assert tree(copy) == before


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path, whole, monkeypatch):
    """The disk is full from the second block on."""
    write, count = LaneStore.write, [0]

    def full(store, *block):
        count[0] += 1
        if count[0] == 2:
            from zarr.storage import LocalStore

            async def refuse(self, key, value):
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(LocalStore, "set", refuse)
        write(store, *block)

    monkeypatch.setattr(LaneStore, "write", full)
    out = tmp_path / "run.zarr"
    with pytest.raises(ValueError, match=r"cannot be written \(No space left on device\): make room and call again") as error:
        run(out, SEEDS)
    one_sentence(error)
    monkeypatch.undo()
    assert (jd.open(out)["outcome"] >= 0).sum() == 8
    assert_same_bits(run(out, SEEDS), whole[1])


NAMES = [
    "",
    "a/b",
    "zarr.json",
    ".hidden",
    "__dunder",
    "nul\0",
    "a\\b",
    "two\nlines",
    "x" * 300,
    "end.",
    "done",
    "cell",
    "Rate",
    "lanes_0",
    3,
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_no_store_can_have(tmp_path, name):
    out = tmp_path / "new"
    with pytest.raises(
        ValueError, match="is no name for an observable|a name that a sweep needs|in capitals only|is named by text"
    ) as error:
        run(out, 1, observe={name: lambda flow, t, params: params[0]})
    one_sentence(error)
    assert not out.exists()
    with pytest.raises(ValueError, match="differs from 'a' in capitals only"):
        run(out, 1, observe={"a": lambda flow, t, params: params[0], "A": lambda flow, t, params: params[0]})


def test_datasets_can_be_saved_elsewhere(whole, tmp_path):
    whole[1].to_netcdf(tmp_path / "copy.nc", engine="scipy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's on text
        whole[1].to_zarr(tmp_path / "copy.zarr")
    for again in (xr.open_dataset(tmp_path / "copy.nc"), xr.open_zarr(tmp_path / "copy.zarr")):
        np.testing.assert_array_equal(again["params"], whole[1]["params"])
        assert again["outcome"].attrs["flag_meanings"].startswith("missing running")
    assert sys.getsizeof(json.dumps(whole[1].attrs)) < 10**5
