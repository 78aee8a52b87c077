"""The example notebook runs from its first cell to its last, shows what it promises, and warns of nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")
SHORT = "4"
"""Steps of pretraining and epochs of the probe."""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> list[tuple[str, Any]]:
    """Source and output of the executed cells, in order; an error in a cell is raised."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_EXAMPLE_STEPS", SHORT)
        patch.setenv("JAX_PLATFORMS", "cpu")
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "jupyter"))
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(pytestconfig.cache.mkdir("jax")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
        client = NotebookClient(
            notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        client.execute()
    assert (folder / "runs" / "report" / "index.html").exists()
    return [(cell.source, out) for cell in notebook.cells for out in cell.get("outputs", [])]


def shown(outputs: list[tuple[str, Any]], kind: str, word: str) -> list[Any]:
    """What cells whose source has `word` displayed in the form `kind`, a MIME type."""
    return [out.data[kind] for source, out in outputs if word in source and kind in out.get("data", {})]


def test_crops_curves_and_figure_are_pictures(outputs: list[tuple[str, Any]]) -> None:
    assert len(shown(outputs, "image/png", "show_crops")) == 2
    assert len(shown(outputs, "image/png", "curves()")) == 1
    assert len(shown(outputs, "image/png", "figure()")) == 1


def test_probe_displays_a_table_with_the_untrained_network(outputs: list[tuple[str, Any]]) -> None:
    (table,) = shown(outputs, "text/markdown", "ssi.probe(")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert all(layer in rows[0] for layer in LAYERS)
    assert [row.split("|")[1].strip() for row in rows[2:]] == [
        "`runs/rotnet`",
        "`random:alexnet32`",
        "chance",
    ]


def test_run_features_and_report_display_themselves(outputs: list[tuple[str, Any]]) -> None:
    (run,) = shown(outputs, "text/markdown", "ssi.pretrain(")
    assert "train/loss" in run
    assert shown(outputs, "text/plain", "encoder.features") == [f"({LAYERS}, (24, 8, 8, 192))"]
    (link,) = shown(outputs, "text/html", "ssi.report(")
    assert "runs/report/index.html" in link


def test_no_cell_warns(outputs: list[tuple[str, Any]]) -> None:
    texts = [out.text for _, out in outputs if out.output_type == "stream" and out.name == "stderr"]
    assert not any("Warning" in text or "Traceback" in text for text in texts), texts


def test_notebook_is_committed_without_outputs() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
