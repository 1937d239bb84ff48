"""Execute the notebooks on a study and write them as pages: python docs/notebooks/execute.py STUDY FOLDER.

Needs nbclient, nbconvert, ipykernel, matplotlib and align-contracts: `nox -s notebooks` brings them.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(study: str, folder: str) -> None:
    """Execute every notebook on a study and write FOLDER/NAME.html; an error in a cell is an error here."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    os.environ["ALIGN_STUDY"] = str(Path(study).resolve())
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        here = {"metadata": {"path": str(HERE)}}
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=here).execute()
        page, _ = HTMLExporter().from_notebook_node(notebook)
        target = out / f"{path.stem}.html"
        target.write_text(page, encoding="utf-8")
        print(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
