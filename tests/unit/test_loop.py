"""The loop on an objective small enough to see through: y = w x, fitted by SGD."""

import errno
import io
import itertools
import os
import re
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loop_fakes import SPEC, clocks, data, lines, make_objective, run
from PIL import Image

from ssl_single_image.runs import checkpoint
from ssl_single_image.training import clock, loop
from ssl_single_image.types import EncoderVariables, Halted, InputError


def test_metrics_are_means_since_the_last_line(tmp_path):
    run(tmp_path)
    train = [line for line in lines(tmp_path) if "train/loss" in line]
    assert [line["step"] for line in train] == [2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in lines(tmp_path) if "eval/loss" in line] == [4, 8, 12]
    single = [line["train/loss"] for line in (run(tmp_path / "b", log_every=1), lines(tmp_path / "b"))[1]
              if "train/loss" in line]  # fmt: skip
    assert train[0]["train/loss"] == pytest.approx((single[0] + single[1]) / 2, rel=1e-5)
    assert any(path.name.startswith("events") for path in tmp_path.iterdir())


def test_resume_has_the_bits_of_an_uninterrupted_run(tmp_path):
    whole = run(tmp_path / "whole", inputs=data(step_dependent=True))
    run(tmp_path / "parts", steps=4, inputs=data(step_dependent=True))
    # What a run leaves that was killed after its checkpoint.
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "train/loss": 1.0}\n{"step": 8, "tra')
    resumed = run(tmp_path / "parts", inputs=data(step_dependent=True))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")


def test_a_finished_run_is_left_as_it_is(tmp_path):
    first = run(tmp_path)
    before = lines(tmp_path)
    again = run(tmp_path)
    np.testing.assert_array_equal(first.params["w"], again.params["w"])
    assert lines(tmp_path) == before


@pytest.mark.usefixtures("float64")
def test_several_steps_a_call_are_the_same_steps(tmp_path):
    one = run(tmp_path / "one")
    four = run(tmp_path / "four", steps_per_call=2)
    np.testing.assert_allclose(one.params["w"], four.params["w"], rtol=1e-12)
    assert four.params["w"].dtype == np.float64
    assert [line["step"] for line in lines(tmp_path / "one")] == [
        line["step"] for line in lines(tmp_path / "four")
    ]


def test_the_last_and_the_best_checkpoint_stay(tmp_path):
    """Learning away from the optimum: the first checkpoint is the best one."""
    objective = make_objective()

    def worse(state, key, inputs, *, axis_name):
        return {"loss": (state.step.astype(jnp.float32), jnp.float32(1))}

    run(tmp_path, steps=20, objective=objective._replace(evaluate=worse))
    steps = sorted(int(path.name) for path in (tmp_path / checkpoint.CHECKPOINTS).iterdir())
    assert steps == [4, 16, 20]


def test_nan_stops_the_run_and_names_the_last_good_checkpoint(tmp_path):
    with pytest.raises(loop.Diverged, match="nan at step 10; last good checkpoint: step 8") as end:
        run(tmp_path, objective=make_objective(poison_at=9))
    assert end.value.status == 1
    assert checkpoint.CheckpointStore(tmp_path).latest == 8


def test_a_signal_saves_and_stops_and_the_rest_follows_later(tmp_path):
    def interrupt(step):
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = run(tmp_path / "whole")
    with pytest.raises(loop.Stopped) as end:
        run(tmp_path / "parts", objective=make_objective(on_step=interrupt))
    assert end.value.status == 128 + signal.SIGTERM
    latest = checkpoint.CheckpointStore(tmp_path / "parts").latest
    assert latest is not None
    assert 6 <= latest < 12
    resumed = run(tmp_path / "parts")
    np.testing.assert_array_equal(whole.params["w"], resumed.params["w"])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps = 0"),
        ({"log_every": 3, "steps_per_call": 2}, "multiple"),
        ({"eval_every": -1}, "eval_every"),
    ],
)
def test_bad_plans_name_the_field(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        run(tmp_path, **changes)


def test_a_warning_is_said_once_recorded_and_repeated_at_the_end(tmp_path, caplog):
    objective = make_objective()._replace(warning=lambda means: "loss!" if means.get("loss", 0) > 0 else "")
    with caplog.at_level("WARNING"):
        run(tmp_path, objective=objective)
    assert [record.getMessage() for record in caplog.records] == [
        "step 2: loss!",
        "the run ended with this problem: loss!",
    ]
    assert {line["train/warning"] for line in lines(tmp_path) if "train/loss" in line} == {1.0}


def test_pictures_are_drawn_at_evaluations_and_at_the_end(tmp_path):
    drawn = []

    def draw(state):
        drawn.append(int(state.step))
        return {"look": Image.new("RGB", (8, 8), (int(state.step), 0, 0))}

    run(tmp_path, draw=draw, eval_every=8)
    assert drawn == [8, 12]
    assert Image.open(tmp_path / "look.png").getpixel((0, 0)) == (12, 0, 0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_clocks_have_the_speed_the_time_and_once_the_compilation(tmp_path):
    run(tmp_path, objective=make_objective()._replace(views=4))
    compiled = [line for line in clocks(tmp_path) if "compile_seconds" in line]
    assert [line["step"] for line in compiled] == [1]
    assert compiled[0]["compile_seconds"] > 0
    logged = [line for line in clocks(tmp_path) if "seconds" in line]
    assert [line["step"] for line in logged] == [2, 4, 6, 8, 10, 12]
    seconds = [line["seconds"] for line in logged]
    assert seconds == sorted(seconds)
    assert all(line["views_per_second"] > 0 for line in logged)
    assert not any("second" in name for line in lines(tmp_path) for name in line)


def test_the_speed_counts_views_and_leaves_out_what_is_no_training(tmp_path, monkeypatch):
    """By a clock that stands still, but for 2 s in each evaluation and 1 s in each fetch of inputs."""
    now = [0.0]

    def passing(seconds, value):
        now[0] += seconds
        return value

    def measure():
        return [passing(2.0, 0.5)]

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    inputs = loop.Data(0.5, lambda step: (passing(1.0, 0.5) for _ in itertools.count()), measure, split=False)
    run(
        tmp_path,
        steps=4,
        inputs=inputs,
        log_every=2,
        eval_every=2,
        objective=make_objective()._replace(views=4),
    )
    logged = [line for line in clocks(tmp_path) if "seconds" in line]
    assert [line["views_per_second"] for line in logged] == [8 * 4, 8 * 4]  # of the second step; of two steps
    assert [line["seconds"] for line in logged] == [2.0, 6.0]
    assert [line["step_seconds"] for line in logged] == [1.0, 1.0]
    assert [line["host_wait"] for line in logged] == [1.0, 1.0]  # nothing but fetching takes time


def test_a_run_of_one_step_has_no_speed(tmp_path):
    run(tmp_path, steps=1, log_every=1, eval_every=0)
    (logged,) = [line for line in clocks(tmp_path) if "seconds" in line]
    assert "views_per_second" not in logged


def test_a_terminal_shows_views_and_what_is_waited_for(tmp_path, monkeypatch):
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    run(tmp_path, objective=refreshing_objective()._replace(views=4), draw=lambda state: {})
    text = shown.getvalue()
    for what in ("making the network ...", "compiling: ", "refreshing: ", "evaluating: ", "drawing: "):
        assert what in text
    assert "384/384" in text  # 12 steps of 8 crops in 4 views
    assert " views/s" in text
    assert text.rindex("drawing: ") < text.rindex("384/384")  # the line ends as it began


def test_a_log_says_that_it_compiles_and_for_how_long(tmp_path, caplog):
    with caplog.at_level("INFO"):
        run(tmp_path)
    messages = [record.getMessage() for record in caplog.records]
    begins = messages.index("compiling ...")
    assert re.fullmatch(r"compiled in [\d.]+ s", messages[begins + 1])
    assert not any("evaluating" in message for message in messages)


def refreshing_objective(every=3):
    """A refresh adds 100 to the first weight; metrics say at which step."""

    def refresh(state, key, inputs, *, axis_name):
        w = state.params["w"].at[0].add(100)
        return state.replace(params={"w": w}), {"at": (state.step.astype(jnp.float32), jnp.float32(1))}

    return make_objective()._replace(refresh=refresh, refresh_every=every)


def test_refreshes_come_before_the_first_step_and_after_each_interval(tmp_path):
    run(tmp_path, steps=8, objective=refreshing_objective())
    found = [line for line in lines(tmp_path) if "refresh/at" in line]
    assert [line["refresh/at"] for line in found] == [0, 3, 6]
    assert [line["step"] for line in found] == [1, 4, 7]
    timings = [line for line in clocks(tmp_path) if "refresh/seconds" in line]
    assert [line["step"] for line in timings] == [1, 4, 7]
    assert all(0 < line["refresh/share_of_time"] < 1 for line in timings)
    assert all(line["refresh/seconds"] > 0 for line in timings)
    assert not any("seconds" in name for line in found for name in line)


@pytest.mark.parametrize("stop", [4, 6])  # within an interval, and where a refresh is due
def test_a_resumed_run_refreshes_where_an_uninterrupted_one_does(tmp_path, stop):
    changes = {"objective": refreshing_objective(), "checkpoint_every": 2}
    run(tmp_path / "parts", steps=stop, **changes)
    parts, whole = run(tmp_path / "parts", steps=12, **changes), run(tmp_path / "whole", steps=12, **changes)
    np.testing.assert_array_equal(parts.params["w"], whole.params["w"])
    parts, whole = (
        [line for line in lines(tmp_path / name) if "refresh/at" in line] for name in ("parts", "whole")
    )
    assert parts == whole
    assert [line["step"] for line in parts] == [1, 4, 7, 10]


def test_calls_of_several_steps_must_end_where_refreshes_are_due(tmp_path):
    with pytest.raises(InputError, match="steps_per_call = 2: must divide the 3 steps"):
        run(tmp_path, objective=refreshing_objective(), steps_per_call=2)


def test_a_run_in_another_thread_is_only_not_stopped_by_signals(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(run(tmp_path, steps=2)))
    thread.start()
    thread.join()
    assert int(results[0].step) == 2


def test_further_encoders_of_an_objective_are_saved_by_name(tmp_path):
    def second(state):
        return EncoderVariables(SPEC, {"w": 2 * state.params["w"]}, {})

    run(tmp_path, steps=4, objective=make_objective()._replace(encoders={"second": second}))
    place = tmp_path / checkpoint.CHECKPOINTS / "4"
    assert checkpoint.read_meta(place)["encoders"]["second"]["backbone"] == "alexnet32"
    shape = {"params": {"w": jax.ShapeDtypeStruct((3,), jnp.float32)}, "batch_stats": {}}
    first, other = (checkpoint.restore_item(place, name, shape, {}) for name in ("encoder", "encoder_second"))
    np.testing.assert_array_equal(2 * first["params"]["w"], other["params"]["w"])


def test_a_full_disk_ends_in_one_line_that_says_what_is_saved(tmp_path, monkeypatch):
    append = loop.metrics_lib.MetricsWriter._append

    def full(self, path, step, values):
        if step > 6:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        append(self, path, step, values)

    monkeypatch.setattr(loop.metrics_lib.MetricsWriter, "_append", full)
    with pytest.raises(
        Halted, match=r"No space left on device: .*metrics.jsonl; the state of step 4 is saved"
    ) as end:
        run(tmp_path)
    assert end.value.status == 1
    monkeypatch.undo()
    whole, resumed = run(tmp_path / "whole"), run(tmp_path)
    np.testing.assert_array_equal(whole.params["w"], resumed.params["w"])
